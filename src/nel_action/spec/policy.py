"""The gate's policy: what is allowed, for each task."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from nel_action.spec.base import SpecModel

__all__ = ["Correction", "Direction", "FloorRule", "GatePolicy", "OnInconclusive", "TaskPolicy", "Tier"]

Finite = Annotated[float, Field(allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


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


class GatePolicy(SpecModel):
    """What the gate compares with and what it allows."""

    baseline: str | None = None
    """A branch, a committed file, a run directory, an invocation id, or `mlflow:<run>`."""
    tasks: dict[str, TaskPolicy] = {}
    """By the task's name in the spec."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """Of each one-sided bound."""
    correction: Correction = Correction.HOLM
    """Over the tests that could fail the gate."""
    on_inconclusive: OnInconclusive = OnInconclusive.WARN
    """What an unsettled comparison does."""
    on_missing_baseline: Literal["fail", "pass"] = "pass"
    """What a first run without a baseline does; it is said in the report either way."""
