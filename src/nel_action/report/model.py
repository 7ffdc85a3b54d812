"""Input of every rendering: results, verdict and metadata of one invocation."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from nel_action.gating.verdict import GateReport, Verdict
from nel_action.model.results import Results

__all__ = ["Event", "Link", "Metadata", "Report", "TrendPoint"]


@dataclass(frozen=True, slots=True)
class Link:
    """A link for further reading; rendered only if `url` is http or https."""

    label: str
    url: str


@dataclass(frozen=True, slots=True)
class Event:
    """An event in the life of the invocation: a resume, a new attempt, a cancellation."""

    when: str
    """RFC 3339, UTC."""
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrendPoint:
    """One score in the history of a task."""

    task: str
    model: str
    metric: str
    when: str
    """RFC 3339, UTC."""
    value: float
    """In the metric's unit."""
    stderr: float | None = None
    commit: str | None = None
    verdict: Verdict | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """Circumstances of the run; all fields are optional."""

    spec_path: str | None = None
    """Path of the spec, as given by the user."""
    run_dir: Path | None = None
    """Folder of `results.json`; samples are read from here."""
    baseline_dir: Path | None = None
    """Folder of the baseline's `results.json`, for showing the samples of both sides."""
    executor: str | None = None
    title: str = "Benchmark gate"
    """Name of the gate."""
    blocks: bool | None = None
    """Whether the verdict blocks a merge; None where that is not known."""
    informative: bool = False
    """Whether the scores are shown for information, without a verdict."""
    claimed_by: str | None = None
    """The author of results that were measured by untrusted code: `the fork`."""
    pull_request: int | None = None
    started: str | None = None
    """RFC 3339, UTC."""
    ended: str | None = None
    seconds: float | None = None
    """Wall time of the invocation."""
    history: tuple[Event, ...] = ()
    """Resumes and new attempts, oldest first."""
    links: tuple[Link, ...] = ()
    """Full report, artifacts, workflow run, pull request."""
    trend: tuple[TrendPoint, ...] = ()
    """Comparable scores, oldest first; a score of this run, if included, is the last one of its task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that a rendering may show. Rendering never affects the verdict."""

    results: Results
    gate: GateReport
    metadata: Metadata = field(default_factory=Metadata)
