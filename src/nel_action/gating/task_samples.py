"""The items behind a score: their completeness, their agreement with the score, and the scale of the metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from nel_action.errors import ResultsError
from nel_action.gating import messages
from nel_action.gating.result_set import ResultSet
from nel_action.model.results import Score, TaskResult
from nel_action.spec.limits import Rule
from nel_action.spec.metric_range import MetricRange, range_of_metric
from nel_action.spec.policy import TaskPolicy
from nel_action.statistics.aggregate import Aggregate, as_proportion
from nel_action.statistics.items import Items, fitting_scales, is_binary, rescaled

__all__ = ["TaskSamples", "agree_on_scale", "known_range", "load_samples", "with_stated_scale"]

_PERCENT = 100.0
_ROUNDING = 6e-4
"""Largest difference of a reported score from a mean, as a fraction of the unit: three decimals."""
_FEWEST = 10
"""With fewer items, the standard errors of right/wrong and of other items are too similar."""
_WHOLE = 1e-6
"""Largest difference of a count from a whole number."""


@dataclass(frozen=True, slots=True, eq=False)
class TaskSamples:
    """One score of a task, with its items if it is their mean."""

    result: TaskResult
    score: Score
    n: int | None
    """Number of items that the score was computed from."""
    items: Items | None = None
    """None if there are none, or if the score is not their mean."""
    scales: tuple[float, ...] = (1.0,)
    """Every factor from the mean of the items to the score that fits, the assumed one first."""
    differs_from_items: bool = False
    """There are items, but the score is not their mean."""
    notes: tuple[str, ...] = ()

    @property
    def scale(self) -> float:
        """Factor from the mean of the items to the score: 100 if the score is a percentage, else 1."""
        return self.scales[0]

    @property
    def known_range(self) -> MetricRange | None:
        """Range of the metric as the harness, the items or the standard error show it; None if unknown.

        Right/wrong items, also averaged over repeats, are a proportion or a percentage; other scores between 0 and 1
        may be seconds or losses.
        """
        value, items = self.score.value, self.items
        stated = self.score.bounds
        defined = MetricRange(*stated) if stated else range_of_metric(self.result.harness, self.score.metric)
        if defined is not None and defined.low <= value <= defined.high:
            return defined
        if items is not None:
            is_clear = self.scale == _PERCENT or _are_right_or_wrong(items)
            return MetricRange(0.0, self.scale) if is_clear and len(self.scales) == 1 else None
        if not self.score.stderr:
            return None
        for scale in (1.0, _PERCENT):
            stderr = self.score.stderr / scale
            if self.n and self.n >= _FEWEST and as_proportion(Aggregate(value / scale, stderr, self.n)) is not None:
                return MetricRange(0.0, scale)
        return None

    @property
    def aggregate(self) -> Aggregate:
        """The score without its items."""
        return Aggregate(self.score.value, self.score.stderr, self.n)


def known_range(sides: Sequence[TaskSamples], stated: tuple[float, float] | None) -> MetricRange | None:
    """Return the range of a metric: as the policy states it, else from the first side where it is clear.

    Args:
        sides: the judged score and, if there is one, that of the baseline.
        stated: `bounds` of the policy.
    """
    if stated is not None:
        return MetricRange(*stated, stated=True)
    known = (samples.known_range for samples in sides)
    return next((metric_range for metric_range in known if metric_range is not None), None)


def _are_right_or_wrong(items: Items) -> bool:
    """Return whether every sample is 0 or 1, as far as the means over repeats show it."""
    repeats = items.samples / len(items)
    counts = items.values * repeats
    is_whole = bool((abs(counts - counts.round()) < _WHOLE * repeats).all()) and repeats.is_integer()
    return is_whole and {items.low, items.high} <= {0.0, 1.0}


def load_samples(run: ResultSet, result: TaskResult, score: Score) -> TaskSamples:
    """Read the items of a score and verify that they are complete and do not contradict the score.

    A score contradicts its items if the harness defines it as their mean and it is not, or if it is outside their
    range.

    Args:
        run: the run that the result belongs to.
        result: result of the task.
        score: one of its scores.

    Raises:
        ResultsError: the items are malformed, incomplete, or contradict the score.
    """
    n = score.n if score.n is not None else result.n_items
    items = run.items(result, score.metric)
    if items is None:
        return TaskSamples(result, score, n)
    expected = result.n_items - score.excluded if result.n_items is not None else n
    if expected is not None and len(items) < expected and items.samples < expected:
        raise ResultsError(messages.incomplete_samples(len(items), expected))
    scales = fitting_scales(items, score.value)
    if scales:
        notes = (messages.items_without_value(score, result.n_items),) if score.excluded else ()
        return _normalized(TaskSamples(result, score, len(items), items, scales, notes=notes))
    is_average = score.mean_of_items is not True or _is_mean_of_samples(items, score.value)
    if not is_average or (score.mean_of_items is None and not _is_within_range(items, score.value)):
        raise ResultsError(messages.contradiction(score, float(items.values.mean()), len(items)))
    notes = (messages.not_mean_of_items(score.metric),)
    return TaskSamples(result, score, n, differs_from_items=True, notes=notes)


def _is_mean_of_samples(items: Items, score: float) -> bool:
    """Return whether a score averages samples of which some items have more than others."""
    mean = items.sample_mean
    return mean is not None and any(abs(mean * scale - score) <= _ROUNDING * scale for scale in (1.0, _PERCENT))


def _is_within_range(items: Items, score: float) -> bool:
    """Return whether some average of the items could be the score, as it is or as a percentage."""
    tolerance = 1e-6 * max(1.0, abs(score))
    return any(items.low * scale - tolerance <= score <= items.high * scale + tolerance for scale in (1.0, _PERCENT))


def _normalized(samples: TaskSamples) -> TaskSamples:
    """Return items that are all 0 or 100 as right/wrong items of a percentage."""
    items = samples.items
    if items is None or items.high != _PERCENT or items.low not in {0.0, _PERCENT}:
        return samples
    values = rescaled(items, 1 / _PERCENT)
    # NOTE: repeats of an item may have been averaged, so that its mean is between 0 and 100.
    if not is_binary(values.values) and items.samples == len(items):
        return samples
    return replace(samples, items=values, scales=(_PERCENT,))


def with_stated_scale(samples: TaskSamples, policy: TaskPolicy) -> TaskSamples:
    """Return samples whose scale is that of the policy if their own is unclear: all items and the score are 0.

    The policy states it by `bounds` of 0 to 100, or by a limit that no proportion can have.
    """
    limits = [stated for _, stated in policy.stated_limits(Rule.SCORE, Rule.CHANGE)]
    is_percentage = max(limits, default=0.0) > 1 if policy.bounds is None else policy.bounds[1] == _PERCENT
    return replace(samples, scales=samples.scales[::-1]) if len(samples.scales) > 1 and is_percentage else samples


def agree_on_scale(candidate: TaskSamples, baseline: TaskSamples) -> tuple[TaskSamples, TaskSamples] | None:
    """Return both sides with the one scale of the metric, from the side where it is clear; None if they contradict.

    A score of 0 fits a proportion and a percentage.

    Args:
        candidate: the judged score.
        baseline: the score it is compared with.
    """
    common = [scale for scale in candidate.scales if scale in baseline.scales]
    if common:
        return replace(candidate, scales=(common[0],)), replace(baseline, scales=(common[0],))
    # NOTE: one side may have only 0 and 100 of a graded score of 0 to 100.
    graded = candidate if candidate.scale == 1 else baseline
    if graded.items is None or graded.items.high <= 1:
        return None
    return _in_score_units(candidate), _in_score_units(baseline)


def _in_score_units(samples: TaskSamples) -> TaskSamples:
    if samples.items is None or samples.scale == 1:
        return samples
    return replace(samples, items=rescaled(samples.items, samples.scale), scales=(1.0,))
