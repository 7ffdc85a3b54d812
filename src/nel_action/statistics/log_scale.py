"""Means of positive scores without known bounds, such as latencies, token counts and perplexities.

A sample often lacks the largest values of a skewed distribution, and neither its mean nor its variance reflects them.
The logarithms do: the upper bound of the mean is at least the one that holds for lognormal scores.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nel_action.statistics.distributions import t_quantile, t_sf
from nel_action.statistics.estimates import MIN_UNBOUNDED, Evidence, Obstacle, WrappedEvidence

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["PositiveMean", "mean_of_positive_items"]


@dataclass(frozen=True, slots=True)
class PositiveMean(WrappedEvidence):
    """A mean of positive scores: another estimate, of which the upper side is the more conservative of two.

    The second one is the modified method of Cox for lognormal scores (Olsson, 2005): log mean = m + s^2 / 2 with the
    standard error sqrt(s^2 / n + s^4 / (2 (n - 1))) and n - 1 degrees of freedom.
    """

    log_mean: float
    """m + s^2 / 2 for mean m and standard deviation s of the logarithms."""
    log_stderr: float
    n: int

    @property
    def obstacle(self) -> Obstacle | None:
        """Why the mean cannot be shown to be small: fewer items than a value in 5 % of them needs to be among them."""
        return Obstacle.FEW_UNBOUNDED if self.n < MIN_UNBOUNDED else None

    @property
    def method(self) -> str:
        """See `Evidence.method`."""
        return f"{self.inner.method}, Cox"

    def p_value_at_least(self, limit: float) -> float:
        """See `Evidence.p_value_at_least`."""
        if limit <= 0 or self.n < MIN_UNBOUNDED:
            return 1.0
        lognormal = t_sf((math.log(limit) - self.log_mean) / self.log_stderr, self.n - 1)
        return max(lognormal, self.inner.p_value_at_least(limit))

    def upper_bound(self, alpha: float) -> float:
        """See `Evidence.upper_bound`."""
        exponent = self.log_mean + t_quantile(1 - alpha, max(1, self.n - 1)) * self.log_stderr
        return max(self.inner.upper_bound(alpha), math.exp(min(exponent, 700.0)))


def mean_of_positive_items(values: NDArray[np.float64], inner: Evidence) -> Evidence:
    """Estimate the mean of positive scores without known bounds.

    Args:
        values: scores of the items, shape (n,), float64, all positive.
        inner: estimate of their mean by another method.

    Returns:
        The estimate.
    """
    import numpy as np

    n = len(values)
    logs = np.log(values)
    # NOTE: scores that are all equal do not show that the population has no spread.
    variance = (float(logs.var(ddof=1)) if n > 1 else 0.0) or 1 / (n + 1)
    stderr = math.sqrt(variance / n + variance * variance / (2 * max(1, n - 1)))
    return PositiveMean(inner, float(logs.mean()) + variance / 2, stderr, n)
