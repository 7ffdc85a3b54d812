"""The gate's policy: the baseline and the limits of each task."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Final, Literal, Self

from pydantic import Field, field_validator, model_validator

from nel_action.spec.base import SpecModel
from nel_action.spec.limits import (
    COMPLETION_TOKENS,
    COST_USD,
    CUT,
    EMPTY,
    ERROR_RATE,
    FILTERED,
    LATENCY_MS,
    LATENCY_P95_MS,
    LIMITS,
    MAX,
    MAX_DROP,
    MAX_RELATIVE_DROP,
    MIN,
    MIN_GAIN,
    MIN_ITEMS,
    OBSERVED,
    PROMPT_TOKENS,
    RETRIED,
    SECONDS,
    UNANSWERED,
    Limit,
    Rule,
)

__all__ = [
    "Confirm",
    "Correction",
    "Difference",
    "Direction",
    "FloorRule",
    "GatePolicy",
    "OnInconclusive",
    "TaskPolicy",
    "Tier",
    "UsageLimits",
]

Finite = Annotated[float, Field(allow_inf_nan=False)]
Confidence = Annotated[float, Field(gt=0.5, lt=1)]
_SECONDS: Final = {"h": 3600, "d": 86_400, "w": 604_800}
"""Seconds by unit of `max_age`."""


class Tier(StrEnum):
    """Weight of a task in the gate's verdict."""

    CRITICAL = "critical"
    """A failure fails the gate, even if other tasks are unmeasurable."""
    SUPPORTING = "supporting"
    """A failure fails the gate."""
    ADVISORY = "advisory"
    """Shown, without effect on the gate."""


class Direction(StrEnum):
    """Whether larger or smaller values of a metric are better."""

    HIGHER = "higher_is_better"
    LOWER = "lower_is_better"


class FloorRule(StrEnum):
    """How `min` and `max` are tested."""

    CONFIDENT = "confident"
    """By the confidence bound of the score."""
    POINT = "point"
    """By the score itself."""


class OnInconclusive(StrEnum):
    """Exit code of an inconclusive verdict: 1, 4 or 0."""

    FAIL = "fail"
    WARN = "warn"
    PASS = "pass"  # noqa: S105 - a value of the policy, no secret


class Correction(StrEnum):
    """Correction for multiple tests, which bounds the probability of any false failure."""

    HOLM = "holm"
    NONE = "none"


class Difference(StrEnum):
    """A difference between two results that makes them incomparable unless the policy allows it."""

    HARNESS = "harness"
    HARNESS_VERSION = "harness_version"
    TASK_VERSION = "task_version"
    TASK_HASH = "task_hash"
    N_SHOT = "n_shot"
    CHAT_TEMPLATE = "chat_template"
    LIMIT = "limit"
    ITEMS = "items"
    INPUTS = "inputs"


class UsageLimits(SpecModel):
    """Maxima of the cost, latency, tokens and errors of a task, and of the shares of answers that are none."""

    cost_usd: Annotated[float, COST_USD] | None = None
    latency_ms: Annotated[float, LATENCY_MS] | None = None
    prompt_tokens: Annotated[float, PROMPT_TOKENS] | None = None
    completion_tokens: Annotated[float, COMPLETION_TOKENS] | None = None
    error_rate: Annotated[float, ERROR_RATE] | None = None
    seconds: Annotated[float, SECONDS] | None = None
    unanswered: Annotated[float, UNANSWERED] | None = None
    empty: Annotated[float, EMPTY] | None = None
    cut: Annotated[float, CUT] | None = None
    filtered: Annotated[float, FILTERED] | None = None
    retried: Annotated[float, RETRIED] | None = None
    latency_p95_ms: Annotated[float, LATENCY_P95_MS] | None = None


