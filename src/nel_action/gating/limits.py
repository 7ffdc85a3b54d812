"""The methods that test the limits of a policy, one for each rule of the table in `spec.limits`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from nel_action.gating import messages
from nel_action.gating.comparison import TaskComparison
from nel_action.gating.task_samples import TaskSamples
from nel_action.gating.verdict import LimitTest
from nel_action.model.results import TaskResult
from nel_action.model.unmeasurable import Unmeasurable
from nel_action.spec.limits import Limit, LimitUnit, Rule
from nel_action.spec.metric_range import MetricRange, limit_range_problem, scale_problem
from nel_action.spec.policy import FloorRule, TaskPolicy
from nel_action.statistics.distributions import normal_quantile
from nel_action.statistics.estimates import Evidence, Negated, PointEstimate
from nel_action.statistics.relative import relative_loss

__all__ = ["RULES", "Measured", "RuleMethod", "RunScore", "evaluate_limits", "exceeded_usage"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What the limits of one task are tested on."""

    policy: TaskPolicy
    alpha: float
    """Error rate of each one-sided test."""
    samples: TaskSamples
    score: Evidence | Unmeasurable
    """Estimate of the candidate's score."""
    comparison: TaskComparison | None = None
    known_range: MetricRange | None = None
    """Range of the metric; None if unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunScore:
    """The score of one run of a series."""

    value: float
    reference: float
    """Score of the baseline of the series."""
    higher: bool
    """Whether larger values of the metric are better."""

    @property
    def loss(self) -> float:
        """Loss against the baseline; negative for a gain."""
        return (self.reference - self.value) * (1 if self.higher else -1)


class RuleMethod(Protocol):
    """The method of one rule, for a single run and for a series of runs."""

    def test(self, limit: Limit, stated: float, measured: Measured) -> LimitTest | Unmeasurable:
        """Return the test of a limit, or the reason why it cannot be tested.

        Args:
            limit: row of the limit.
            stated: value of the limit in the policy.
            measured: the task's estimates.
        """

    def excess(self, limit: Limit, stated: float, run: RunScore) -> float:
        """Return how far a run of a series is beyond the limit, in the unit of the metric; positive if it is violated.

        Args:
            limit: row of the limit.
            stated: value of the limit in the policy.
            run: score of the run.
        """


class _ScoreRule:
    """Limits on the score itself."""

    def test(self, limit: Limit, stated: float, measured: Measured) -> LimitTest | Unmeasurable:
        """See `RuleMethod.test`."""
        point = measured.policy.floor is FloorRule.POINT
        score = PointEstimate(measured.samples.score.value) if point else measured.score
        if isinstance(score, Unmeasurable):
            return Unmeasurable(messages.point_only(score.reason, limit))
        return LimitTest(
            limit=limit,
            stated=stated,
            evidence=score if limit.is_minimum else Negated(score),
            value=score.estimate,
            threshold=stated if limit.is_minimum else -stated,
            alpha=measured.alpha,
            n=measured.samples.n,
            point=point,
        )

    def excess(self, limit: Limit, stated: float, run: RunScore) -> float:
        """See `RuleMethod.excess`."""
        return stated - run.value if limit.is_minimum else run.value - stated


class _ChangeRule:
    """Limits on the change from the baseline: a required gain, or an allowed loss (a non-inferiority margin)."""

    def test(self, limit: Limit, stated: float, measured: Measured) -> LimitTest | Unmeasurable:
        """See `RuleMethod.test`."""
        if measured.comparison is None:
            return Unmeasurable(messages.NO_BASELINE)
        gain = measured.comparison.gain
        return LimitTest(
            limit=limit,
            stated=stated,
            evidence=gain.evidence,
            value=gain.evidence.estimate,
            threshold=stated if limit.is_minimum else -stated,
            alpha=measured.alpha,
            n=gain.n,
        )

    def excess(self, limit: Limit, stated: float, run: RunScore) -> float:
        """See `RuleMethod.excess`."""
        return run.loss - (-stated if limit.is_minimum else stated)


class _RelativeChangeRule:
    """Limits on the loss as a fraction of the baseline."""

    def test(self, limit: Limit, stated: float, measured: Measured) -> LimitTest | Unmeasurable:
        """See `RuleMethod.test`."""
        if measured.comparison is None:
            return Unmeasurable(messages.NO_BASELINE)
        gain, higher = measured.comparison.gain, measured.comparison.higher
        if gain.relative is None:
            return Unmeasurable(messages.NO_RELATIVE_CHANGE)
        moments = gain.relative.moments
        if moments.baseline <= 0:
            # NOTE: a score is rounded, so it can be positive while the mean of its items is not.
            return Unmeasurable(messages.undefined_relative_drop(moments.baseline))
        quantile = normal_quantile(1 - measured.alpha)
        return LimitTest(
            limit=limit,
            stated=stated,
            evidence=gain.relative.evidence,
            value=gain.evidence.estimate,
            threshold=gain.relative.limit,
            alpha=measured.alpha,
            n=gain.n,
            relative_loss=relative_loss(moments, quantile, higher=higher),
        )

    def excess(self, limit: Limit, stated: float, run: RunScore) -> float:  # noqa: ARG002 - every row has the same method
        """See `RuleMethod.excess`."""
        return run.loss - stated * abs(run.reference)


RULES: Final[dict[Rule, RuleMethod]] = {
    Rule.SCORE: _ScoreRule(),
    Rule.CHANGE: _ChangeRule(),
    Rule.RELATIVE_CHANGE: _RelativeChangeRule(),
}
"""Method of each rule that is tested statistically."""


def evaluate_limits(measured: Measured, *, needs_baseline: bool) -> Iterator[LimitTest | Unmeasurable]:
    """Yield the test of each stated limit, or the reason why it cannot be tested.

    Args:
        measured: the task's estimates.
        needs_baseline: test the limits on the change from the baseline; otherwise those on the score itself.
    """
    for limit, stated in measured.policy.stated_limits(*RULES):
        if limit.needs_baseline is not needs_baseline:
            continue
        known = measured.known_range
        problem = (
            limit_range_problem(limit, stated, known)
            if known is not None
            else scale_problem(limit, stated, measured.samples.score.metric, *_extent(measured))
        )
        if problem is not None:
            yield Unmeasurable("; ".join(problem))
        else:
            yield RULES[limit.rule].test(limit, stated, measured)


def _extent(measured: Measured) -> tuple[float, float]:
    """Return the smallest and the largest known value of the metric, of items and scores on both sides."""
    sides = [measured.samples, *([measured.comparison.baseline] if measured.comparison is not None else [])]
    values = [side.score.value for side in sides]
    for side in sides:
        if side.items is not None:
            values += [side.items.low * side.scale, side.items.high * side.scale]
    return min(values), max(values)


def exceeded_usage(policy: TaskPolicy, result: TaskResult) -> tuple[list[str], list[str]]:
    """Compare the usage of a task and the health of its answers with their limits.

    Returns:
        Reasons for the violated limits, and for those whose quantity is not reported.
    """
    violated, unreported = [], []
    for limit, stated in policy.stated_limits(Rule.USAGE, Rule.HEALTH):
        value = _observed(limit, result)
        if value is None or not math.isfinite(value) or value < 0:
            unreported.append(messages.unreported_usage(limit))
        elif value > stated:
            violated.append(messages.usage_reason(limit, stated, value))
    return violated, unreported


def _observed(limit: Limit, result: TaskResult) -> float | None:
    """Return the limited quantity; None if it is not known."""
    if limit.rule is Rule.USAGE:
        return result.seconds if limit.key == "seconds" else result.usage.get(limit.key)
    if result.health is None:
        return None
    return result.health.share(limit.key) if limit.unit is LimitUnit.FRACTION else getattr(result.health, limit.key)
