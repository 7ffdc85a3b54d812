"""The assessment of one task on one model: its estimates and the tests of its limits."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from typing import Final

from pydantic import ValidationError

from nel_action.errors import ResultsError
from nel_action.formatting import Unit
from nel_action.gating import messages
from nel_action.gating.comparison import Contradiction, TaskComparison, compare, score_evidence
from nel_action.gating.limits import Measured, evaluate_limits, exceeded_usage
from nel_action.gating.result_set import ResultSet
from nel_action.gating.task_samples import TaskSamples, known_range, load_samples, with_stated_scale
from nel_action.gating.validation import differing_default, select_score, validate_result
from nel_action.gating.verdict import LimitTest
from nel_action.model.results import Interval, Score, TaskResult
from nel_action.model.unmeasurable import Unmeasurable
from nel_action.planning.fingerprint import matches
from nel_action.spec.limits import Rule
from nel_action.spec.metric_range import MetricRange
from nel_action.spec.policy import FloorRule, GatePolicy, TaskPolicy
from nel_action.statistics.aggregate import as_proportion, is_mean_of_bounded_items

__all__ = ["Assessment", "assess"]

LARGEST_VALUE: Final = 1e100
"""Largest absolute value of a score or an item that is judged."""

logger = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Assessment:
    """The estimates and tests of one task on one model, before correction for multiplicity."""

    task: str
    model: str
    policy: TaskPolicy
    score: Score | None = None
    n: int | None = None
    interval: Interval | None = None
    """Confidence interval of the score."""
    samples: TaskSamples | None = None
    """None if the score cannot be judged."""
    comparison: TaskComparison | None = None
    tests: list[LimitTest] = field(default_factory=list)
    violated: list[str] = field(default_factory=list)
    """Reasons for violated usage limits, which need no statistics."""
    unmeasurable: list[str] = field(default_factory=list)
    """Reasons why a stated limit cannot be tested."""
    notes: list[str] = field(default_factory=list)

    @property
    def higher_is_better(self) -> bool | None:
        """Direction of the metric; None if unknown."""
        if self.comparison is not None:
            return self.comparison.higher
        return self.score.higher_is_better if self.score else None

    @property
    def unit(self) -> Unit:
        """Unit of the metric in texts for people, the same as in the columns of a report."""
        baseline = self.comparison.baseline.score.value if self.comparison else None
        score = self.score.value if self.score else None
        floor = self.policy.min if self.policy.min is not None else self.policy.max
        return Unit.of(score, baseline, floor, higher_is_better=self.higher_is_better)

    @property
    def alpha(self) -> float:
        """Error rate of each one-sided bound."""
        return 1 - (self.policy.confidence or GatePolicy().confidence)


def assess(
    task: str,
    model: str,
    policy: TaskPolicy,
    result: TaskResult | None,
    *,
    candidate: ResultSet,
    baseline: ResultSet | None,
    allowed_keys: tuple[str, ...] = (),
) -> Assessment:
    """Assess one task; defects of its results become reasons, not errors.

    Args:
        task: name of the task in the spec.
        model: name of the model.
        policy: limits of the task, as `policy.task_policy` returns them.
        result: result of the task, if there is one.
        candidate: the judged run.
        baseline: the run to compare with, if there is one.
        allowed_keys: keys of the benchmark that may differ between the two, as `gate.allow` names them.
    """
    assessment = Assessment(task, model, policy)
    counterpart = baseline.counterpart(result, candidate) if baseline is not None and result is not None else None
    score = validate_result(result, policy) or (select_score(result, policy) if result else None)
    if result is not None and isinstance(counterpart, TaskResult):
        score = differing_default(result, counterpart, policy) or score
    if result is None or score is None or isinstance(score, Unmeasurable):
        assessment.unmeasurable += score.reasons if isinstance(score, Unmeasurable) else ()
        return assessment
    assessment.score, assessment.n = score, score.n if score.n is not None else result.n_items
    violated, unreported = exceeded_usage(policy, result)
    assessment.violated += violated
    assessment.unmeasurable += unreported
    try:
        samples = with_stated_scale(load_samples(candidate, result, score), policy)
        _reject_huge_values(samples)
        comparison = None
        if baseline is not None and counterpart is not None:
            comparison = _compare(samples, policy, baseline, counterpart, allowed_keys)
        _estimate(assessment, samples, comparison)
    except ResultsError as error:
        assessment.unmeasurable.append(str(error))
    except (ArithmeticError, ValidationError) as error:
        logger.warning("%s: %s", task, error)
        assessment.unmeasurable.append(messages.not_computable(score))
    return assessment


def _reject_huge_values(samples: TaskSamples) -> None:
    """Reject scores whose squares exceed the range of floating-point numbers.

    Raises:
        ResultsError: the score or an item is too large.
    """
    values = [samples.score.value, samples.score.stderr or 0.0]
    values += [samples.items.low, samples.items.high] if samples.items is not None else []
    largest = max(values, key=abs)
    if abs(largest) > LARGEST_VALUE:
        raise ResultsError(messages.too_large(samples.score.metric, largest, LARGEST_VALUE))


def _estimate(assessment: Assessment, samples: TaskSamples, comparison: TaskComparison | Unmeasurable | None) -> None:
    """Add the estimates of a task and the tests of its limits.

    Args:
        assessment: the task.
        samples: the judged score with its items.
        comparison: its comparison with the baseline, or the reason why there is none; None without a baseline.

    Raises:
        ResultsError: items are malformed or incomplete.
    """
    # NOTE: the comparison determines the scale of the metric for both runs.
    samples = comparison.candidate if isinstance(comparison, TaskComparison) else samples
    assessment.samples, assessment.n = samples, samples.n
    assessment.notes += samples.notes
    policy, alpha = assessment.policy, assessment.alpha
    score = score_evidence(samples, policy)
    if not isinstance(score, Unmeasurable):
        low, high = score.lower_bound(alpha), score.upper_bound(alpha)
        assessment.interval = Interval(low=low, high=high, level=1 - 2 * alpha, method=score.method)
    sides = [samples, comparison.baseline] if isinstance(comparison, TaskComparison) else [samples]
    possible = known_range(sides, policy.bounds)
    assessment.notes += _assumptions(samples, policy, possible)
    measured = Measured(policy=policy, alpha=alpha, samples=samples, score=score, known_range=possible)
    _test_limits(assessment, measured, needs_baseline=False)
    if isinstance(comparison, TaskComparison):
        assessment.comparison = comparison
        assessment.notes += comparison.notes
        _test_limits(assessment, replace(measured, comparison=comparison), needs_baseline=True)
    elif comparison is not None and (policy.needs_baseline or _contradicts_items(samples, comparison)):
        # NOTE: without a limit on the change, the comparison is only shown; if it is impossible, nothing is missing.
        assessment.unmeasurable += comparison.reasons


def _assumptions(samples: TaskSamples, policy: TaskPolicy, possible: MetricRange | None) -> list[str]:
    """Return what the tests of the limits assume about items that are not available.

    Args:
        samples: the judged score.
        policy: limits of the task.
        possible: range of the metric; None if it is unknown.
    """
    score = samples.aggregate
    is_tested = any(True for _ in policy.stated_limits(Rule.CHANGE, Rule.RELATIVE_CHANGE)) or (
        policy.floor is FloorRule.CONFIDENT and any(True for _ in policy.stated_limits(Rule.SCORE))
    )
    if samples.items is not None or not is_tested or possible is not None or as_proportion(score) is not None:
        return []
    if is_bounded := 0 <= score.value <= 1 and (not score.stderr or is_mean_of_bounded_items(score)):
        return [messages.assumed_range(samples.score.metric, bounded=is_bounded)]
    return [messages.assumed_range(samples.score.metric, bounded=False)] if score.stderr else []


def _contradicts_items(samples: TaskSamples, comparison: Unmeasurable) -> bool:
    """Return whether the judged score, not that of the baseline, contradicts its items."""
    return samples.differs_from_items and isinstance(comparison, Contradiction)


def _test_limits(assessment: Assessment, measured: Measured, *, needs_baseline: bool) -> None:
    for outcome in evaluate_limits(measured, needs_baseline=needs_baseline):
        if isinstance(outcome, Unmeasurable):
            assessment.unmeasurable += outcome.reasons
        else:
            assessment.tests.append(outcome)


def _compare(
    samples: TaskSamples,
    policy: TaskPolicy,
    baseline: ResultSet,
    counterpart: TaskResult | Unmeasurable,
    allowed_keys: tuple[str, ...],
) -> TaskComparison | Unmeasurable:
    """Compare with the baseline; malformed or incomplete items become a reason.

    Args:
        samples: the judged score.
        policy: limits of the task.
        baseline: the run to compare with.
        counterpart: its result of the same task, or the reason why there is none.
        allowed_keys: keys of the benchmark that may differ.
    """
    if isinstance(counterpart, Unmeasurable):
        return counterpart

    def is_allowed(name: str) -> bool:
        path = name.partition(":")[0].replace("evaluation.tasks.*", f"evaluation.tasks.{samples.result.task}", 1)
        return matches(path, allowed_keys)

    try:
        comparison = compare(samples, policy, baseline, counterpart, is_allowed=is_allowed)
        if isinstance(comparison, TaskComparison):
            _reject_huge_values(comparison.baseline)
    except ResultsError as error:
        return Unmeasurable(str(error))
    return comparison
