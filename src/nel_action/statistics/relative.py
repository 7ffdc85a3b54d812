"""Limits as a share of the baseline, which is itself uncertain.

That a ratio is at most r is that a difference, c - (1 - r) b, is at least zero: testing that difference keeps the
baseline's noise and its correlation with the candidate's (Fieller, 1954), which a limit worked out from the measured
baseline would not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Moments", "contrast", "fieller", "moments", "share_lost"]


@dataclass(frozen=True, slots=True)
class Moments:
    """Two means and how sure each is."""

    candidate: float
    baseline: float
    candidate_variance: float
    """Of the mean, not of an item."""
    baseline_variance: float
    covariance: float = 0.0


def contrast(share: float, *, higher: bool) -> float:
    """Return the factor k for which "lost at most this share" is c - k b >= 0 (or <= 0 where lower is better)."""
    return 1 - share if higher else 1 + share


def moments(candidate: NDArray[np.float64], baseline: NDArray[np.float64]) -> Moments:
    """Return the moments of paired items."""
    import numpy as np

    table = np.cov(candidate, baseline) / len(candidate)
    return Moments(
        candidate=float(candidate.mean()),
        baseline=float(baseline.mean()),
        candidate_variance=float(table[0, 0]),
        baseline_variance=float(table[1, 1]),
        covariance=float(table[0, 1]),
    )


def fieller(data: Moments, quantile: float) -> tuple[float, float] | None:
    """Return the interval of candidate / baseline, or None where the baseline may be zero.

    Args:
        data: both means.
        quantile: of the normal or t distribution, for each side.
    """
    squared = quantile * quantile
    a = data.baseline**2 - squared * data.baseline_variance
    b = data.candidate * data.baseline - squared * data.covariance
    c = data.candidate**2 - squared * data.candidate_variance
    inside = b * b - a * c
    if a <= 0 or inside < 0:
        return None
    root = math.sqrt(inside)
    return (b - root) / a, (b + root) / a


def share_lost(data: Moments, quantile: float, *, higher: bool) -> str:
    """Say which share of the baseline was lost, with the interval where there is one."""
    sign = 1 if higher else -1
    lost = sign * (1 - data.candidate / data.baseline)
    said = f"{'lost' if lost >= 0 else 'gained'} {abs(lost):.1%} of the baseline"
    ratio = fieller(data, quantile)
    if ratio is None or not all(math.isfinite(end) for end in ratio):
        return said
    low, high = sorted(sign * (1 - end) for end in ratio)
    return f"{said} (a loss between {low:.1%} and {high:.1%})"
