"""The results of an invocation: scores, item counts and provenance, stored in `results.json`.

`SCHEMA_VERSION` is the version of the file; readers reject other major versions. Samples are stored separately, one
gzipped JSON Lines file per task (`samples/<task>.jsonl.gz`), so that a million of them can be streamed.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Final, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import PydanticSerializationError

from nel_action.errors import ResultsError
from nel_action.files import limited, without_surrogates, write_atomically

__all__ = [
    "MAX_UNANSWERED",
    "SCHEMA_VERSION",
    "Amounts",
    "Health",
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
    """Base of frozen records; unknown fields are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class Score(Record):
    """The value of one metric on one task."""

    metric: str
    """Name in the harness, with filters (`exact_match,strict`)."""
    value: Finite
    """In the unit of the metric; a NaN or infinite value is a missing score."""
    stderr: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """Standard error of `value` in the same unit; None if the harness reports none."""
    n: Annotated[int, Field(ge=0)] | None = None
    """Number of items that the value was computed from: those with a value of the metric."""
    excluded: Annotated[int, Field(ge=0)] = 0
    """Evaluated items that the harness excludes from the metric by definition (`nanmean` of lm-eval)."""
    mean_of_items: bool | None = None
    """Whether the harness computes the score as the mean of its items; None if unknown."""
    higher_is_better: bool | None = None
    """None if neither the harness nor the catalog defines it."""
    bounds: tuple[Finite, Finite] | None = None
    """Smallest and largest possible value, if the file states them or the harness defines them."""

    @field_validator("bounds")
    @classmethod
    def _check_bounds(cls, bounds: tuple[float, float] | None) -> tuple[float, float] | None:
        if bounds is not None and not bounds[0] < bounds[1]:
            msg = f"bounds: {bounds[0]:g} is not smaller than {bounds[1]:g}"
            raise ValueError(msg)
        return bounds


class Sample(Record):
    """The outcome of one item in one repeat."""

    id: str
    """The same in every run of a task; runs are paired by it."""
    scores: dict[str, Finite]
    """Metric → value, with the names of the task's scores."""
    repeat: int = 0
    """Counted from 0, if an item was evaluated more than once."""
    cluster: str | None = None
    """Group of items that are not independent, such as questions about one passage."""
    input: str | None = None
    """The question as sent to the model. Untrusted text."""
    output: str | None = None
    """The model's answer. Untrusted text."""
    expected: str | None = None
    """The reference answer."""


MAX_UNANSWERED: Final = 0.01
"""Tolerated fraction of requests without an answer, unless the policy states one."""

Count = Annotated[int, Field(ge=0)]


class Health(Record):
    """How the model's endpoint answered the requests of a task, as the gateway counted them."""

    requests: Annotated[int, Field(gt=0)]
    """Requests of the harness in the run that the scores are from, each counted once."""
    unanswered: Count = 0
    """Without an answer after all retries, or answered without text for another reason than that the model finished."""
    failed: Count = 0
    """The part of `unanswered` that has no answer at all."""
    empty: Count = 0
    """Answers without text that the model finished normally."""
    cut: Count = 0
    """Answers cut at the limit of tokens."""
    filtered: Count = 0
    """Answers that a content filter changed or removed."""
    retried: Count = 0
    """Requests that were sent more than once."""
    replayed: Count = 0
    """Answers that were read from the record."""
    latency_mean_ms: Finite | None = None
    """Milliseconds of one answer, of its last try if there were several."""
    latency_p50_ms: Finite | None = None
    latency_p95_ms: Finite | None = None

    def share(self, name: str) -> float:
        """Return a count as a fraction of all requests."""
        return float(getattr(self, name)) / self.requests


class Amounts(Record):
    """Requests that were answered, with their tokens and their cost."""

    requests: Count = 0
    prompt_tokens: Count = 0
    completion_tokens: Count = 0
    cached_tokens: Count = 0
    """The part of `prompt_tokens` that the endpoint read from a cache."""
    without_usage: Count = 0
    """Answers whose tokens the endpoint did not report; the counts above are then too small."""
    cost_usd: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """By the spec's `prices`; None if a price or the tokens of an answer are unknown."""


