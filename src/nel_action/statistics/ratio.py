"""Right or wrong on both sides: how many times the baseline's share the candidate's is.

As for differences (`binary.py`) each error has a method of its own: a failure rests on an interval with an item added
to each kind of flip, as Bonett and Price (2012) do for the difference, a pass on the score test of Nam and Blackwelder
(2002), as Tango's is for the difference.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from nel_action.statistics.binary import lowest
from nel_action.statistics.distributions import normal_cdf, normal_sf

__all__ = ["PairedRatio"]


@dataclass(frozen=True, slots=True)
class PairedRatio:
    """The same items, right or wrong; the mean is the ratio of the two shares of right ones."""

    both: int
    """Items that are right on both sides."""
    better: int
    """Items that are right above the line only."""
    worse: int
    """Items that are right below the line only."""
    n: int
    method: ClassVar[str] = "paired ratio: adjusted, Nam-Blackwelder"

    @property
    def estimate(self) -> float:
        """The ratio; with half an item on each side where there is none below the line."""
        below = self.both + self.worse
        half = 0.0 if below else 0.5
        return (self.both + self.better + half) / (below + half)

    @property
    def stderr(self) -> float:
        """Standard error by the delta method, after adjustment; never zero."""
        return self._contrast(self.estimate)[1] / ((self.both + self.worse + 1) / (self.n + 2))

    @property
    def reach(self) -> float:
        """How far one item that turns over moves the ratio."""
        return self.n / max(self.both + self.worse, 1)

    def _contrast(self, ratio: float) -> tuple[float, float]:
        """What is above the line less `ratio` times what is below, and its standard error, one flip of each added."""
        n = self.n + 2
        up, down, stay = (self.better + 1) / n, (self.worse + 1) / n, self.both / n
        mean = up - ratio * down + (1 - ratio) * stay
        square = up + ratio * ratio * down + (1 - ratio) ** 2 * stay
        return mean, math.sqrt((square - mean * mean) / n)

    def fail_p(self, limit: float) -> float:
        """See `Evidence.fail_p`."""
        mean, stderr = self._contrast(max(limit, 0.0))
        return normal_cdf(mean / stderr)

    def pass_p(self, limit: float) -> float:
        """See `Evidence.pass_p`."""
        seen = self.both + self.better + self.worse
        if limit <= 0 or not seen:
            return 0.0 if limit < 0 else 1.0
        distance = self.both + self.better - limit * (self.both + self.worse)
        spread = self.n * ((1 + limit) * self._down_at(limit) - (1 - limit) * seen / self.n)
        if spread <= 0:
            return 0.0 if distance > 0 else 1.0
        return normal_sf(distance / math.sqrt(spread))

    def _down_at(self, limit: float) -> float:
        """Most likely chance of being right below the line only, if the true ratio were `limit`."""
        seen = self.both + self.better + self.worse
        share = seen / self.n
        a = (1 + limit) * seen
        b = -share * (self.both * (1 - limit * limit) + self.better + self.worse * (2 - limit * limit))
        c = self.worse * (1 - limit) * share * share
        return (math.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)

    def high(self, alpha: float) -> float:
        """See `Evidence.high`."""
        top = max(self.estimate, 1.0)
        while self.fail_p(top) > alpha and top < self.n:
            top *= 2
        return -lowest(lambda limit: self.fail_p(-limit) <= alpha, -top, -self.estimate)

    def low(self, alpha: float) -> float:
        """See `Evidence.low`."""
        return lowest(lambda limit: self.pass_p(limit) <= alpha, 0.0, self.estimate)
