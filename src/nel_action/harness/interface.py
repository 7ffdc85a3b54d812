"""What a harness is: how to call it, what it needs, how to read what it leaves.

A harness never runs anything itself and never decides where it runs. It turns a task and a binding into a
command, and a directory of artifacts into a reading.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from nel_action.errors import Problem
from nel_action.results import Sample, Score
from nel_action.spec.base import EndpointType

__all__ = ["Binding", "Command", "Harness", "HarnessTask", "Params", "Progress", "Reading"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """What is always passed to a harness, never left to its own defaults."""

    limit_samples: int | float | None = None
    """Items to evaluate: a count, or a share below 1; None is all of them."""
    parallelism: int = 4
    """Requests at once."""
    request_timeout: float = 600.0
    """Seconds for one request."""
    max_retries: int = 5
    """Tries of one request after the first."""
    seed: int = 1234
    """Of everything random in the harness."""
    temperature: float | None = None
    """Sampling temperature; None leaves the benchmark's own."""
    top_p: float | None = None
    """Nucleus mass; None leaves the benchmark's own."""
    max_new_tokens: int | None = None
    """Tokens of an answer; None leaves the benchmark's own."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """What only this harness or task knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HarnessTask:
    """One benchmark as its harness knows it, with every default filled in."""

    name: str
    """The task's name in the harness."""
    display: str
    """The task's name in the spec."""
    endpoint_type: EndpointType
    params: Params
    metric: str | None = None
    """The primary metric, where the catalog or the spec names one."""
    higher_is_better: bool | None = None
    expected_items: int | None = None
    """Items of a whole run, before `limit_samples`."""
    task_dir: Path | None = None
    """A folder with the harness's own task definitions, on this machine."""
    command: tuple[str, ...] | None = None
    """For the `command` harness."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """`nemo_evaluator_config` as merged from catalog, evaluation and task, without what `params` holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """What is known only where the job runs. All paths are as the harness will see them."""

    url: str
    """Full URL of the route (`http://127.0.0.1:8000/v1/chat/completions`)."""
    model_id: str
    output_dir: PurePosixPath
    """Where artifacts go; exists, empty, writable."""
    work_dir: PurePosixPath
    """Where the command's files are; the working directory."""
    api_key_name: str | None = None
    """Name of the variable that holds the key in the harness's environment."""
    task_dir: PurePosixPath | None = None
    """Where the task's own folder is."""
    own_port: int | None = None
    """A port of the machine for what the harness serves itself; None where it has a network of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What to run: words, never shell text."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    """Plain variables, no secrets."""
    secret_env: Mapping[str, str] = field(default_factory=dict)
    """Variable that the harness reads → variable that holds the value (`OPENAI_API_KEY` → `MODEL_API_KEY`)."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Text files to be in `work_dir`, by relative path; no secrets."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a running harness says it is."""

    done: int
    """Items (or requests, for harnesses that count those)."""
    total: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a harness left, in our words. `problem` is set when that is not a whole result."""

    scores: tuple[Score, ...] = ()
    primary_metric: str | None = None
    n_items: int | None = None
    n_expected: int | None = None
    harness_version: str | None = None
    task_version: str | None = None
    task_hash: str | None = None
    n_shot: int | None = None
    chat_template: str | None = None
    usage: Mapping[str, float] = field(default_factory=dict)
    """As `TaskResult.usage`."""
    samples: Iterable[Sample] | None = None
    """Streamed once; None where the harness keeps none."""


class Harness(Protocol):
    """One program that runs benchmarks."""

    @property
    def name(self) -> str:
        """The word in a spec's `harness:`."""

    @property
    def requirements(self) -> Path | None:
        """Hashed requirements of the environment that it runs in without a container; None where it needs none."""

    def check(self, task: HarnessTask) -> Sequence[Problem]:
        """Say what of this task the harness cannot do, before anything is run."""

    def command(self, task: HarnessTask, binding: Binding) -> Command:
        """Build the command; a pure function."""

    def progress(self, artifacts: Path, log_tail: str) -> Progress | None:
        """Read how far a running job is from its artifacts so far and the last few KiB of its log."""

    def read(self, task: HarnessTask, artifacts: Path) -> Reading:
        """Read what a finished job left.

        Raises:
            ResultsError: files are missing, truncated, malformed, or hold no finite score.
        """
