"""Planning: the minimum detectable effect and the sample size that a decision needs."""

from __future__ import annotations

import math
from typing import Final

from nel_action.statistics.distributions import normal_quantile
from nel_action.statistics.estimates import Evidence

__all__ = ["POWER", "items_to_settle", "minimum_detectable"]

POWER: Final = 0.8
"""Power of the tests that are planned for."""
_MOST_ITEMS: Final = 1e9
"""Larger sample sizes are reported as unattainable: the true mean is at the limit."""


def minimum_detectable(evidence: Evidence, margin: float, alpha: float) -> float:
    """Return the smallest true loss that a test of the same precision rejects with 80 % power.

    margin + (upper bound - estimate) + z(0.8) SE; for a normal mean this is the textbook formula
    margin + (z(1 - alpha) + z(0.8)) SE.

    Args:
        evidence: estimate of the gain.
        margin: the allowed loss, in the unit of the metric.
        alpha: error rate of the test after correction for multiplicity.

    Returns:
        The loss, positive, in the unit of the metric.
    """
    half_width = evidence.upper_bound(alpha) - evidence.estimate
    return margin + half_width + normal_quantile(POWER) * evidence.stderr


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
    gap = abs(evidence.estimate - limit)
    alpha = fail_alpha if evidence.estimate < limit else pass_alpha
    item_sd = evidence.stderr * math.sqrt(n)
    if gap * math.sqrt(_MOST_ITEMS) <= item_sd:
        return None
    for_noise = ((normal_quantile(1 - alpha) + normal_quantile(POWER)) * item_sd / gap) ** 2
    for_rare_values = math.log(1 / alpha) * evidence.max_item_deviation / gap
    needed = math.ceil(max(for_noise, for_rare_values))
    return max(needed, n + 1) if needed < _MOST_ITEMS else None
