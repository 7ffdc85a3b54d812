"""Binary items: one proportion, paired proportions, and two independent proportions.

Each side has the method that holds its error rate at the margin: a failure is tested by an adjusted Wald interval,
which does not reject too often, a pass by a score interval (simulations: `docs/statistics.md`).
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Final

from nel_action.statistics.distributions import (
    beta_quantile,
    binomial_at_least,
    binomial_at_most,
    t_quantile,
    t_sf,
)

__all__ = ["PairedProportions", "Proportion", "TwoProportions", "agresti_coull_stderr", "largest_passing_limit"]


_UNEQUAL: Final = 2
"""Ratio of two sample sizes beyond which the score interval passes too often."""
_SMALL: Final = 20
"""With fewer items, the normal distribution of a difference of two proportions errs too often."""


def agresti_coull_stderr(successes: float, n: int) -> float:
    """Return the standard error of a proportion, never zero (Agresti and Coull, 1998).

    sqrt(p (1 - p) / (n + 4)) with p = (successes + 2) / (n + 4).
    """
    proportion = (successes + 2) / (n + 4)
    return math.sqrt(proportion * (1 - proportion) / (n + 4))


@dataclass(frozen=True, slots=True)
class Proportion:
    """A proportion with exact binomial tests and bounds (Clopper and Pearson, 1934).

    The error rates are at most the nominal ones for every number of items and every true proportion.
    """

    successes: float
    """An expected number in planning."""
    n: int
    method: ClassVar[str] = "exact binomial"
    max_item_deviation: ClassVar[float] = 1.0

    @property
    def estimate(self) -> float:
        """Proportion of successes in the sample."""
        return self.successes / self.n

    @property
    def stderr(self) -> float:
        """See `agresti_coull_stderr`."""
        return agresti_coull_stderr(self.successes, self.n)

    def p_value_at_least(self, limit: float) -> float:
        """See `Evidence.p_value_at_least`."""
        if limit <= 0:
            return 1.0
        return binomial_at_most(int(self.successes), self.n, limit) if limit <= 1 else 0.0

    def p_value_at_most(self, limit: float) -> float:
        """See `Evidence.p_value_at_most`."""
        if limit >= 1:
            return 1.0
        return binomial_at_least(int(self.successes), self.n, limit) if limit >= 0 else 0.0

    def upper_bound(self, alpha: float) -> float:
        """See `Evidence.upper_bound`."""
        if self.successes >= self.n:
            return 1.0
        return beta_quantile(1 - alpha, self.successes + 1, self.n - self.successes)

    def lower_bound(self, alpha: float) -> float:
        """See `Evidence.lower_bound`."""
        return 0.0 if self.successes <= 0 else beta_quantile(alpha, self.successes, self.n - self.successes + 1)


class _ProportionDifference:
    """A difference of proportions: an adjusted Wald interval for failures, a score interval for passes.

    Subclasses provide the adjusted moments and the restricted variance of their design.
    """

    __slots__ = ()
    max_item_deviation: ClassVar[float] = 1.0

    @property
    @abstractmethod
    def estimate(self) -> float:
        """Difference of the proportions in the sample."""

    @property
    def _df(self) -> float:
        """Degrees of freedom of the adjusted interval."""
        return math.inf

    @property
    def _score_df(self) -> float:
        """Degrees of freedom of the score interval."""
        return math.inf

    @property
    @abstractmethod
    def _adjusted(self) -> tuple[float, float]:
        """Difference and standard error with pseudo-observations added."""

    @abstractmethod
    def _variance_at(self, limit: float) -> float:
        """Return the variance of the difference under the restricted maximum-likelihood estimate at `limit`."""

    @property
    def stderr(self) -> float:
        """Standard error of the adjusted difference; never zero."""
        return self._adjusted[1]

    def p_value_at_least(self, limit: float) -> float:
        """See `Evidence.p_value_at_least`."""
        # NOTE: the adjustment moves the difference towards 0, which must not reject a limit that the sample meets.
        if limit <= self.estimate:
            return 1.0
        difference, stderr = self._adjusted
        return t_sf((limit - difference) / stderr, self._df)

    def p_value_at_most(self, limit: float) -> float:
        """See `Evidence.p_value_at_most`."""
        return t_sf(self._score_statistic(limit), self._score_df)

    def _score_statistic(self, limit: float) -> float:
        """Return the distance from a limit in standard errors under the restricted estimate."""
        if not -1 < limit < 1:
            return math.inf if limit <= -1 else -math.inf
        variance, distance = self._variance_at(limit), self.estimate - limit
        if variance <= 0:
            return math.inf if distance > 0 else -math.inf
        return distance / math.sqrt(variance)

    def upper_bound(self, alpha: float) -> float:
        """See `Evidence.upper_bound`."""
        return max(self.estimate, min(1.0, self.unclipped_upper_bound(self.critical_quantile(alpha))))

    def critical_quantile(self, alpha: float) -> float:
        """Return the quantile of the adjusted interval."""
        return t_quantile(1 - alpha, self._df)

    def unclipped_upper_bound(self, quantile: float) -> float:
        """Return the upper end of the adjusted interval for a normal or t quantile."""
        difference, stderr = self._adjusted
        return difference + quantile * stderr

    def lower_bound(self, alpha: float) -> float:
        """See `Evidence.lower_bound`."""
        # NOTE: comparing the statistic saves a t distribution for each step.
        critical = t_quantile(1 - alpha, self._score_df)
        return largest_passing_limit(lambda limit: self._score_statistic(limit) >= critical, -1.0, self.estimate)


@dataclass(frozen=True, slots=True)
class PairedProportions(_ProportionDifference):
    """The difference of two proportions of the same items, from the discordant pairs.

    Failures use the adjusted Wald interval of Bonett and Price (2012), passes the score interval of Tango (1998) with
    n - 1 degrees of freedom, without which it passes too often below 40 items.
    """

    better: float
    """Items that only the candidate solves; an expected number in planning."""
    worse: float
    """Items that only the baseline solves; an expected number in planning."""
    n: int
    """All pairs."""
    method: ClassVar[str] = "paired: Bonett-Price, Tango"

    @property
    def estimate(self) -> float:
        """Candidate minus baseline."""
        return (self.better - self.worse) / self.n

    @property
    def _adjusted(self) -> tuple[float, float]:
        """Difference and standard error with one discordant pair of each kind added (Bonett and Price, 2012)."""
        n = self.n + 2
        p_better, p_worse = (self.better + 1) / n, (self.worse + 1) / n
        return p_better - p_worse, math.sqrt((p_better + p_worse - (p_better - p_worse) ** 2) / n)

    def _variance_at(self, limit: float) -> float:
        """Return (2 q + limit (1 - limit)) / n, the variance under the restricted estimate q (Tango, 1998)."""
        return (2 * self._p_worse_at(limit) + limit * (1 - limit)) / self.n

    @property
    def _score_df(self) -> float:
        return max(1.0, self.n - 1)

    def _p_worse_at(self, limit: float) -> float:
        """Return the maximum-likelihood probability of "worse" if the true difference is `limit` (Tango, 1998)."""
        a = 2 * self.n
        b = -self.better - self.worse + (2 * self.n - self.better + self.worse) * limit
        c = -self.worse * limit * (1 - limit)
        return (math.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)


@dataclass(frozen=True, slots=True)
class TwoProportions(_ProportionDifference):
    """The difference of two proportions without pairs.

    Failures use the adjusted Wald interval of Agresti and Caffo (2000), passes the score interval of Miettinen and
    Nurminen (1985). If one sample is more than twice the other, or has fewer than 20 items, passes need both intervals;
    with fewer than 20 items, the quantiles are those of t. If the items are in fact the same, both are conservative.
    """

    candidate: Proportion
    baseline: Proportion
    is_inverted: bool = False
    """Smaller values are better: the two are exchanged, so that larger differences are better."""
    method: ClassVar[str] = "unpaired: Agresti-Caffo, Miettinen-Nurminen"

    @property
    def estimate(self) -> float:
        """Candidate minus baseline."""
        return self.candidate.estimate - self.baseline.estimate

    def p_value_at_most(self, limit: float) -> float:
        """See `Evidence.p_value_at_most`."""
        score_test = _ProportionDifference.p_value_at_most(self, limit)
        if not -1 < limit < 1 or self._is_balanced:
            return score_test
        difference, stderr = self._adjusted
        return max(score_test, t_sf((difference - limit) / stderr, self._df))

    def lower_bound(self, alpha: float) -> float:
        """See `Evidence.lower_bound`."""
        by_score = _ProportionDifference.lower_bound(self, alpha)
        if self._is_balanced:
            return by_score
        difference, stderr = self._adjusted
        return max(-1.0, min(by_score, difference - self.critical_quantile(alpha) * stderr))

    @property
    def _is_balanced(self) -> bool:
        """Whether the score interval alone holds its error rate."""
        return self.n >= _SMALL and max(self.candidate.n, self.baseline.n) <= _UNEQUAL * self.n

    @property
    def _df(self) -> float:
        return math.inf if self.n >= _SMALL else max(1.0, self.n - 1)

    @property
    def n(self) -> int:
        """Items of the smaller sample."""
        return min(self.candidate.n, self.baseline.n)

    @property
    def _adjusted(self) -> tuple[float, float]:
        """Difference and standard error with a success and a failure added to each sample (Agresti and Caffo, 2000)."""
        difference, variance = 0.0, 0.0
        for sign, sample in ((1, self.candidate), (-1, self.baseline)):
            p = (sample.successes + 1) / (sample.n + 2)
            difference += sign * p
            variance += p * (1 - p) / (sample.n + 2)
        return difference, math.sqrt(variance)

    def _variance_at(self, limit: float) -> float:
        """Return the variance under the restricted estimates, in the closed form of Farrington and Manning (1990).

        The factor (n1 + n0) / (n1 + n0 - 1) is that of Miettinen and Nurminen (1985).
        """
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


def largest_passing_limit(passes: Callable[[float], bool], low: float, high: float) -> float:
    """Return the largest limit between `low` and `high` that a test passes, by bisection.

    Args:
        passes: whether the test passes a limit; must be true below the result and false above it.
        low: a limit that passes.
        high: a limit that does not pass.
    """
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if passes(middle) else (low, middle)
    return low
