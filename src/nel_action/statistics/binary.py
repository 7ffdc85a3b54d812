"""Right or wrong: one proportion, pairs of the same items, and two unpaired proportions.

Each pair of methods is chosen for the error that it is asked about: a failure rests on the bound that does not
fail too often at the margin, a pass on the bound that does not pass too often (`docs/statistics.md`).
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from nel_action.statistics.distributions import (
    beta_quantile,
    binomial_at_least,
    binomial_at_most,
    normal_cdf,
    normal_quantile,
    normal_sf,
)

__all__ = ["PairedProportions", "Proportion", "TwoProportions", "lowest"]


@dataclass(frozen=True, slots=True)
class Proportion:
    """So many right of so many, by the binomial distribution itself (Clopper and Pearson, 1934).

    It never errs more often than it says, at any number of items and at any rate.
    """

    right: int
    n: int
    method: ClassVar[str] = "exact binomial"
    reach: ClassVar[float] = 1.0

    @property
    def estimate(self) -> float:
        """Share of items that are right."""
        return self.right / self.n

    @property
    def stderr(self) -> float:
        """Standard error with two right and two wrong added, so that it is never zero (Agresti and Coull, 1998)."""
        share = (self.right + 2) / (self.n + 4)
        return math.sqrt(share * (1 - share) / (self.n + 4))

    def fail_p(self, limit: float) -> float:
        """See `Evidence.fail_p`."""
        if limit <= 0:
            return 1.0
        return binomial_at_most(self.right, self.n, limit) if limit <= 1 else 0.0

    def pass_p(self, limit: float) -> float:
        """See `Evidence.pass_p`."""
        if limit >= 1:
            return 1.0
        return binomial_at_least(self.right, self.n, limit) if limit >= 0 else 0.0

    def high(self, alpha: float) -> float:
        """See `Evidence.high`."""
        return 1.0 if self.right >= self.n else beta_quantile(1 - alpha, self.right + 1, self.n - self.right)

    def low(self, alpha: float) -> float:
        """See `Evidence.low`."""
        return 0.0 if self.right <= 0 else beta_quantile(alpha, self.right, self.n - self.right + 1)


class _Difference:
    """A gain in the share of right items: fails on an adjusted interval, passes on a score interval.

    Which ones is the matter of the two classes below.
    """

    __slots__ = ()
    reach: ClassVar[float] = 1.0

    @property
    @abstractmethod
    def estimate(self) -> float:
        """Gain in the share of right items."""

    @property
    @abstractmethod
    def _adjusted(self) -> tuple[float, float]:
        """The gain and its standard error with items of each kind added."""

    @abstractmethod
    def _spread_at(self, limit: float) -> float:
        """Variance of the gain under the likeliest rates whose difference is `limit`."""

    @property
    def stderr(self) -> float:
        """Standard error after adjustment; never zero."""
        return self._adjusted[1]

    def fail_p(self, limit: float) -> float:
        """See `Evidence.fail_p`."""
        gain, stderr = self._adjusted
        return normal_cdf((gain - limit) / stderr)

    def pass_p(self, limit: float) -> float:
        """See `Evidence.pass_p`."""
        if not -1 < limit < 1:
            return 0.0 if limit <= -1 else 1.0
        spread, distance = self._spread_at(limit), self.estimate - limit
        if spread <= 0:
            return 0.0 if distance > 0 else 1.0
        return normal_sf(distance / math.sqrt(spread))

    def high(self, alpha: float) -> float:
        """See `Evidence.high`."""
        gain, stderr = self._adjusted
        return min(1.0, gain + normal_quantile(1 - alpha) * stderr)

    def low(self, alpha: float) -> float:
        """See `Evidence.low`."""
        return lowest(lambda limit: self.pass_p(limit) <= alpha, -1.0, self.estimate)


@dataclass(frozen=True, slots=True)
class PairedProportions(_Difference):
    """The same items, right or wrong on both sides; the mean is the gain in the share of right ones.

    A failure rests on the adjusted interval of Bonett and Price (2012), a pass on the score interval of Tango (1998).
    """

    better: int
    """Items that are right now and were wrong."""
    worse: int
    """Items that are wrong now and were right."""
    n: int
    method: ClassVar[str] = "paired: Bonett-Price, Tango"

    @property
    def estimate(self) -> float:
        """Gain in the share of right items."""
        return (self.better - self.worse) / self.n

    @property
    def _adjusted(self) -> tuple[float, float]:
        """The gain and its standard error with one item of each kind added."""
        n = self.n + 2
        up, down = (self.better + 1) / n, (self.worse + 1) / n
        return up - down, math.sqrt((up + down - (up - down) ** 2) / n)

    def _spread_at(self, limit: float) -> float:
        """Variance of the gain if the true gain were `limit`."""
        return (2 * self._down_at(limit) + limit * (1 - limit)) / self.n

    def _down_at(self, limit: float) -> float:
        """Most likely chance of getting worse if the true gain were `limit`."""
        a = 2 * self.n
        b = -self.better - self.worse + (2 * self.n - self.better + self.worse) * limit
        c = -self.worse * limit * (1 - limit)
        return (math.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)


@dataclass(frozen=True, slots=True)
class TwoProportions(_Difference):
    """Two shares of right items that cannot be paired; the mean is the gain.

    A failure rests on the adjusted interval of Agresti and Caffo (2000), a pass on the score interval of Miettinen
    and Nurminen (1985). Where the items were in truth the same, both err less than they say, and find less.
    """

    candidate: Proportion
    baseline: Proportion
    method: ClassVar[str] = "unpaired: Agresti-Caffo, Miettinen-Nurminen"

    @property
    def estimate(self) -> float:
        """Gain in the share of right items."""
        return self.candidate.estimate - self.baseline.estimate

    @property
    def n(self) -> int:
        """Items of the smaller side."""
        return min(self.candidate.n, self.baseline.n)

    @property
    def _adjusted(self) -> tuple[float, float]:
        gain, variance = 0.0, 0.0
        for sign, side in ((1, self.candidate), (-1, self.baseline)):
            share = (side.right + 1) / (side.n + 2)
            gain += sign * share
            variance += share * (1 - share) / (side.n + 2)
        return gain, math.sqrt(variance)

    def _spread_at(self, limit: float) -> float:
        """Variance of the gain under the likeliest rates that differ by `limit` (Farrington and Manning, 1990)."""
        n1, n0 = self.candidate.n, self.baseline.n
        p1, p0, ratio = self.candidate.estimate, self.baseline.estimate, n0 / n1
        a = 1 + ratio
        b = -(1 + ratio + p1 + ratio * p0 + limit * (ratio + 2))
        c = limit * limit + limit * (2 * p1 + ratio + 1) + p1 + ratio * p0
        d = -p1 * limit * (1 + limit)
        v = (b / (3 * a)) ** 3 - b * c / (6 * a * a) + d / (2 * a)
        u = math.copysign(math.sqrt(max((b / (3 * a)) ** 2 - c / (3 * a), 0.0)), v)
        angle = (math.pi + math.acos(min(1.0, max(-1.0, v / u**3 if u else 0.0)))) / 3
        rate1 = min(1.0, max(0.0, 2 * u * math.cos(angle) - b / (3 * a)))
        rate0 = min(1.0, max(0.0, rate1 - limit))
        return (rate1 * (1 - rate1) / n1 + rate0 * (1 - rate0) / n0) * (n1 + n0) / (n1 + n0 - 1)


def lowest(passes: Callable[[float], bool], bottom: float, top: float) -> float:
    """Return the highest limit that is still passed."""
    for _ in range(60):
        middle = (bottom + top) / 2
        bottom, top = (middle, top) if passes(middle) else (bottom, middle)
    return bottom
