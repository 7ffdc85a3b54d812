"""The comparison of one task with its baseline."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from nel_action.errors import ResultsError
from nel_action.gating import messages
from nel_action.gating.result_set import ResultSet
from nel_action.gating.task_samples import TaskSamples, agree_on_scale, known_range, load_samples, with_stated_scale
from nel_action.gating.validation import (
    differences,
    fingerprint_differences,
    select_score,
    validate_answers,
    validate_result,
)
from nel_action.gating.verdict import Comparison, Flip
from nel_action.model.results import Interval, Score, TaskResult
from nel_action.model.unmeasurable import Unmeasurable
from nel_action.spec.policy import Difference, Direction, TaskPolicy
from nel_action.statistics.aggregate import aggregate_mean, aggregate_stderr
from nel_action.statistics.estimates import Evidence, obstacle
from nel_action.statistics.gains import Gain, paired_gain, score_of_items, unpaired_gain
from nel_action.statistics.items import ItemRange, Items, Pairs, item_range, pair_items
from nel_action.statistics.means import SingleClusterError
from nel_action.statistics.power import items_to_settle, minimum_detectable

__all__ = ["Contradiction", "TaskComparison", "compare", "score_evidence"]

_MOST_FLIPS: Final = 1000
"""Items that a report names in each direction."""


@dataclass(frozen=True, slots=True)
class Contradiction(Unmeasurable):
    """The score of one run is not the mean of its items, and that of the other run is."""


@dataclass(frozen=True, slots=True, eq=False)
class TaskComparison:
    """One task compared with its baseline."""

    candidate: TaskSamples
    baseline: TaskSamples
    gain: Gain
    pairs: Pairs | None
    """None if only the scores could be compared."""
    higher: bool
    """Whether larger values of the metric are better."""
    notes: tuple[str, ...] = ()

    def to_report(self, alpha: float, fail_alpha: float, margin: float | None) -> Comparison:
        """Return the comparison for a report.

        Args:
            alpha: error rate of each bound of the interval.
            fail_alpha: error rate of a failure after correction for multiplicity.
            margin: the allowed loss in the unit of the metric, if one is stated.
        """
        evidence, sign = self.gain.evidence, 1 if self.higher else -1
        low, high = sorted((sign * evidence.lower_bound(alpha), sign * evidence.upper_bound(alpha)))
        n_worse, worse = self._flips(-sign)
        n_better, better = self._flips(sign)
        to_settle = None
        is_testable = obstacle(evidence) is None
        if margin is not None and self.gain.n and is_testable:
            to_settle = items_to_settle(evidence, -margin, self.gain.n, fail_alpha=fail_alpha, pass_alpha=alpha)
        return Comparison(
            baseline=self.baseline.score.value,
            difference=sign * evidence.estimate,
            interval=Interval(low=low, high=high, level=1 - 2 * alpha, method=evidence.method),
            stderr=evidence.stderr,
            n_paired=self.gain.n,
            worse=worse,
            better=better,
            n_worse=n_worse,
            n_better=n_better,
            minimum_detectable=minimum_detectable(evidence, margin or 0.0, fail_alpha) if is_testable else None,
            items_to_settle=to_settle,
        )

    def _flips(self, sign: int) -> tuple[int, tuple[Flip, ...]]:
        """Return the number of items that moved in the direction of `sign`, and those that moved most."""
        if self.pairs is None:
            return 0, ()
        pairs = self.pairs
        count, rows = pairs.changed(sign, _MOST_FLIPS)
        return count, tuple(
            Flip(id=pairs.ids[row], baseline=float(pairs.baseline[row]), candidate=float(pairs.candidate[row]))
            for row in rows.tolist()
        )


def score_evidence(samples: TaskSamples, policy: TaskPolicy) -> Evidence | Unmeasurable:
    """Estimate the true score of a task.

    Raises:
        ResultsError: an item is outside the stated bounds, or all items are in one cluster.
    """
    items = samples.items
    if items is None:
        evidence = aggregate_mean(samples.aggregate, _score_bounds((samples,), policy))
        return Unmeasurable(messages.no_standard_error(samples.score.metric)) if evidence is None else evidence
    possible = _item_range(items, policy, samples.scale, is_proportion=_is_proportion(policy, samples))
    try:
        return score_of_items(items, possible, scale=samples.scale)
    except SingleClusterError as error:
        raise ResultsError(messages.ONE_CLUSTER) from error


def compare(
    candidate: TaskSamples,
    policy: TaskPolicy,
    baseline: ResultSet,
    baseline_result: TaskResult,
    *,
    is_allowed: Callable[[str], bool] = lambda _name: False,
) -> TaskComparison | Unmeasurable:
    """Compare a task with its baseline.

    Args:
        candidate: the judged score.
        policy: limits of the task.
        baseline: the run to compare with.
        baseline_result: its result of the same task.
        is_allowed: whether a key or file of the benchmark may differ.

    Raises:
        ResultsError: items are malformed, incomplete, or outside the stated bounds, or none is in both runs.
    """
    notes, refused = [], []
    for name, text in differences(candidate.result, baseline_result):
        if name in policy.allow:
            notes.append(messages.accepted(text))
        else:
            refused.append(messages.refused(text, name))
    changed = fingerprint_differences(candidate.result, baseline_result)
    if changed is None and candidate.result.fingerprint is not None:
        notes.append(messages.NO_FINGERPRINT)
    refused += [messages.benchmark_changed(name) for name in changed or () if not is_allowed(name)]
    if refused:
        return Unmeasurable.because(refused)
    if baseline_result.model != candidate.result.model:
        notes.append(messages.model_renamed(candidate.result.model, baseline_result.model))
    score = _baseline_score(baseline_result, candidate, policy)
    if isinstance(score, Unmeasurable):
        return Unmeasurable(messages.in_baseline(score.reason))
    samples = with_stated_scale(load_samples(baseline, baseline_result, score), policy)
    if contradiction := _one_sided_contradiction(candidate, samples):
        return contradiction
    return _estimate_gain(candidate, samples, policy, (*notes, *samples.notes))


def _baseline_score(result: TaskResult, candidate: TaskSamples, policy: TaskPolicy) -> Score | Unmeasurable:
    same_metric = policy.model_copy(update={"metric": candidate.score.metric, "min_items": None})
    return (
        validate_result(result, same_metric)
        or validate_answers(result, same_metric)
        or select_score(result, same_metric)
    )


def _estimate_gain(
    candidate: TaskSamples, baseline: TaskSamples, policy: TaskPolicy, notes: tuple[str, ...]
) -> TaskComparison | Unmeasurable:
    higher = _is_higher_better(policy, candidate.score, baseline.score)
    if isinstance(higher, Unmeasurable):
        return higher
    relative_limit = policy.max_relative_drop
    if relative_limit is not None and baseline.score.value <= 0:
        return Unmeasurable(messages.undefined_relative_drop(baseline.score.value))
    if candidate.items is None or baseline.items is None:
        return _compare_scores(candidate, baseline, policy, notes, higher=higher)
    if (agreed := agree_on_scale(candidate, baseline)) is None:
        return Unmeasurable(messages.MIXED_SCALES)
    candidate, baseline = agreed
    pairs = pair_items(candidate.items, baseline.items) if candidate.items and baseline.items else None
    if pairs is None:
        raise ResultsError(messages.NO_COMMON_ITEMS)
    if problems := list(_pairing_problems(pairs, policy)):
        return Unmeasurable.because(problems)
    is_proportion = higher or any(samples.known_range is not None for samples in (candidate, baseline))
    possible = _item_range(pairs, policy, candidate.scale, is_proportion=is_proportion)
    try:
        gain = paired_gain(pairs, possible, higher=higher, scale=candidate.scale, relative_limit=relative_limit)
    except SingleClusterError as error:
        raise ResultsError(messages.ONE_CLUSTER) from error
    if possible.observed:
        notes += (messages.observed_range(possible),)
    return TaskComparison(candidate, baseline, gain, pairs, higher, notes)


def _one_sided_contradiction(candidate: TaskSamples, baseline: TaskSamples) -> Contradiction | None:
    """Return that the score is the mean of its items in one run and not in the other."""
    for samples, other, run in ((candidate, baseline, "this run"), (baseline, candidate, "the baseline")):
        if samples.differs_from_items and other.items is not None:
            return Contradiction(messages.one_sided_contradiction(samples.score, run))
    return None


def _is_higher_better(policy: TaskPolicy, candidate: Score, baseline: Score) -> bool | Unmeasurable:
    directions = {score.higher_is_better for score in (candidate, baseline)} - {None}
    if policy.direction is not None:
        higher = policy.direction is Direction.HIGHER
        if (not higher) in directions:
            return Unmeasurable(messages.contradictory_direction(candidate.metric, policy.direction))
        return higher
    if len(directions) != 1:
        return Unmeasurable(messages.unknown_direction(candidate.metric, disagreement=bool(directions)))
    return directions == {True}


def _compare_scores(
    candidate: TaskSamples,
    baseline: TaskSamples,
    policy: TaskPolicy,
    notes: tuple[str, ...],
    *,
    higher: bool,
) -> TaskComparison | Unmeasurable:
    bounds = _score_bounds((candidate, baseline), policy)
    relative_limit = policy.max_relative_drop
    gain = unpaired_gain(
        candidate.aggregate, baseline.aggregate, higher=higher, relative_limit=relative_limit, bounds=bounds
    )
    if gain is None and 1 in {candidate.n, baseline.n}:
        return Unmeasurable(messages.one_item(candidate.score.metric))
    if gain is None:
        run, side = (
            ("this run", candidate) if aggregate_stderr(candidate.aggregate) is None else ("the baseline", baseline)
        )
        return Unmeasurable(messages.no_standard_error(side.score.metric, run=run))
    return TaskComparison(candidate, baseline, gain, None, higher, (*notes, messages.UNPAIRED))


def _score_bounds(sides: Sequence[TaskSamples], policy: TaskPolicy) -> tuple[float, float] | None:
    """Return the possible scores of an item that is not available; None if they are unknown.

    Args:
        sides: the scores without items.
        policy: limits of the task.

    Raises:
        ResultsError: a score is outside the stated bounds.
    """
    if policy.bounds is not None:
        for value in (samples.score.value for samples in sides):
            if not policy.bounds[0] <= value <= policy.bounds[1]:
                raise ResultsError(messages.score_out_of_bounds(value, policy.bounds))
    known = known_range(sides, policy.bounds)
    return None if known is None else (known.low, known.high)


def _pairing_problems(pairs: Pairs, policy: TaskPolicy) -> Iterator[str]:
    """Yield why the items in both runs cannot be compared as pairs."""
    if policy.min_items is not None and len(pairs) < policy.min_items:
        yield messages.too_few_items(len(pairs), policy.min_items, paired=True)
    missing = {"this run": pairs.only_baseline, "the baseline": pairs.only_candidate}
    if Difference.ITEMS not in policy.allow:
        yield from (messages.items_missing(number, run) for run, number in missing.items() if number)
    if pairs.changed_inputs and Difference.INPUTS not in policy.allow:
        yield messages.inputs_changed(pairs.changed_inputs)


def _is_proportion(policy: TaskPolicy, samples: TaskSamples) -> bool:
    """Return whether scores between 0 and 1 are proportions: larger ones are better, or the range is known."""
    higher = samples.score.higher_is_better if policy.direction is None else policy.direction is Direction.HIGHER
    return higher is not False or samples.known_range is not None


def _item_range(samples: Items | Pairs, policy: TaskPolicy, scale: float, *, is_proportion: bool) -> ItemRange:
    """Return the possible scores of an item.

    Args:
        samples: the items.
        policy: limits of the task.
        scale: factor from the mean of the items to the score.
        is_proportion: whether scores between 0 and 1 are proportions.

    Raises:
        ResultsError: an item is outside the stated bounds.
    """
    if policy.bounds is not None:
        low, high = samples.low * scale, samples.high * scale
        if low < policy.bounds[0] or high > policy.bounds[1]:
            outside = low if low < policy.bounds[0] else high
            raise ResultsError(messages.item_out_of_bounds(outside, policy.bounds))
    return item_range(samples.low, samples.high, scale=scale, stated=policy.bounds, is_proportion=is_proportion)
