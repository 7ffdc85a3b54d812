"""What came out of an invocation: scores, items, provenance; and `results.json`, which holds it.

The file is versioned by `SCHEMA_VERSION`; a reader refuses a major version it does not know. Per-item
samples are kept beside it, one gzipped JSON-lines file for each task (`samples/<task>.jsonl.gz`), because
a million of them must be streamed, never loaded with the rest.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nel_action.errors import ResultsError
from nel_action.files import write_atomically

__all__ = [
    "SCHEMA_VERSION",
    "Interval",
    "JobOutcome",
    "Results",
    "Sample",
    "Score",
    "TaskResult",
    "read_results",
    "read_samples",
    "write_results",
    "write_samples",
]

SCHEMA_VERSION: Final = "1.0"

Finite = Annotated[float, Field(allow_inf_nan=False)]


class Record(BaseModel):
    """A frozen record that refuses fields it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class Score(Record):
    """One metric's value on one task."""

    metric: str
    """The harness's own name, filters included (`exact_match,strict`)."""
    value: Finite
    """In the metric's own unit; never NaN or infinite (such a score is a missing score)."""
    stderr: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """Standard error of `value`, same unit; None where the harness gives none."""
    n: Annotated[int, Field(ge=0)] | None = None
    """Items that the value was computed from."""
    higher_is_better: bool | None = None
    """None where neither the harness nor the catalog says."""


class Sample(Record):
    """One item's outcome, on one repeat."""

    id: str
    """Stable across runs of the same task: pairs are made by it."""
    scores: dict[str, Finite]
    """Metric to value, under the same names as in the task's scores."""
    repeat: int = 0
    """0, 1, … where an item was asked more than once."""
    cluster: str | None = None
    """Items that share a passage or a template share a cluster."""
    input: str | None = None
    """The question as put to the model. Untrusted text."""
    output: str | None = None
    """What the model answered. Untrusted text."""
    expected: str | None = None
    """The reference answer."""


class JobOutcome(StrEnum):
    """How the job that should have given a result ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"
    RUNNING = "running"


class TaskResult(Record):
    """All that is known of one task on one model."""

    task: str
    """The name in the spec (`gsm8k`, `lm-evaluation-harness.ifeval`)."""
    model: str
    """The target's `model_id`."""
    job_id: str
    """`<invocation>.<n>`."""
    key: str
    """The job's deterministic key."""
    outcome: JobOutcome
    reason: str | None = None
    """Why it failed (`time_limit`, `out_of_memory`, …) or why its results could not be read."""
    detail: str | None = None
    """The same in a sentence."""
    primary_metric: str | None = None
    """Which of `scores` stands for the task where nothing else is asked."""
    scores: tuple[Score, ...] = ()
    n_items: int | None = None
    """Items that were evaluated."""
    n_expected: int | None = None
    """Items that should have been, where that is known."""
    harness: str | None = None
    harness_version: str | None = None
    task_version: str | None = None
    task_hash: str | None = None
    """Digest of what the harness asks and how (prompt template, few-shot examples)."""
    n_shot: int | None = None
    chat_template: str | None = None
    """Digest of the chat template where the harness applied one."""
    params: dict[str, Any] = Field(default_factory=dict)
    """The parameters passed to the harness."""
    image: str | None = None
    """Image reference with digest where it is known."""
    environment: str | None = None
    """Digest of the locked environment where no image was used."""
    command: tuple[str, ...] = ()
    started: str | None = None
    """RFC 3339, UTC."""
    ended: str | None = None
    seconds: float | None = None
    """Wall time of the attempt that succeeded."""
    attempts: int = 1
    runs: int = 1
    """Runs that the scores are the mean of: 2 where a failing task was run once more, with another seed."""
    usage: dict[str, float] = Field(default_factory=dict)
    """What the harness reports of itself: `prompt_tokens`, `completion_tokens`, `cost_usd`, `latency_ms`,
    `error_rate`."""
    samples: str | None = None
    """Path of the samples file, relative to `results.json`."""

    def score(self, metric: str) -> Score | None:
        """Return the score of that name, or None."""
        return next((score for score in self.scores if score.metric == metric), None)


class Results(Record):
    """The whole of `results.json`."""

    schema_version: str = SCHEMA_VERSION
    invocation: str
    """16 hex digits."""
    created: str
    """RFC 3339, UTC."""
    tool_version: str
    repository: str | None = None
    """`owner/name`."""
    commit: str | None = None
    spec_digest: str | None = None
    """SHA-256 of the resolved spec."""
    tasks: tuple[TaskResult, ...] = ()


def write_results(results: Results, path: Path) -> None:
    """Write `results.json` so that a reader sees the whole file or the old one."""
    write_atomically(path, (results.model_dump_json(indent=2) + "\n").encode())


def read_results(path: Path) -> Results:
    """Read `results.json`.

    Raises:
        ResultsError: the file is missing, truncated, of another major version or not of this shape.
    """
    try:
        data = json.loads(path.read_bytes())
    except OSError as error:
        msg = f"cannot read {path}: {error.strerror or error}"
        raise ResultsError(msg) from error
    except (ValueError, RecursionError) as error:
        msg = f"{path} is not whole JSON: {error}"
        raise ResultsError(msg) from error
    version = str(data.get("schema_version", "")) if isinstance(data, dict) else ""
    if version.split(".", maxsplit=1)[0] != SCHEMA_VERSION.split(".", maxsplit=1)[0]:
        msg = f"{path} has schema version {version or 'none'}; this version reads {SCHEMA_VERSION}"
        raise ResultsError(msg)
    try:
        return Results.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        msg = f"{path} is not a results file: {place}: {first['msg']}"
        raise ResultsError(msg) from error


def write_samples(samples: Iterable[Sample], path: Path) -> int:
    """Stream samples into a gzipped JSON-lines file; return how many there were."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    count = 0
    # NOTE: mtime=0 so that equal samples make equal files, whose digests can be compared.
    with partial.open("wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", filename="", mtime=0, compresslevel=5) as out:
        for sample in samples:
            out.write(sample.model_dump_json(exclude_defaults=True).encode() + b"\n")
            count += 1
    partial.replace(path)
    return count


def read_samples(path: Path) -> Iterator[Sample]:
    """Stream samples back.

    Raises:
        ResultsError: the file is missing, truncated or holds something else.
    """
    try:
        with gzip.open(path, "rb") as lines:
            for line in lines:
                yield Sample.model_validate_json(line)
    except (OSError, EOFError, ValidationError) as error:
        msg = f"cannot read samples from {path}: {error}"
        raise ResultsError(msg) from error


class Interval(Record):
    """A two-sided interval made of two one-sided bounds."""

    low: Finite
    high: Finite
    level: Annotated[float, Field(gt=0, lt=1)]
    """Two-sided coverage: 0.90 where each bound holds at 0.95."""
    method: str
    """As `docs/statistics.md` names it."""
