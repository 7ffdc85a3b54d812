"""Planning: the minimum detectable effect and the sample size that a decision needs."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from functools import partial
from typing import Final

from nel_action.statistics.binary import PairedProportions, Proportion, TwoProportions
from nel_action.statistics.distributions import binomial_at_least, normal_quantile
from nel_action.statistics.estimates import Evidence, FailOnly, MostConservative, Negated, Scaled
from nel_action.statistics.means import BettingMean, SkewAdjustedMean

__all__ = ["POWER", "items_to_settle", "minimum_detectable"]

POWER: Final = 0.8
"""Power of the tests that are planned for."""
_PRECISION: Final = 1e-4
"""Precision of a planned loss, as a fraction of the largest one."""
_FEW_CHANGES: Final = 6.0
"""Expected number of changed items up to which their exact distribution is used."""
_NEGLIGIBLE: Final = 1e-3
_MOST_ITEMS: Final = 1e9
"""Larger sample sizes are reported as unattainable: the true mean is at the limit."""


def minimum_detectable(evidence: Evidence, margin: float, alpha: float) -> float | None:
    """Return the smallest true loss that a test of the same data rejects with 80 % power.

    For a normal mean, this is the textbook formula margin + (z(1 - alpha) + z(0.8)) SE. Elsewhere the loss itself
    changes the test: it moves right/wrong items and thereby their variance, and it moves the mean away from the end of
    the range, which widens the bound for rare values. The equation is then solved for the loss.

    Args:
        evidence: estimate of the gain.
        margin: the allowed loss, in the unit of the metric.
        alpha: error rate of the test after correction for multiplicity.

    Returns:
        The loss, positive, in the unit of the metric; None if not even the largest one is detected.
    """
    match evidence:
        case Scaled():
            loss = minimum_detectable(evidence.inner, margin / evidence.factor, alpha)
            return None if loss is None else evidence.factor * loss
        case FailOnly():
            return minimum_detectable(evidence.inner, margin, alpha)
        case MostConservative():
            losses = [minimum_detectable(each, margin, alpha) for each in (evidence.first, evidence.second)]
            return None if None in losses else max(loss for loss in losses if loss is not None)
        case PairedProportions():
            return _detectable_loss_of_pairs(evidence, margin, alpha)
        case TwoProportions():
            return _detectable_loss_of_proportions(evidence, margin, alpha)
        case SkewAdjustedMean():
            return _detectable_loss_of_mean(evidence, margin, alpha)
        case BettingMean():
            return _detectable_loss_of_few(evidence, margin, alpha)
        case _:
            half_width = evidence.upper_bound(alpha) - evidence.estimate
            return margin + half_width + normal_quantile(POWER) * evidence.stderr


def _smallest_loss(is_detected: Callable[[float], bool], margin: float, largest: float = 1.0) -> float | None:
    """Return the smallest loss that is detected, by bisection; None if not even the largest one is.

    Args:
        is_detected: whether a loss is detected with 80 % power; false below the result and true above it.
        margin: the allowed loss, which is not detected.
        largest: the largest possible loss.
    """
    low, high = min(margin, largest), largest
    if not is_detected(high):
        return None
    while high - low > _PRECISION * largest:
        loss = (low + high) / 2
        low, high = (low, loss) if is_detected(loss) else (loss, high)
    return high


def _detectable_loss_of_pairs(evidence: PairedProportions, margin: float, alpha: float) -> float | None:
    """Solve for the loss that the interval of Bonett and Price rejects with 80 % power, at most 1."""
    n, critical, power = evidence.n, normal_quantile(1 - alpha), normal_quantile(POWER)
    unrelated = max(0.0, (evidence.better + evidence.worse) / n - abs(evidence.estimate))
    if n * unrelated <= _FEW_CHANGES:
        return _smallest_loss(_power_of_few_changes(n, unrelated / 2, margin, critical), margin, 1 - unrelated)

    def is_detected(loss: float) -> bool:
        expected = PairedProportions(n * unrelated / 2, n * (unrelated / 2 + loss), n)
        sd = math.sqrt(max(0.0, unrelated + loss - loss * loss))
        return expected.unclipped_upper_bound(critical) + power * sd / math.sqrt(n) <= -margin

    return _smallest_loss(is_detected, margin)


def _power_of_few_changes(n: int, p_better: float, margin: float, critical: float) -> Callable[[float], bool]:
    """Return whether a loss is detected, by the exact distribution of the changed items.

    Args:
        n: number of pairs.
        p_better: probability of "better", and of "worse" apart from the loss.
        margin: the allowed loss.
        critical: normal quantile of the test.
    """
    fewest: list[tuple[float, int, int]] = []
    for better in range(n + 1):
        probability = math.comb(n, better) * p_better**better * (1 - p_better) ** (n - better)
        if probability >= _NEGLIGIBLE:
            rejects = partial(_rejects_pairs, better, n, margin, critical)
            fewest.append((probability, better, bisect_left(range(n - better + 1), 1, key=rejects)))
        elif better > n * p_better:
            break

    def is_detected(loss: float) -> bool:
        p_worse = min(1.0, (p_better + loss) / (1 - p_better))
        detected = sum(
            probability * binomial_at_least(worse, n - better, p_worse) for probability, better, worse in fewest
        )
        return detected >= POWER

    return is_detected


def _rejects_pairs(better: int, n: int, margin: float, critical: float, worse: int) -> bool:
    """Return whether the interval of Bonett and Price rejects a sample.

    Args:
        better: items that got better.
        n: number of pairs.
        margin: the allowed loss.
        critical: normal quantile of the test.
        worse: items that got worse.
    """
    return PairedProportions(better, worse, n).unclipped_upper_bound(critical) <= -margin


def _detectable_loss_of_proportions(evidence: TwoProportions, margin: float, alpha: float) -> float | None:
    """Solve for the loss from the baseline that the interval of Agresti and Caffo rejects with 80 % power."""
    n, n_baseline, power = evidence.candidate.n, evidence.baseline.n, normal_quantile(POWER)
    critical = evidence.critical_quantile(alpha)
    reference = (evidence.candidate if evidence.is_inverted else evidence.baseline).estimate

    def is_detected(loss: float) -> bool:
        p, p_baseline = (reference, reference + loss) if evidence.is_inverted else (reference - loss, reference)
        expected = TwoProportions(Proportion(n * p, n), Proportion(n_baseline * p_baseline, n_baseline))
        variance = p * (1 - p) / n + p_baseline * (1 - p_baseline) / n_baseline
        return expected.unclipped_upper_bound(critical) + power * math.sqrt(max(0.0, variance)) <= -margin

    return _smallest_loss(is_detected, margin, 1 - reference if evidence.is_inverted else reference)


def _detectable_loss_of_mean(evidence: SkewAdjustedMean, margin: float, alpha: float) -> float:
    """Return the loss whose upper bound, also that for rare values, is at the limit with 80 % power."""
    noise = normal_quantile(POWER) * evidence.stderr
    loss = margin + evidence.half_width(alpha) + noise
    for rare in evidence.rare_values:
        missed = rare.largest_missed(alpha)
        if rare.is_fixed:
            needed = margin + missed * rare.above
        else:
            # NOTE: the end of the range stays where it is, so its distance from the mean grows with the loss.
            needed = (margin + missed * (evidence.estimate + rare.above)) / (1 - missed)
        loss = max(loss, needed + noise)
    return loss


def _detectable_loss_of_few(evidence: BettingMean, margin: float, alpha: float) -> float | None:
    """Solve for the loss that the betting bound rejects if the sample is less favourable than 80 % of all."""
    noise = normal_quantile(POWER) * evidence.stderr

    def is_detected(loss: float) -> bool:
        shifted = evidence.values - (evidence.estimate + loss - noise)
        return (
            BettingMean(shifted.clip(evidence.low, evidence.high), evidence.low, evidence.high).p_value_at_least(
                -margin
            )
            <= alpha
        )

    return _smallest_loss(is_detected, margin, max(margin, -evidence.low))


def items_to_settle(evidence: Evidence, limit: float, n: int, *, fail_alpha: float, pass_alpha: float) -> int | None:
    """Return the number of items with which the limit would be decided with 80 % power if the estimate is the truth.

    The larger one of ((z(1 - alpha) + z(0.8)) sd / gap)^2 for the sampling noise, and the number at which the effect of
    rare values that a sample may miss (`means.RareValueBound`), plus z(0.8) standard errors, is the gap.

    Args:
        evidence: estimate of the mean from `n` items.
        limit: the limit to decide.
        n: number of items.
        fail_alpha: error rate of the failing test after correction for multiplicity.
        pass_alpha: error rate of the passing test.

    Returns:
        A number larger than `n`; None if the estimate is too close to the limit for any number of items.
    """
    if isinstance(evidence, Scaled):
        inner = evidence.inner
        return items_to_settle(inner, evidence.inner_limit(limit), n, fail_alpha=fail_alpha, pass_alpha=pass_alpha)
    if isinstance(evidence, Negated):
        return items_to_settle(evidence.inner, -limit, n, fail_alpha=pass_alpha, pass_alpha=fail_alpha)
    if isinstance(evidence, PairedProportions | Proportion):
        return _binary_items_to_settle(evidence, limit, fail_alpha=fail_alpha, pass_alpha=pass_alpha)
    gap = abs(evidence.estimate - limit)
    alpha = fail_alpha if evidence.estimate < limit else pass_alpha
    item_sd = evidence.stderr * math.sqrt(n)
    if gap * math.sqrt(_MOST_ITEMS) <= item_sd:
        return None
    for_noise = ((normal_quantile(1 - alpha) + normal_quantile(POWER)) * item_sd / gap) ** 2
    for_rare_values = _items_for_rare_values(
        math.log(1 / alpha) * evidence.max_item_deviation, normal_quantile(POWER) * item_sd, gap
    )
    needed = math.ceil(max(for_noise, for_rare_values))
    return max(needed, n + 1) if needed < _MOST_ITEMS else None


def _items_for_rare_values(missed: float, noise: float, gap: float) -> float:
    """Solve missed / n + noise / sqrt(n) = gap for n.

    Args:
        missed: effect of missed values on the mean, times the number of items.
        noise: quantile of the sampling noise of the mean, times the square root of the number of items.
        gap: distance of the estimate from the limit.
    """
    if missed <= 0:
        return 0.0
    return (2 * missed / (math.sqrt(noise * noise + 4 * missed * gap) - noise)) ** 2


def _binary_items_to_settle(
    evidence: PairedProportions | Proportion, limit: float, *, fail_alpha: float, pass_alpha: float
) -> int | None:
    """Search the number of items at which the lower fifth of the samples is decided.

    Args:
        evidence: estimate, whose rates are taken as the truth.
        limit: the limit to decide.
        fail_alpha: error rate of the failing test after correction for multiplicity.
        pass_alpha: error rate of the passing test.
    """
    if evidence.estimate == limit:
        return None
    is_met = evidence.estimate > limit

    def decides(items: int) -> bool:
        sample = _unfavourable_sample(evidence, items, -1 if is_met else 1)
        return sample.p_value_at_most(limit) <= pass_alpha if is_met else sample.p_value_at_least(limit) <= fail_alpha

    low, high = evidence.n, 2 * evidence.n
    while not decides(high):
        low, high = high, 2 * high
        if high > _MOST_ITEMS:
            return None
    while high - low > max(1, low // 1000):
        middle = (low + high) // 2
        low, high = (low, middle) if decides(middle) else (middle, high)
    return high


def _unfavourable_sample(
    evidence: PairedProportions | Proportion, items: int, sign: int
) -> PairedProportions | Proportion:
    """Return a sample of another size that is z(0.8) standard errors from the estimate in the direction of `sign`."""
    if isinstance(evidence, Proportion):
        p = evidence.estimate
        shifted = p + sign * normal_quantile(POWER) * math.sqrt(p * (1 - p) / items)
        return Proportion(round(min(1.0, max(0.0, shifted)) * items), items)
    flips, difference = (evidence.better + evidence.worse) / evidence.n, evidence.estimate
    sd = math.sqrt(max(0.0, flips - difference * difference))
    shifted = difference + sign * normal_quantile(POWER) * sd / math.sqrt(items)
    better, worse = max(0.0, (flips + shifted) / 2), max(0.0, (flips - shifted) / 2)
    return PairedProportions(items * better, items * worse, items)
