"""The gate's policy: what is allowed, for each task."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from nel_action.spec.base import SpecModel

__all__ = [
    "Confirm",
    "Correction",
    "Difference",
    "Direction",
    "FloorRule",
    "GatePolicy",
    "Limits",
    "OnInconclusive",
    "TaskPolicy",
    "Tier",
]

Finite = Annotated[float, Field(allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Confidence = Annotated[float, Field(gt=0.5, lt=1)]


class Tier(StrEnum):
    """How much a task weighs."""

    CRITICAL = "critical"
    SUPPORTING = "supporting"
    ADVISORY = "advisory"


class Direction(StrEnum):
    """Which way is better."""

    HIGHER = "higher_is_better"
    LOWER = "lower_is_better"


class FloorRule(StrEnum):
    """When a floor is passed."""

    CONFIDENT = "confident"
    POINT = "point"


class OnInconclusive(StrEnum):
    """What an inconclusive verdict does to the exit code: 1, 4 or 0."""

    FAIL = "fail"
    WARN = "warn"
    PASS = "pass"  # noqa: S105 - a policy's word, no secret


class Correction(StrEnum):
    """How the chance of a false failure is kept over several tests."""

    HOLM = "holm"
    NONE = "none"


class Difference(StrEnum):
    """What may differ between a run and its baseline so that they cannot be compared."""

    HARNESS = "harness"
    HARNESS_VERSION = "harness_version"
    TASK_VERSION = "task_version"
    TASK_HASH = "task_hash"
    N_SHOT = "n_shot"
    CHAT_TEMPLATE = "chat_template"
    LIMIT = "limit"
    ITEMS = "items"
    INPUTS = "inputs"


class Limits(SpecModel):
    """Ceilings on what a task costs, held against what the harness reports of itself."""

    cost_usd: NonNegative | None = None
    """US dollars, the whole task."""
    latency_ms: NonNegative | None = None
    """Milliseconds of one request, as the harness averages them."""
    prompt_tokens: NonNegative | None = None
    """Tokens sent, the whole task."""
    completion_tokens: NonNegative | None = None
    """Tokens generated, the whole task."""
    error_rate: Annotated[float, Field(ge=0, le=1)] | None = None
    """Share of requests that failed."""
    seconds: NonNegative | None = None
    """Wall time of the job."""


class TaskPolicy(SpecModel):
    """What one task must show. A limit that is not given is not tested."""

    metric: str | None = None
    """The metric; the task's primary one unless said."""
    direction: Direction | None = None
    """Which way is better, where neither harness nor catalog says."""
    tier: Tier = Tier.SUPPORTING
    """`advisory` tasks are shown and never decide."""
    min: Finite | None = None
    """Floor of the score, in the metric's unit."""
    max: Finite | None = None
    """Ceiling of the score, in the metric's unit."""
    floor: FloorRule = FloorRule.CONFIDENT
    """`confident`: the data say so at the stated confidence; `point`: the score itself."""
    max_drop: NonNegative | None = None
    """Largest allowed loss against the baseline, in the metric's unit."""
    max_relative_drop: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Largest allowed loss as a share of the baseline's score."""
    min_gain: NonNegative | None = None
    """Smallest required gain over the baseline, in the metric's unit."""
    min_items: Annotated[int, Field(gt=0)] | None = None
    """Fewer items make the task unmeasurable."""
    bounds: Annotated[tuple[Finite, Finite], Field(strict=False)] | None = None
    """Smallest and largest value that one item can score; 0 and 1 where all items lie between them, else those seen."""
    limits: Limits | None = None
    """Ceilings on cost, latency, tokens and errors."""
    confidence: Confidence | None = None
    """Of each one-sided bound; the policy's own unless said."""
    on_inconclusive: OnInconclusive | None = None
    """What this task does when it is not settled; the policy's own rule unless said."""
    allow: Annotated[tuple[Difference, ...], Field(strict=False)] = ()
    """Differences from the baseline that do not matter here."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min is not None and self.max is not None and self.min > self.max:
            msg = f"min ({self.min:g}) is above max ({self.max:g})"
            raise ValueError(msg)
        if self.bounds is not None and self.bounds[0] >= self.bounds[1]:
            msg = "bounds need the smaller value first"
            raise ValueError(msg)
        return self


class Confirm(SpecModel):
    """Run what fails once more, with another seed, and judge both runs together, before the change is blamed.

    Whoever waits for the jobs does so; `mode: collect` submits nothing, and lets the first run decide.
    """

    max_tasks: Annotated[int, Field(gt=0)] = 3
    """More failing tasks than this are believed at once: so much does not fail by chance."""
    max_seconds: Annotated[float, Field(gt=0)] | None = None
    """Wall time that the second runs may take together, judged by the first ones; no limit unless said."""


class GatePolicy(SpecModel):
    """What the gate compares with and what it allows."""

    baseline: str | None = None
    """A branch, a committed file, a run directory, an invocation id, or `mlflow:<run>`."""
    defaults: TaskPolicy = TaskPolicy()
    """What every task must show; a task's own entry comes first, key by key."""
    tasks: dict[str, TaskPolicy] = {}
    """By the task's name in the spec."""
    confidence: Confidence = 0.95
    """Of each one-sided bound."""
    correction: Correction = Correction.HOLM
    """Over the tests that could fail the gate."""
    on_inconclusive: OnInconclusive = OnInconclusive.WARN
    """What an unsettled comparison does."""
    on_missing_baseline: Literal["fail", "pass"] = "pass"
    """What a first run without a baseline does; it is said in the report either way."""
    confirm: Confirm | None = None
    """Run failing tasks once more before blaming the change."""
