"""Means of bounded items that are not binary: judge scores, F1, error rates, averaged repeats.

Two properties of such items break the plain t interval. Skew: the t statistic is transformed by Hall's monotone cubic
(Hall, 1992; the idea is Johnson's, 1978), which removes the third moment. Rare large values that the sample does not
contain: no moment of the sample reflects them, so every bound also allows for values that a sample of this size may
have missed (`RareValueBound`). Fewer than 20 items use a betting bound, which is valid for every number of items.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

from nel_action.statistics.distributions import t_quantile, t_sf
from nel_action.statistics.estimates import Evidence

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "BettingMean",
    "RareValueBound",
    "SingleClusterError",
    "SkewAdjustedMean",
    "cluster_codes",
    "mean_of_clusters",
    "mean_of_items",
]

_MIN_ITEMS_FOR_T: Final = 20
_MIXED_BETS: Final = 32
"""Nodes of the mixture over bets; the quadrature is exact for up to 63 items (Gauss and Chebyshev)."""
_UNSEEN_CLUSTER_SHIFT: Final = 0.25
"""Deviation of an unseen cluster, as a fraction of the item range: half of its items change their outcome."""


@dataclass(frozen=True, slots=True, eq=False)
class BettingMean:
    """A mean of independent items between `low` and `high`, with a bound that is valid for every number of items.

    The wealth of a bettor against "the mean is at most m" is the mean over the fractions c of prod(1 - c + c x / m)
    with the arcsine distribution of c, Cover's universal portfolio (Orabona and Jun, 2024). Its expectation is at most
    1 under the hypothesis, so it reaches 1 / p with probability p at most (Markov). It does not depend on the order or
    the names of the items, and it is at most 1 where the mean of the sample is at most m.
    """

    values: NDArray[np.float64]
    """Scores of the items, shape (n,), float64."""
    low: float
    """Smallest possible score of an item."""
    high: float
    """Largest possible score of an item."""
    method: ClassVar[str] = "betting"

    @property
    def estimate(self) -> float:
        """See `Evidence.estimate`."""
        return float(self.values.mean())

    @property
    def stderr(self) -> float:
        """Standard error; of a sample without spread, that of one more item at the far end of the range."""
        n = len(self.values)
        stderr = float(self.values.std(ddof=1)) / math.sqrt(n) if n > 1 else 0.0
        return stderr or self.max_item_deviation / (n + 1)

    @property
    def max_item_deviation(self) -> float:
        """See `Evidence.max_item_deviation`."""
        return max(self.estimate - self.low, self.high - self.estimate)

    def p_value_at_least(self, limit: float) -> float:
        """See `Evidence.p_value_at_least`."""
        return self._p_value(1 - self._unit, 1 - self._to_unit(limit))

    def p_value_at_most(self, limit: float) -> float:
        """See `Evidence.p_value_at_most`."""
        return self._p_value(self._unit, self._to_unit(limit))

    def upper_bound(self, alpha: float) -> float:
        """See `Evidence.upper_bound`."""
        return self.high - self._unit_bound(1 - self._unit, alpha) * (self.high - self.low)

    def lower_bound(self, alpha: float) -> float:
        """See `Evidence.lower_bound`."""
        return self.low + self._unit_bound(self._unit, alpha) * (self.high - self.low)

    @property
    def _unit(self) -> NDArray[np.float64]:
        """Scores of the items scaled to 0..1, shape (n,), float64."""
        import numpy as np

        return np.clip((self.values - self.low) / (self.high - self.low), 0.0, 1.0)

    def _to_unit(self, limit: float) -> float:
        return (limit - self.low) / (self.high - self.low)

    @staticmethod
    def _p_value(unit: NDArray[np.float64], limit: float) -> float:
        """Return the p-value of "the mean is at most `limit`" for items in 0..1, 1 / wealth."""
        import numpy as np

        if limit <= 0:
            return 0.0 if limit < 0 else 1.0
        # NOTE: the invariant holds exactly, whatever the rounding errors of the product.
        if limit >= float(unit.mean()):
            return 1.0
        nodes = np.sin(np.pi * (np.arange(_MIXED_BETS) + 0.5) / (2 * _MIXED_BETS)) ** 2
        log_wealth = np.log1p(nodes[:, None] * (unit / limit - 1)).sum(axis=1)
        largest = float(log_wealth.max())
        return min(1.0, math.exp(-largest) / float(np.exp(log_wealth - largest).mean()))

    def _unit_bound(self, unit: NDArray[np.float64], alpha: float) -> float:
        low, high = 0.0, float(unit.mean())
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (middle, high) if self._p_value(unit, middle) <= alpha else (low, middle)
        return low


@dataclass(frozen=True, slots=True)
class RareValueBound:
    """Effect on the mean of rare values that a sample may have missed.

    A value of probability q is missing from `n` independent draws with probability (1 - q)^n. For a binary score this
    is the rule of three (Hanley and Lippman-Hand, 1983).
    """

    n: float
    """Number of independent draws: items, or clusters."""
    below: float
    """Largest distance of a value below the mean."""
    above: float
    """Largest distance of a value above the mean."""
    is_fixed: bool = False
    """The distances are no ends of a range: they do not depend on the mean."""

    def p_value(self, shift: float, distance: float) -> float:
        """Return the probability that the sample misses a value that shifts the mean.

        Args:
            shift: required shift of the mean.
            distance: distance of the value from the mean.
        """
        if shift <= 0:
            return 1.0
        return (1 - shift / distance) ** self.n if shift < distance else 0.0

    def largest_missed(self, alpha: float) -> float:
        """Return the largest probability of a value that the sample misses with probability `alpha`."""
        return -math.expm1(math.log(alpha) / self.n)


@dataclass(frozen=True, slots=True)
class SkewAdjustedMean:
    """A mean tested by a skewness-adjusted t statistic (Hall, 1992), with an allowance for rare values."""

    estimate: float
    sample_stderr: float
    """Standard error of the sample; if it is zero, only the rare-value bounds are used."""
    df: float
    skew: float
    """Third standardised moment, divided by the square root of the number of independent values."""
    rare_values: tuple[RareValueBound, ...]
    """At least one."""
    method: str = "skewness-adjusted t"

    @property
    def stderr(self) -> float:
        """Standard error; of a sample without spread, that of one more item at the far end of the range."""
        return self.sample_stderr or max(max(rare.below, rare.above) / (rare.n + 1) for rare in self.rare_values)

    @property
    def max_item_deviation(self) -> float:
        """See `Evidence.max_item_deviation`."""
        return max(max(rare.below, rare.above) for rare in self.rare_values)

    def _adjusted_t(self, limit: float) -> float:
        """Return t + g t^2 / 3 + g^2 t^3 / 27 + g / 6, the cubic transform of Hall (1992)."""
        t, g = (self.estimate - limit) / self.sample_stderr, self.skew
        return t + g * t * t / 3 + g * g * t**3 / 27 + g / 6

    def _inverse_adjusted_t(self, w: float) -> float:
        """Return the t statistic whose transform is `w`."""
        g = self.skew
        if abs(g) < 1e-9:  # noqa: PLR2004 - t and its transform agree to nine digits
            return w
        cube = 1 + g * (w - g / 6)
        return 3 / g * (math.copysign(abs(cube) ** (1 / 3), cube) - 1)

    def p_value_at_least(self, limit: float) -> float:
        """See `Evidence.p_value_at_least`."""
        missed = max(rare.p_value(limit - self.estimate, rare.above) for rare in self.rare_values)
        if self.sample_stderr <= 0:
            return missed
        return max(missed, t_sf(-self._adjusted_t(limit), self.df))

    def p_value_at_most(self, limit: float) -> float:
        """See `Evidence.p_value_at_most`."""
        missed = max(rare.p_value(self.estimate - limit, rare.below) for rare in self.rare_values)
        if self.sample_stderr <= 0:
            return missed
        return max(missed, t_sf(self._adjusted_t(limit), self.df))

    def upper_bound(self, alpha: float) -> float:
        """See `Evidence.upper_bound`."""
        missed = max(rare.above * rare.largest_missed(alpha) for rare in self.rare_values)
        return self.estimate + max(missed, self.half_width(alpha))

    def half_width(self, alpha: float) -> float:
        """Return the distance of the upper bound from the estimate without the allowance for rare values."""
        t = self._inverse_adjusted_t(-t_quantile(1 - alpha, self.df)) if self.sample_stderr > 0 else 0.0
        return -t * self.sample_stderr

    def lower_bound(self, alpha: float) -> float:
        """See `Evidence.lower_bound`."""
        missed = max(rare.below * rare.largest_missed(alpha) for rare in self.rare_values)
        t = self._inverse_adjusted_t(t_quantile(1 - alpha, self.df)) if self.sample_stderr > 0 else 0.0
        return self.estimate - max(missed, t * self.sample_stderr)


class SingleClusterError(ValueError):
    """All items are in one cluster, which shows no variance between clusters."""


def mean_of_items(values: NDArray[np.float64], low: float, high: float) -> Evidence:
    """Estimate the true mean of independent items.

    Args:
        values: scores of the items, shape (n,), float64, n >= 1.
        low: smallest possible score of an item.
        high: largest possible score of an item.
    """
    n = len(values)
    if n < _MIN_ITEMS_FOR_T:
        return BettingMean(values, low, high)
    mean = float(values.mean())
    centred = values - mean
    sd = math.sqrt(float(centred @ centred) / (n - 1))
    rare_values = (RareValueBound(n, mean - low, high - mean),)
    # NOTE: equal items can differ by rounding errors; such a spread is none.
    if sd <= 1e-12 * (high - low):
        return SkewAdjustedMean(mean, 0.0, n - 1, 0.0, rare_values)
    third_moment = float((centred * centred) @ centred) / n
    root = math.sqrt(n)
    return SkewAdjustedMean(mean, sd / root, n - 1, third_moment / sd**3 / root, rare_values)


def cluster_codes(clusters: Sequence[str | None]) -> NDArray[np.int64] | None:
    """Number the clusters of items from 0; an item without a cluster is a cluster of its own.

    Args:
        clusters: the name of each item's cluster, or None.

    Returns:
        The code of each item's cluster, shape (n,), int64; None if no two items share a cluster.
    """
    import numpy as np

    numbers: dict[object, int] = {}
    codes = [
        numbers.setdefault(index if cluster is None else cluster, len(numbers))
        for index, cluster in enumerate(clusters)
    ]
    return np.asarray(codes, dtype=np.int64) if len(numbers) < len(codes) else None


def mean_of_clusters(
    values: NDArray[np.float64], cluster: NDArray[np.int64], low: float, high: float
) -> SkewAdjustedMean:
    """Estimate the true mean of clustered items.

    Jackknife variance over clusters (Bell and McCaffrey, 2002; MacKinnon, Nielsen and Webb, 2023) and a t distribution
    with Satterthwaite's degrees of freedom, the smaller ones of independent items and of items that are equal within
    their cluster (Bell and McCaffrey, 2002; Carter, Schnepel and Steigerwald, 2017). With clusters of equal size, that
    is the factor C / (C - 1) and C - 1 degrees of freedom (Cameron and Miller, 2015).

    Args:
        values: scores of the items, shape (n,), float64.
        cluster: code of each item's cluster, shape (n,), int64, from 0 to C - 1.
        low: smallest possible score of an item.
        high: largest possible score of an item.

    Raises:
        SingleClusterError: all items are in one cluster.
    """
    import numpy as np

    n, count = len(values), int(cluster.max()) + 1
    if count < 2:  # noqa: PLR2004 - the variance between clusters needs two
        msg = "all items are in one cluster; a variance between clusters needs at least two"
        raise SingleClusterError(msg)
    mean = float(values.mean())
    centred = values - mean
    weights = np.bincount(cluster) / n
    sums = np.bincount(cluster, centred) / (1 - weights)
    squares = float(sums @ sums) / count
    variance = squares * (count - 1) / n**2
    df = _cluster_degrees_of_freedom(weights)
    independent_variance = float(centred @ centred) / (n - 1) / n
    # NOTE: the effective number of independent items; without any spread, the effective number of clusters.
    clusters = df + 1
    effective = min(float(n), max(clusters, n * independent_variance / variance)) if variance > 0 else clusters
    shift = _UNSEEN_CLUSTER_SHIFT * (high - low)
    return SkewAdjustedMean(
        estimate=mean,
        sample_stderr=math.sqrt(variance),
        df=df,
        skew=float((sums * sums) @ sums) / count / squares**1.5 / math.sqrt(count) if squares > 0 else 0.0,
        rare_values=(
            RareValueBound(effective, mean - low, high - mean),
            RareValueBound(clusters, shift, shift, is_fixed=True),
        ),
        method=f"t over {count:,} clusters",
    )


def _cluster_degrees_of_freedom(weights: NDArray[np.float64]) -> float:
    """Return the degrees of freedom of the jackknife variance: 2 E[V]^2 / Var(V) under the less favourable model.

    V is a quadratic form of the cluster sums; its moments follow from their covariance under either model, for
    independent items w (1{g = h} - w') and for items that are equal within their cluster.

    Args:
        weights: fraction of the items in each cluster, shape (C,), float64.
    """
    factor = 1 / (1 - weights) ** 2
    independent = factor * weights
    trace = float((independent * (1 - weights)).sum())
    square = independent * weights
    total = float(square.sum())
    squared = float((independent**2 * (1 - weights) ** 2).sum()) + total**2 - float((square**2).sum())
    concentration = float((weights**2).sum())
    own = factor * weights**2 * (1 - 2 * weights + concentration)
    moments = [float((factor * weights ** (2 + power)).sum()) for power in range(3)]
    pairs = (
        concentration**2 * moments[0] ** 2
        + 2 * moments[2] * moments[0]
        + 2 * moments[1] ** 2
        - 4 * concentration * moments[1] * moments[0]
        - float(((factor * weights**2 * (concentration - 2 * weights)) ** 2).sum())
    )
    equal = float(own.sum()) ** 2 / (float((own**2).sum()) + pairs)
    return max(1.0, min(len(weights) - 1.0, trace**2 / squared, equal))
