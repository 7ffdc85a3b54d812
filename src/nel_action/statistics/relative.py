"""Relative losses: limits that are a fraction of the baseline, which is itself an estimate.

A limit computed from the measured baseline would ignore the baseline's sampling error. Binary items are tested by the
ratio of the two proportions; other scores by the contrast c - k b, which keeps the variance of the baseline and its
covariance with the candidate (Fieller, 1954).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from nel_action.statistics.binary import largest_passing_limit
from nel_action.statistics.distributions import normal_cdf, t_sf

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "Moments",
    "PairedRatio",
    "RelativeLoss",
    "contrast_factor",
    "fieller_interval",
    "paired_moments",
    "relative_loss",
]


@dataclass(frozen=True, slots=True)
class PairedRatio:
    """The ratio of two proportions of the same items, numerator over denominator.

    Failures use an interval with one discordant pair of each kind added, by analogy with the interval of Bonett and
    Price (2012) for the difference; passes use the score test of Nam and Blackwelder (2002) with the quantiles of t.
    """

    both: int
    """Items that both sides solve."""
    better: int
    """Items that only the numerator solves."""
    worse: int
    """Items that only the denominator solves."""
    n: int
    """All pairs."""
    method: ClassVar[str] = "paired ratio: adjusted, Nam-Blackwelder"

    @property
    def estimate(self) -> float:
        """The ratio; half an item is added to both sides if the denominator solves none."""
        denominator = self.both + self.worse
        half = 0.0 if denominator else 0.5
        return (self.both + self.better + half) / (denominator + half)

    @property
    def stderr(self) -> float:
        """Standard error by the delta method after adjustment; never zero."""
        return self._contrast(self.estimate)[1] / ((self.both + self.worse + 1) / (self.n + 2))

    @property
    def max_item_deviation(self) -> float:
        """Change of the ratio by one item, times the number of items."""
        return self.n / max(self.both + self.worse, 1)

    def _contrast(self, ratio: float) -> tuple[float, float]:
        """Return the contrast p1 - ratio p0 and its standard error, with one discordant pair of each kind added."""
        n = self.n + 2
        p_better, p_worse, p_both = (self.better + 1) / n, (self.worse + 1) / n, self.both / n
        mean = p_better - ratio * p_worse + (1 - ratio) * p_both
        square = p_better + ratio * ratio * p_worse + (1 - ratio) ** 2 * p_both
        return mean, math.sqrt((square - mean * mean) / n)

    def p_value_at_least(self, limit: float) -> float:
        """See `Evidence.p_value_at_least`."""
        # NOTE: the adjustment must not reject a limit that the sample meets.
        if limit <= self.estimate:
            return 1.0
        mean, stderr = self._contrast(max(limit, 0.0))
        return normal_cdf(mean / stderr)

    def p_value_at_most(self, limit: float) -> float:
        """See `Evidence.p_value_at_most`."""
        solved = self.both + self.better + self.worse
        if limit <= 0 or not solved:
            return 0.0 if limit < 0 else 1.0
        distance = self.both + self.better - limit * (self.both + self.worse)
        variance = self.n * ((1 + limit) * self._p_worse_at(limit) - (1 - limit) * solved / self.n)
        if variance <= 0:
            return 0.0 if distance > 0 else 1.0
        # NOTE: with normal quantiles, the test passes too often if few items are solved.
        return t_sf(distance / math.sqrt(variance), max(1, solved - 1))

    def _p_worse_at(self, limit: float) -> float:
        """Return the maximum-likelihood probability of "worse" if the true ratio is `limit` (Nam and Blackwelder)."""
        solved = self.both + self.better + self.worse
        p_solved = solved / self.n
        a = (1 + limit) * solved
        b = -p_solved * (self.both * (1 - limit * limit) + self.better + self.worse * (2 - limit * limit))
        c = self.worse * (1 - limit) * p_solved * p_solved
        return (math.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)

    def upper_bound(self, alpha: float) -> float:
        """See `Evidence.upper_bound`."""
        top = max(self.estimate, 1.0)
        while self.p_value_at_least(top) > alpha and top < self.n:
            top *= 2
        return -largest_passing_limit(lambda limit: self.p_value_at_least(-limit) <= alpha, -top, -self.estimate)

    def lower_bound(self, alpha: float) -> float:
        """See `Evidence.lower_bound`."""
        return largest_passing_limit(lambda limit: self.p_value_at_most(limit) <= alpha, 0.0, self.estimate)


@dataclass(frozen=True, slots=True)
class Moments:
    """Two means with the variances and the covariance of the means (not of the items)."""

    candidate: float
    baseline: float
    candidate_variance: float
    baseline_variance: float
    covariance: float = 0.0


def contrast_factor(loss: float, *, higher: bool) -> float:
    """Return the factor k for which a relative loss of at most `loss` means c - k b >= 0 (<= 0 if lower is better).

    Args:
        loss: the allowed loss as a fraction of the baseline.
        higher: whether larger values of the metric are better.
    """
    return 1 - loss if higher else 1 + loss


def paired_moments(candidate: NDArray[np.float64], baseline: NDArray[np.float64]) -> Moments:
    """Return the moments of the means of paired items.

    Args:
        candidate: scores of the items, shape (n,), float64.
        baseline: scores of the same items in the same order, shape (n,), float64.
    """
    import numpy as np

    covariance = np.cov(candidate, baseline) / len(candidate)
    return Moments(
        candidate=float(candidate.mean()),
        baseline=float(baseline.mean()),
        candidate_variance=float(covariance[0, 0]),
        baseline_variance=float(covariance[1, 1]),
        covariance=float(covariance[0, 1]),
    )


def fieller_interval(moments: Moments, quantile: float) -> tuple[float, float] | None:
    """Return the confidence interval of candidate / baseline (Fieller, 1954).

    The ratios r for which (c - r b)^2 <= q^2 Var(c - r b), the roots of a quadratic equation.

    Args:
        moments: both means with their variances.
        quantile: q, the normal or t quantile of each side.

    Returns:
        The interval; None if the baseline is not distinguishable from zero.
    """
    squared = quantile * quantile
    a = moments.baseline**2 - squared * moments.baseline_variance
    b = moments.candidate * moments.baseline - squared * moments.covariance
    c = moments.candidate**2 - squared * moments.candidate_variance
    discriminant = b * b - a * c
    if a <= 0 or discriminant < 0:
        return None
    root = math.sqrt(discriminant)
    return (b - root) / a, (b + root) / a


@dataclass(frozen=True, slots=True)
class RelativeLoss:
    """The loss as a fraction of the baseline; negative for a gain."""

    estimate: float
    interval: tuple[float, float] | None
    """Confidence interval; None if the baseline is not distinguishable from zero."""


def relative_loss(moments: Moments, quantile: float, *, higher: bool) -> RelativeLoss:
    """Return the loss relative to the baseline, with Fieller's interval.

    Args:
        moments: both means with their variances, in the unit of the metric.
        quantile: normal or t quantile of each side of the interval.
        higher: whether larger values of the metric are better.
    """
    sign = 1 if higher else -1
    loss = sign * (1 - moments.candidate / moments.baseline)
    ratio = fieller_interval(moments, quantile)
    if ratio is None or not all(math.isfinite(end) for end in ratio):
        return RelativeLoss(loss, None)
    low, high = sorted(sign * (1 - end) for end in ratio)
    return RelativeLoss(loss, (low, high))
