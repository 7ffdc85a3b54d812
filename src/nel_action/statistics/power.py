"""What a comparison can find, and how many items would settle one that it could not."""

from __future__ import annotations

import math
from typing import Final

from nel_action.statistics.distributions import normal_quantile
from nel_action.statistics.estimates import Evidence

__all__ = ["POWER", "items_to_settle", "minimum_detectable"]

POWER: Final = 0.8
"""Chance of being found that planning aims at."""
_ENOUGH: Final = 1e9
"""More items than any benchmark will ever have: the truth lies at the limit."""


def minimum_detectable(evidence: Evidence, margin: float, alpha: float) -> float:
    """Return the smallest loss that would be found with 80 % power, in the metric's unit.

    Args:
        evidence: of the gain.
        margin: the loss that is allowed.
        alpha: error of the failing bound, after correction.
    """
    half = evidence.high(alpha) - evidence.estimate
    return margin + half + normal_quantile(POWER) * evidence.stderr


def items_to_settle(evidence: Evidence, limit: float, n: int, *, fail_alpha: float, pass_alpha: float) -> int | None:
    """Return how many items would settle the claim with 80 % power if the truth is as measured.

    Args:
        evidence: of the mean.
        limit: what it is held against.
        n: items that the evidence has.
        fail_alpha: error of the failing bound, after correction.
        pass_alpha: error of the passing bound.

    Returns:
        More than `n`; None where the mean lies so near its limit that no number would.
    """
    gap = abs(evidence.estimate - limit)
    alpha = fail_alpha if evidence.estimate < limit else pass_alpha
    spread = evidence.stderr * math.sqrt(n)
    if gap * math.sqrt(_ENOUGH) <= spread:
        return None
    by_noise = ((normal_quantile(1 - alpha) + normal_quantile(POWER)) * spread / gap) ** 2
    by_what_is_unseen = math.log(1 / alpha) * evidence.reach / gap
    needed = math.ceil(max(by_noise, by_what_is_unseen))
    return max(needed, n + 1) if needed < _ENOUGH else None
