"""What data say of one mean: the protocol that every method of `docs/statistics.md` fulfils, and the plain one.

All evidence is held so that more is better; whoever builds it turns the sign where less is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from nel_action.statistics.distributions import t_quantile, t_sf

__all__ = ["Evidence", "Negated", "Stricter", "TEvidence"]


class Evidence(Protocol):
    """What is known of one true mean, from one sample."""

    @property
    def estimate(self) -> float:
        """The mean as measured."""

    @property
    def stderr(self) -> float:
        """Standard error of the estimate, for planning; the bounds do not rest on it alone."""

    @property
    def reach(self) -> float:
        """How far an item that was not seen can lie from the mean, for planning; 0 where that is not known."""

    @property
    def method(self) -> str:
        """As `docs/statistics.md` names it."""

    def fail_p(self, limit: float) -> float:
        """How surprising these data were if the true mean were at or above `limit`: small says it is below."""

    def pass_p(self, limit: float) -> float:
        """How surprising these data were if the true mean were at or below `limit`: small says it is above."""

    def high(self, alpha: float) -> float:
        """The bound that a failure rests on: the true mean is above it at most a share `alpha` of the time."""

    def low(self, alpha: float) -> float:
        """The bound that a pass rests on: the true mean is below it at most a share `alpha` of the time."""


@dataclass(frozen=True, slots=True)
class TEvidence:
    """A mean and its standard error, with so many degrees of freedom that the error is known by."""

    estimate: float
    stderr: float
    df: float = math.inf
    method: str = "t"
    reach: float = 0.0

    def __post_init__(self) -> None:
        # NOTE: no spread at all means that it was not seen, not that there is none.
        if not self.stderr > 0:
            msg = "a standard error of zero is no evidence"
            raise ValueError(msg)

    def fail_p(self, limit: float) -> float:
        """See `Evidence.fail_p`."""
        return t_sf((limit - self.estimate) / self.stderr, self.df)

    def pass_p(self, limit: float) -> float:
        """See `Evidence.pass_p`."""
        return t_sf((self.estimate - limit) / self.stderr, self.df)

    def high(self, alpha: float) -> float:
        """See `Evidence.high`."""
        return self.estimate + t_quantile(1 - alpha, self.df) * self.stderr

    def low(self, alpha: float) -> float:
        """See `Evidence.low`."""
        return self.estimate - t_quantile(1 - alpha, self.df) * self.stderr


@dataclass(frozen=True, slots=True)
class Negated:
    """The same evidence about the mean with its sign turned: for metrics of which less is better, and for ceilings."""

    inner: Evidence

    @property
    def estimate(self) -> float:
        """See `Evidence.estimate`."""
        return -self.inner.estimate

    @property
    def stderr(self) -> float:
        """See `Evidence.stderr`."""
        return self.inner.stderr

    @property
    def reach(self) -> float:
        """See `Evidence.reach`."""
        return self.inner.reach

    @property
    def method(self) -> str:
        """See `Evidence.method`."""
        return self.inner.method

    def fail_p(self, limit: float) -> float:
        """See `Evidence.fail_p`."""
        return self.inner.pass_p(-limit)

    def pass_p(self, limit: float) -> float:
        """See `Evidence.pass_p`."""
        return self.inner.fail_p(-limit)

    def high(self, alpha: float) -> float:
        """See `Evidence.high`."""
        return -self.inner.low(alpha)

    def low(self, alpha: float) -> float:
        """See `Evidence.low`."""
        return -self.inner.high(alpha)


@dataclass(frozen=True, slots=True)
class Stricter:
    """Two methods for one mean, each too bold where the other is not: whichever is less sure decides."""

    first: Evidence
    """Tells the estimate."""
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
    def reach(self) -> float:
        """See `Evidence.reach`."""
        return max(self.first.reach, self.second.reach)

    @property
    def method(self) -> str:
        """See `Evidence.method`."""
        return self.first.method

    def fail_p(self, limit: float) -> float:
        """See `Evidence.fail_p`."""
        return max(self.first.fail_p(limit), self.second.fail_p(limit))

    def pass_p(self, limit: float) -> float:
        """See `Evidence.pass_p`."""
        return max(self.first.pass_p(limit), self.second.pass_p(limit))

    def high(self, alpha: float) -> float:
        """See `Evidence.high`."""
        return max(self.first.high(alpha), self.second.high(alpha))

    def low(self, alpha: float) -> float:
        """See `Evidence.low`."""
        return min(self.first.low(alpha), self.second.low(alpha))