class TaskPolicy(SpecModel):
    """The limits of one task. A limit that is not stated is not tested."""

    metric: str | None = None
    """The judged metric; by default the primary metric of the task."""
    direction: Direction | None = None
    """Required if neither the harness nor the catalog states whether larger values are better."""
    tier: Tier = Tier.SUPPORTING
    """A failing `critical` task fails the gate in any case; an `advisory` task is shown and has no effect."""
    min: Annotated[float, MIN] | None = None
    max: Annotated[float, MAX] | None = None
    floor: FloorRule = FloorRule.CONFIDENT
    """How `min` and `max` are tested: `confident` by the confidence bound of the score, `point` by the score itself."""
    max_drop: Annotated[float, MAX_DROP] | None = None
    max_relative_drop: Annotated[float, MAX_RELATIVE_DROP] | None = None
    min_gain: Annotated[float, MIN_GAIN] | None = None
    min_items: Annotated[int, MIN_ITEMS] | None = None
    bounds: Annotated[tuple[Finite, Finite], Field(strict=False)] | None = None
    """Smallest and largest possible score of one item; by default 0 and 1 if all items are within, else the observed
    ones."""
    limits: UsageLimits | None = None
    """Maxima of cost, latency, tokens, errors and missing answers."""
    confidence: Confidence | None = None
    """Confidence level of each one-sided bound; by default that of the policy."""
    on_inconclusive: OnInconclusive | None = None
    """Effect of an inconclusive result on the exit code; by default that of the policy."""
    allow: Annotated[tuple[Difference, ...], Field(strict=False)] = ()
    """Accepted differences from the baseline."""

    @model_validator(mode="after")
    def _validate_order(self) -> Self:
        if self.min is not None and self.max is not None and self.min > self.max:
            msg = f"min ({self.min:g}) is larger than max ({self.max:g})"
            raise ValueError(msg)
        if self.bounds is not None and self.bounds[0] >= self.bounds[1]:
            msg = f"bounds: {self.bounds[0]:g}, {self.bounds[1]:g}; the smaller value must come first"
            raise ValueError(msg)
        return self

    def stated_limits(self, *rules: Rule) -> Iterator[tuple[Limit, float]]:
        """Yield each limit that the policy states, with its value, in the order of the table.

        Args:
            rules: only limits of these rules; all limits if none are given.
        """
        for key, limit in LIMITS.items():
            section = self.limits if limit.rule in OBSERVED else self
            value = getattr(section, key, None)
            if value is not None and (not rules or limit.rule in rules):
                yield limit, value

    @property
    def needs_baseline(self) -> bool:
        """Whether any stated limit compares with the baseline."""
        return any(limit.needs_baseline for limit, _ in self.stated_limits())


class Confirm(SpecModel):
    """Run failing tasks a second time with another seed and judge both runs together.

    The process that waits for the jobs submits the second run; `mode: collect` submits nothing and judges the first run
    alone.
    """

    max_tasks: Annotated[int, Field(gt=0)] = 3
    """With more failing tasks, the first run decides: so many do not fail by chance."""
    max_seconds: Annotated[float, Field(gt=0)] | None = None
    """Maximum total wall time of the second runs, estimated by the first ones; unlimited by default."""


class GatePolicy(SpecModel):
    """The baseline and the limits of the gate."""

    baseline: str | None = None
    """A branch, a committed file, a run directory, an invocation id, or `mlflow:<run>`."""
    defaults: TaskPolicy = TaskPolicy()
    """Limits of every task; each key of a task's own entry replaces the one here."""
    tasks: dict[str, TaskPolicy] = {}
    """Limits by the name of the task in the spec."""
    confidence: Confidence = 0.95
    """Confidence level of each one-sided bound."""
    correction: Correction = Correction.HOLM
    """Correction for multiple tests over all tests that can fail the gate."""
    on_inconclusive: OnInconclusive = OnInconclusive.WARN
    """Effect of an inconclusive verdict on the exit code."""
    on_missing_baseline: Literal["fail", "pass"] = "pass"
    """Verdict of a first run that has no baseline yet; the report states it in both cases."""
    max_age: Annotated[str, Field(pattern=r"^[1-9][0-9]*[hdw]$")] | None = None
    """Largest age of the baseline in hours, days or weeks (`12h`, `30d`, `4w`); tasks compared with an older one, or
    with one of unknown age, are unmeasurable."""
    confirm: Confirm | None = None
    """Run failing tasks a second time before the gate fails."""
    allow: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Keys of the benchmark that a pull request may change (`evaluation.tasks.gsm8k.params`), with all keys below."""
    pin: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Keys of the model under test that a pull request must not change (`target.revision`), with all keys below."""

    @property
    def max_age_seconds(self) -> float | None:
        """The largest age of the baseline in seconds; None if it is not limited."""
        return None if self.max_age is None else float(self.max_age[:-1]) * _SECONDS[self.max_age[-1]]

    @field_validator("allow", "pin")
    @classmethod
    def _validate_key_paths(cls, paths: tuple[str, ...]) -> tuple[str, ...]:
        from nel_action.spec.classes import is_key_path

        for path in paths:
            if not is_key_path(path):
                msg = f"'{path}' is no key of a spec; write it as in `target.revision`"
                raise ValueError(msg)
        return paths