class JobOutcome(StrEnum):
    """Final or last known state of the job behind a result."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"
    RUNNING = "running"


class TaskResult(Record):
    """The result of one task on one model, with its provenance."""

    task: str
    """Name in the spec (`gsm8k`, `lm-evaluation-harness.ifeval`)."""
    model: str
    """`model_id` of the target."""
    job_id: str
    """`<invocation>.<n>`."""
    key: str
    """Deterministic key of the job."""
    outcome: JobOutcome
    reason: str | None = None
    """Cause of a failure as a code (`time_limit`, `out_of_memory`, …); `results` if the files could not be read."""
    detail: str | None = None
    """The cause as a sentence."""
    primary_metric: str | None = None
    """The metric that represents the task unless a policy names another."""
    scores: tuple[Score, ...] = ()
    missing_scores: tuple[str, ...] = ()
    """Metrics that the harness reports without a finite value."""
    n_items: int | None = None
    """Number of evaluated items."""
    n_expected: int | None = None
    """Number of items of a complete run, if known."""
    harness: str | None = None
    harness_version: str | None = None
    task_version: str | None = None
    task_hash: str | None = None
    """Digest of the prompts (template, few-shot examples)."""
    n_shot: int | None = None
    chat_template: str | None = None
    """Digest of the chat template, if the harness applied one."""
    params: dict[str, Any] = Field(default_factory=dict)
    """Parameters passed to the harness."""
    fingerprint: dict[str, str] | None = None
    """Key path or file → value or digest of everything that defines the benchmark; None if unknown (other tools, older
    versions)."""
    image: str | None = None
    """Image reference, with its digest if known."""
    environment: str | None = None
    """Digest of the locked requirements, if no image was used."""
    command: tuple[str, ...] = ()
    started: str | None = None
    """RFC 3339, UTC."""
    ended: str | None = None
    seconds: float | None = None
    """Wall time of the attempt that succeeded."""
    attempts: int = 1
    runs: int = 1
    """Number of runs that the scores are the mean of; 2 after a confirmation run with another seed."""
    usage: dict[str, float] = Field(default_factory=dict)
    """`prompt_tokens`, `completion_tokens`, `cost_usd`, `latency_ms`, `error_rate`; as the harness reports them, else
    as the gateway counted them."""
    health: Health | None = None
    """None if it was not measured: without the gateway, or without a request that it records."""
    used: Amounts | None = None
    """By the answers that the scores are computed from; replayed ones cost nothing and are included."""
    paid: Amounts | None = None
    """By this invocation, in all attempts; nothing for a job of another invocation."""
    recorded: str | None = None
    """Whether the answers are in the record: `complete`, `partial` (a full disk or a limit), `off`; None if unknown."""
    samples: str | None = None
    """Path of the samples file, relative to `results.json`."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of all reported metrics, with or without a finite value."""
        return (*(score.metric for score in self.scores), *self.missing_scores)

    def score(self, metric: str) -> Score | None:
        """Return the score of a metric, or None."""
        return next((score for score in self.scores if score.metric == metric), None)


class Results(Record):
    """The content of `results.json`."""

    schema_version: str = SCHEMA_VERSION
    invocation: str
    """16 hex digits."""
    created: str
    """RFC 3339, UTC."""
    tool_version: str
    repository: str | None = None
    """`owner/name`."""
    commit: str | None = None
    commit_source: str | None = None
    """Where the commit was read: the name of a variable, or the checkout and its state."""
    spec_digest: str | None = None
    """SHA-256 of the resolved spec."""
    tasks: tuple[TaskResult, ...] = ()


def write_results(results: Results, path: Path) -> None:
    """Write `results.json` atomically."""
    write_atomically(path, (results.model_dump_json(indent=2) + "\n").encode())


def read_results(path: Path) -> Results:
    """Read `results.json`.

    Raises:
        ResultsError: the file is missing, truncated, of another major version or has another structure.
    """
    try:
        data = json.loads(path.read_bytes())
    except OSError as error:
        msg = f"cannot read {path}: {error.strerror or error}"
        raise ResultsError(msg) from error
    except (ValueError, RecursionError) as error:
        msg = f"{path} is not valid JSON: {error}"
        raise ResultsError(msg) from error
    version = str(data.get("schema_version", "")) if isinstance(data, dict) else ""
    if version.split(".", maxsplit=1)[0] != SCHEMA_VERSION.split(".", maxsplit=1)[0]:
        msg = f"{path} has schema version {version or 'none'}; supported is {SCHEMA_VERSION}"
        raise ResultsError(msg)
    try:
        return Results.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        location = ".".join(str(part) for part in first["loc"])
        msg = f"{path} is not a results file: {location}: {first['msg']}"
        raise ResultsError(msg) from error


def write_samples(samples: Iterable[Sample], path: Path) -> int:
    """Stream samples to a gzipped JSON Lines file and return their number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    count = 0
    # NOTE: mtime=0, so that files of equal samples have equal digests.
    with partial.open("wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", filename="", mtime=0, compresslevel=5) as out:
        for sample in samples:
            try:
                line = sample.model_dump_json(exclude_defaults=True)
            except PydanticSerializationError:
                line = json.dumps(without_surrogates(sample.model_dump(exclude_defaults=True)))
            out.write(line.encode() + b"\n")
            count += 1
    partial.replace(path)
    return count


def read_samples(path: Path) -> Iterator[Sample]:
    """Stream the samples of a file.

    Raises:
        ResultsError: the file is missing, truncated or has another structure.
    """
    try:
        with limited(cast("BinaryIO", gzip.open(path, "rb"))) as lines:
            for line in lines:
                yield Sample.model_validate_json(line)
    except (OSError, EOFError, ValueError) as error:
        msg = f"cannot read samples from {path}: {error}"
        raise ResultsError(msg) from error


class Interval(Record):
    """A two-sided interval of two one-sided confidence bounds."""

    low: Finite
    high: Finite
    level: Annotated[float, Field(gt=0, lt=1)]
    """Two-sided confidence level: 0.90 for two bounds at 0.95."""
    method: str
    """Name as in `docs/statistics.md`."""
