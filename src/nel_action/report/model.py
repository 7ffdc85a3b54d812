"""What every rendering starts from: results, the gate's answer, and the facts of the run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from nel_action.gating.verdict import GateReport, Verdict
from nel_action.model.results import Results

__all__ = ["Event", "Link", "Metadata", "Report", "TrendPoint"]


@dataclass(frozen=True, slots=True)
class Link:
    """A place to go on reading; rendered only where `url` is http or https."""

    label: str
    url: str


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to the invocation: a resume, a new attempt, a cancel."""

    when: str
    """RFC 3339, UTC."""
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrendPoint:
    """One score of a task, as it was at some time."""

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
    """How the run went, besides what came out of it. All of it is optional."""

    spec_path: str | None = None
    """As the user wrote it."""
    run_dir: Path | None = None
    """Where `results.json` and its samples lie; samples are read from here."""
    baseline_dir: Path | None = None
    """Where the baseline's `results.json` and samples lie, for showing both sides."""
    executor: str | None = None
    pull_request: int | None = None
    started: str | None = None
    """RFC 3339, UTC."""
    ended: str | None = None
    seconds: float | None = None
    """Wall time of the whole invocation."""
    history: tuple[Event, ...] = ()
    """Resumes and new attempts, oldest first."""
    links: tuple[Link, ...] = ()
    """Full report, artifacts, workflow run, pull request."""
    trend: tuple[TrendPoint, ...] = ()
    """Scores that can be compared with this run's, oldest first; this run's own are the last, where they are in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All that a rendering may show; it decides nothing."""

    results: Results
    gate: GateReport
    metadata: Metadata = field(default_factory=Metadata)
