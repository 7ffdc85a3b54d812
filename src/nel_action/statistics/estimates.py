"""The interface of all estimates of a mean, and the estimates that do not need the items.

Estimates are oriented so that larger values are better; `Negated` adapts metrics of which smaller values are better.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar, Final, Protocol

from nel_action.statistics.distributions import t_quantile, t_sf

__all__ = [
    "MIN_UNBOUNDED",
    "Evidence",
    "FailOnly",
    "MostConservative",
    "Negated",
    "Obstacle",
    "PointEstimate",
    "Scaled",
    "StudentMean",
    "Untestable",
    "WrappedEvidence",
    "obstacle",
]


MIN_UNBOUNDED: Final = 59
"""Number of items from which scores without a known range are tested: a value that 5 % of all items have is missing
from 59 items with a probability below 5 %."""


class Obstacle(Enum):
    """Why no valid test of an estimate exists."""

    UNKNOWN_COUNT = "unknown number of items"
    FEW_UNBOUNDED = "few items without a known range"


class Evidence(Protocol):
    """An estimate of one true mean with one-sided tests and confidence bounds.

    The two sides may use different methods: `p_value_at_least` and `upper_bound` decide whether a limit is violated,
    `p_value_at_most` and `lower_bound` whether it is met.
    """

    @property
    def estimate(self) -> float:
        """The mean of the sample."""

    @property
    def stderr(self) -> float:
        """Standard error of the estimate, never zero; used for planning, not by the bounds alone."""

    @property
    def max_item_deviation(self) -> float:
        """Largest distance of a possible item from the mean, used for planning; 0 if unknown."""

    @property
    def method(self) -> str:
        """Name of the method, as in `docs/statistics.md`."""

    def p_value_at_least(self, limit: float) -> float:
        """Return the p-value of the hypothesis "the true mean is at least `limit`"; a small one rejects it."""

    def p_value_at_most(self, limit: float) -> float:
        """Return the p-value of the hypothesis "the true mean is at most `limit`"; a small one rejects it."""

    def upper_bound(self, alpha: float) -> float:
        """Return the one-sided upper confidence bound at level 1 - alpha."""

    def lower_bound(self, alpha: float) -> float:
        """Return the one-sided lower confidence bound at level 1 - alpha."""


@dataclass(frozen=True, slots=True)
class StudentMean:
    """A mean with a standard error, tested by Student's t distribution."""

    estimate: float
    stderr: float
    df: float = math.inf
    """Degrees of freedom of the standard error; infinite for a normal distribution."""
    method: str = "t"
    max_item_deviation: float = 0.0

    def __post_init__(self) -> None:
        # NOTE: a sample without spread does not show that the population has none.
        if not self.stderr > 0:
            msg = f"the standard error must be positive, not {self.stderr:g}"
            raise ValueError(msg)

    def p_value_at_least(self, limit: float) -> float:
        """See `Evidence.p_value_at_least`."""
        return t_sf((limit - self.estimate) / self.stderr, self.df)

    def p_value_at_most(self, limit: float) -> float:
        """See `Evidence.p_value_at_most`."""
        return t_sf((self.estimate - limit) / self.stderr, self.df)

    def upper_bound(self, alpha: float) -> float:
        """See `Evidence.upper_bound`."""
        return self.estimate + t_quantile(1 - alpha, self.df) * self.stderr

    def lower_bound(self, alpha: float) -> float:
        """See `Evidence.lower_bound`."""
        return self.estimate - t_quantile(1 - alpha, self.df) * self.stderr


@dataclass(frozen=True, slots=True)
class PointEstimate:
    """A value without uncertainty: every bound is the value itself."""

    estimate: float
    stderr: ClassVar[float] = math.inf
    max_item_deviation: ClassVar[float] = 0.0
    method: ClassVar[str] = "point"

    def p_value_at_least(self, limit: float) -> float:
        """See `Evidence.p_value_at_least`."""
        return 1.0 if self.estimate >= limit else 0.0

    def p_value_at_most(self, limit: float) -> float:
        """See `Evidence.p_value_at_most`."""
        return 1.0 - self.p_value_at_least(limit)

    def upper_bound(self, _alpha: float) -> float:
        """See `Evidence.upper_bound`."""
        return self.estimate

    def lower_bound(self, _alpha: float) -> float:
        """See `Evidence.lower_bound`."""
        return self.estimate


@dataclass(frozen=True, slots=True)
class Untestable:
    """An estimate for which no test holds its error rates: neither hypothesis is ever rejected.

    The bounds are those of a normal mean; they are shown and decide nothing.
    """

    estimate: float
    stderr: float
    obstacle: Obstacle
    method: ClassVar[str] = "normal, not tested"
    max_item_deviation: ClassVar[float] = 0.0

    def p_value_at_least(self, _limit: float) -> float:
        """See `Evidence.p_value_at_least`."""
        return 1.0

    def p_value_at_most(self, _limit: float) -> float:
        """See `Evidence.p_value_at_most`."""
        return 1.0

    def upper_bound(self, alpha: float) -> float:
        """See `Evidence.upper_bound`."""
        return StudentMean(self.estimate, self.stderr).upper_bound(alpha)

    def lower_bound(self, alpha: float) -> float:
        """See `Evidence.lower_bound`."""
        return StudentMean(self.estimate, self.stderr).lower_bound(alpha)


