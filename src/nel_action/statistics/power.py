"""Planning: the minimum detectable effect and the sample size that a decision needs."""

from __future__ import annotations

import math
from typing import Final

from nel_action.statistics.binary import PairedProportions, Proportion
from nel_action.statistics.distributions import normal_quantile
from nel_action.statistics.estimates import Evidence, Negated, Scaled

__all__ = ["POWER", "items_to_settle", "minimum_detectable"]

POWER: Final = 0.8
"""Power of the tests that are planned for."""
_MOST_ITEMS: Final = 1e9
"""Larger sample sizes are reported as unattainable: the true mean is at the limit."""


def minimum_detectable(evidence: Evidence, margin: float, alpha: float) -> float:
    """Return the smallest true loss that a test of the same precision rejects with 80 % power.

    margin + (upper bound - estimate) + z(0.8) SE; for a normal mean this is the textbook formula
    margin + (z(1 - alpha) + z(0.8)) SE. A loss of right/wrong items is itself a change of items and adds to their
    variance, so the equation is solved for the loss.

    Args:
        evidence: estimate of the gain.
        margin: the allowed loss, in the unit of the metric.
        alpha: error rate of the test after correction for multiplicity.

    Returns:
        The loss, positive, in the unit of the metric.
    """
    if isinstance(evidence, Scaled):
        return evidence.factor * minimum_detectable(evidence.inner, margin / evidence.factor, alpha)
    if isinstance(evidence, PairedProportions):
        return _detectable_loss_of_pairs(evidence, margin, alpha)
    half_width = evidence.upper_bound(alpha) - evidence.estimate
    return margin + half_width + normal_quantile(POWER) * evidence.stderr


def _detectable_loss_of_pairs(evidence: PairedProportions, margin: float, alpha: float) -> float:
    """Solve for the loss that the interval of Bonett and Price rejects with 80 % power, at most 1."""
    n, critical, power = evidence.n, normal_quantile(1 - alpha), normal_quantile(POWER)
    unrelated = max(0.0, (evidence.better + evidence.worse) / n - abs(evidence.estimate))
    low, high = min(margin, 1.0), 1.0
    for _ in range(60):
        loss = (low + high) / 2
        expected = PairedProportions(n * unrelated / 2, n * (unrelated / 2 + loss), n)
        sd = math.sqrt(max(0.0, unrelated + loss - loss * loss))
        upper = expected.unclipped_upper_bound(critical)
        low, high = (low, loss) if upper + power * sd / math.sqrt(n) <= -margin else (loss, high)
    return high


def items_to_settle(evidence: Evidence, limit: float, n: int, *, fail_alpha: float, pass_alpha: float) -> int | None:
    """Return the number of items with which the limit would be decided with 80 % power if the estimate is the truth.

    The larger one of ((z(1 - alpha) + z(0.8)) sd / gap)^2 for the sampling noise, and log(1 / alpha) times the largest
    deviation of an item / gap for rare values that a sample may miss (`means.RareValueBound`).

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
    for_rare_values = math.log(1 / alpha) * evidence.max_item_deviation / gap
    needed = math.ceil(max(for_noise, for_rare_values))
    return max(needed, n + 1) if needed < _MOST_ITEMS else None


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
