"""Means of items that are more than right or wrong: judges' scores, F1, error rates, averaged repeats.

Two things break the plain t interval here, and each has its mend. Skew: the t statistic is put through Hall's
monotone cubic (Hall, 1992; the idea is Johnson's, 1978), which takes its third moment away. Rare large values that
no item of the sample happened to show: no moment knows of them, so a bound never claims more than a sample of this
size could have seen (`Guard`), which is the rule of three for any bounded score.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from nel_action.statistics.betting import BettingMean
from nel_action.statistics.distributions import t_quantile, t_sf
from nel_action.statistics.estimates import Evidence

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Guard", "GuardedMean", "mean_evidence"]

_FEW: Final = 20
"""Below so many items nothing but a bound that is valid at any number is used."""


@dataclass(frozen=True, slots=True)
class Guard:
    """What a sample could have missed: so many chances to see something rare, and how far it could lie."""

    seen: float
    """Independent chances: items, or clusters."""
    below: float
    """How far below the mean it could lie."""
    above: float
    """How far above the mean it could lie."""

    @staticmethod
    def unseen(gap: float, room: float, seen: float) -> float:
        """Chance that nothing showed a rare value, `room` away from the mean, that would move the mean by `gap`."""
        if gap <= 0:
            return 1.0
        return (1 - gap / room) ** seen if gap < room else 0.0

    def share(self, alpha: float) -> float:
        """The largest share of all that could have stayed unseen with chance `alpha`."""
        return -math.expm1(math.log(alpha) / self.seen)


@dataclass(frozen=True, slots=True)
class GuardedMean:
    """A mean with its skew taken into account, and guards against what was not seen."""

    estimate: float
    spread: float
    """Standard error from the sample's own spread; may be zero, and then only the guards speak."""
    df: float
    skew: float
    """Third standardised moment over the square root of the number of independent values."""
    guards: tuple[Guard, ...]
    method: str = "skewness-adjusted t"

    @property
    def stderr(self) -> float:
        """Standard error; where no spread was seen, as though one item more had been at the far end."""
        return self.spread or max(max(guard.below, guard.above) / (guard.seen + 1) for guard in self.guards)

    @property
    def reach(self) -> float:
        """How far an item that was not seen can lie from the mean."""
        return max(max(guard.below, guard.above) for guard in self.guards)

    def _bent(self, limit: float) -> float:
        """Hall's transform of the t statistic."""
        t, g = (self.estimate - limit) / self.spread, self.skew
        return t + g * t * t / 3 + g * g * t**3 / 27 + g / 6

    def _unbent(self, w: float) -> float:
        """The t statistic whose transform is `w`."""
        g = self.skew
        if abs(g) < 1e-9:  # noqa: PLR2004 - then the two are the same to nine digits
            return w
        inside = 1 + g * (w - g / 6)
        return 3 / g * (math.copysign(abs(inside) ** (1 / 3), inside) - 1)

    def fail_p(self, limit: float) -> float:
        """See `Evidence.fail_p`."""
        unseen = max(guard.unseen(limit - self.estimate, guard.above, guard.seen) for guard in self.guards)
        if self.spread <= 0:
            return unseen
        return max(unseen, t_sf(-self._bent(limit), self.df))

    def pass_p(self, limit: float) -> float:
        """See `Evidence.pass_p`."""
        unseen = max(guard.unseen(self.estimate - limit, guard.below, guard.seen) for guard in self.guards)
        if self.spread <= 0:
            return unseen
        return max(unseen, t_sf(self._bent(limit), self.df))

    def high(self, alpha: float) -> float:
        """See `Evidence.high`."""
        unseen = max(guard.above * guard.share(alpha) for guard in self.guards)
        t = self._unbent(-t_quantile(1 - alpha, self.df)) if self.spread > 0 else 0.0
        return self.estimate + max(unseen, -t * self.spread)

    def low(self, alpha: float) -> float:
        """See `Evidence.low`."""
        unseen = max(guard.below * guard.share(alpha) for guard in self.guards)
        t = self._unbent(t_quantile(1 - alpha, self.df)) if self.spread > 0 else 0.0
        return self.estimate - max(unseen, t * self.spread)


def mean_evidence(values: NDArray[np.float64], bottom: float, top: float) -> Evidence:
    """Return what independent items say of their true mean.

    Args:
        values: one for each item.
        bottom: smallest value that an item can have.
        top: largest value that an item can have.
    """
    n = len(values)
    if n < _FEW:
        return BettingMean(values, bottom, top)
    mean = float(values.mean())
    centred = values - mean
    spread = math.sqrt(float(centred @ centred) / (n - 1))
    guards = (Guard(n, mean - bottom, top - mean),)
    # NOTE: differences of floats that should be equal leave a spread of rounding; it is none.
    if spread <= 1e-12 * (top - bottom):
        return GuardedMean(mean, 0.0, n - 1, 0.0, guards)
    third = float((centred * centred) @ centred) / n
    root = math.sqrt(n)
    return GuardedMean(mean, spread / root, n - 1, third / spread**3 / root, guards)