@dataclass(frozen=True, slots=True)
class WrappedEvidence:
    """An estimate made of another one; what a subclass does not define is that of `inner`."""

    inner: Evidence

    @property
    def estimate(self) -> float:
        """See `Evidence.estimate`."""
        return self.inner.estimate

    @property
    def stderr(self) -> float:
        """See `Evidence.stderr`."""
        return self.inner.stderr

    @property
    def max_item_deviation(self) -> float:
        """See `Evidence.max_item_deviation`."""
        return self.inner.max_item_deviation

    @property
    def method(self) -> str:
        """See `Evidence.method`."""
        return self.inner.method

    def p_value_at_least(self, limit: float) -> float:
        """See `Evidence.p_value_at_least`."""
        return self.inner.p_value_at_least(limit)

    def p_value_at_most(self, limit: float) -> float:
        """See `Evidence.p_value_at_most`."""
        return self.inner.p_value_at_most(limit)

    def upper_bound(self, alpha: float) -> float:
        """See `Evidence.upper_bound`."""
        return self.inner.upper_bound(alpha)

    def lower_bound(self, alpha: float) -> float:
        """See `Evidence.lower_bound`."""
        return self.inner.lower_bound(alpha)


@dataclass(frozen=True, slots=True)
class FailOnly(WrappedEvidence):
    """An estimate of which only "the true mean is at least the limit" is ever rejected.

    Its lower bound is shown and decides nothing.
    """

    obstacle: Obstacle

    def p_value_at_most(self, _limit: float) -> float:
        """See `Evidence.p_value_at_most`."""
        return 1.0


@dataclass(frozen=True, slots=True)
class Negated(WrappedEvidence):
    """An estimate of the negative mean, for metrics of which smaller values are better and for maxima."""

    @property
    def estimate(self) -> float:
        """See `Evidence.estimate`."""
        return -self.inner.estimate

    def p_value_at_least(self, limit: float) -> float:
        """See `Evidence.p_value_at_least`."""
        return self.inner.p_value_at_most(-limit)

    def p_value_at_most(self, limit: float) -> float:
        """See `Evidence.p_value_at_most`."""
        return self.inner.p_value_at_least(-limit)

    def upper_bound(self, alpha: float) -> float:
        """See `Evidence.upper_bound`."""
        return -self.inner.lower_bound(alpha)

    def lower_bound(self, alpha: float) -> float:
        """See `Evidence.lower_bound`."""
        return -self.inner.upper_bound(alpha)


@dataclass(frozen=True, slots=True)
class Scaled(WrappedEvidence):
    """An estimate in another unit: a percentage of right/wrong items is a proportion times 100."""

    factor: float
    """Positive factor from the unit of `inner`."""
    offset: float = 0.0
    """Value of 0 in the unit of `inner`."""

    @property
    def estimate(self) -> float:
        """See `Evidence.estimate`."""
        return self.offset + self.factor * self.inner.estimate

    @property
    def stderr(self) -> float:
        """See `Evidence.stderr`."""
        return self.factor * self.inner.stderr

    @property
    def max_item_deviation(self) -> float:
        """See `Evidence.max_item_deviation`."""
        return self.factor * self.inner.max_item_deviation

    def inner_limit(self, limit: float) -> float:
        """Return a limit in the unit of `inner`."""
        return (limit - self.offset) / self.factor

    def p_value_at_least(self, limit: float) -> float:
        """See `Evidence.p_value_at_least`."""
        return self.inner.p_value_at_least(self.inner_limit(limit))

    def p_value_at_most(self, limit: float) -> float:
        """See `Evidence.p_value_at_most`."""
        return self.inner.p_value_at_most(self.inner_limit(limit))

    def upper_bound(self, alpha: float) -> float:
        """See `Evidence.upper_bound`."""
        return self.offset + self.factor * self.inner.upper_bound(alpha)

    def lower_bound(self, alpha: float) -> float:
        """See `Evidence.lower_bound`."""
        return self.offset + self.factor * self.inner.lower_bound(alpha)


@dataclass(frozen=True, slots=True)
class MostConservative:
    """Two estimates of the same mean; each test and bound is the more conservative one of the two.

    Used where either method alone is anti-conservative in a part of the parameter space.
    """

    first: Evidence
    """Provides the estimate and the name of the method."""
    second: Evidence

    @property
    def estimate(self) -> float:
        """See `Evidence.estimate`."""
        return self.first.estimate

    @property
    def stderr(self) -> float:
        """See `Evidence.stderr`."""
        return max(self.first.stderr, self.second.stderr)

    @property
    def max_item_deviation(self) -> float:
        """See `Evidence.max_item_deviation`."""
        return max(self.first.max_item_deviation, self.second.max_item_deviation)

    @property
    def method(self) -> str:
        """See `Evidence.method`."""
        return self.first.method

    def p_value_at_least(self, limit: float) -> float:
        """See `Evidence.p_value_at_least`."""
        return max(self.first.p_value_at_least(limit), self.second.p_value_at_least(limit))

    def p_value_at_most(self, limit: float) -> float:
        """See `Evidence.p_value_at_most`."""
        return max(self.first.p_value_at_most(limit), self.second.p_value_at_most(limit))

    def upper_bound(self, alpha: float) -> float:
        """See `Evidence.upper_bound`."""
        return max(self.first.upper_bound(alpha), self.second.upper_bound(alpha))

    def lower_bound(self, alpha: float) -> float:
        """See `Evidence.lower_bound`."""
        return min(self.first.lower_bound(alpha), self.second.lower_bound(alpha))


def obstacle(evidence: Evidence) -> Obstacle | None:
    """Return why no valid test of an estimate exists; None if there is one."""
    while isinstance(evidence, Negated | Scaled):
        evidence = evidence.inner
    reason = getattr(evidence, "obstacle", None)
    return reason if isinstance(reason, Obstacle) else None
