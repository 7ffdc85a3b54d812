"""A bound on a bounded mean that holds at any number of items: betting against it.

Whoever bets on fair items cannot get rich: the chance to multiply the stake by 1/p is at most p (Ville, 1939).
The bets are those of Waudby-Smith and Ramdas (2024), sized by the spread seen so far.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["BettingMean"]

_BOLDEST: Final = 0.95
"""Share of the stake that may be lost on one item."""
_TARGET: Final = 0.05
"""The error that bets are sized for; the bound holds for any other too."""
_ORDER: Final = 20_241_122
"""Seed of the order in which items are bet on; any order is valid, one that is chosen afterwards is not."""


@dataclass(frozen=True, slots=True, eq=False)
class BettingMean:
    """A mean of independent items between `bottom` and `top`."""

    values: NDArray[np.float64]
    bottom: float
    top: float
    method: ClassVar[str] = "betting"
    _shuffled: NDArray[np.float64] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        import numpy as np

        unit = (np.sort(self.values) - self.bottom) / (self.top - self.bottom)
        object.__setattr__(self, "_shuffled", np.random.default_rng(_ORDER).permutation(unit))

    @property
    def estimate(self) -> float:
        """See `Evidence.estimate`."""
        return float(self.values.mean())

    @property
    def stderr(self) -> float:
        """Standard error; where no spread was seen, as though one item more had been at the far end."""
        n = len(self.values)
        spread = float(self.values.std(ddof=1)) / math.sqrt(n) if n > 1 else 0.0
        return spread or self.reach / (n + 1)

    @property
    def reach(self) -> float:
        """How far an item that was not seen can lie from the mean."""
        return max(self.estimate - self.bottom, self.top - self.estimate)

    def fail_p(self, limit: float) -> float:
        """See `Evidence.fail_p`."""
        return self._p(1 - self._shuffled, 1 - self._unit(limit))

    def pass_p(self, limit: float) -> float:
        """See `Evidence.pass_p`."""
        return self._p(self._shuffled, self._unit(limit))

    def high(self, alpha: float) -> float:
        """See `Evidence.high`."""
        return self.top - self._bound(1 - self._shuffled, alpha) * (self.top - self.bottom)

    def low(self, alpha: float) -> float:
        """See `Evidence.low`."""
        return self.bottom + self._bound(self._shuffled, alpha) * (self.top - self.bottom)

    def _unit(self, limit: float) -> float:
        return (limit - self.bottom) / (self.top - self.bottom)

    @staticmethod
    def _p(unit: NDArray[np.float64], limit: float) -> float:
        """p-value of "the mean is at or below `limit`" for items in 0..1."""
        import numpy as np

        if limit <= 0:
            return 0.0 if limit < 0 else 1.0
        count = np.arange(1, len(unit) + 1)
        mean = (0.5 + np.cumsum(unit)) / (count + 1)
        variance = (0.25 + np.cumsum((unit - mean) ** 2)) / (count + 1)
        before = np.concatenate(([0.25], variance[:-1]))
        bets = np.minimum(np.sqrt(2 * math.log(1 / _TARGET) / (len(unit) * before)), _BOLDEST / limit)
        wealth = np.cumsum(np.log1p(bets * (unit - limit)))
        return math.exp(-max(0.0, float(wealth.max())))

    def _bound(self, unit: NDArray[np.float64], alpha: float) -> float:
        low, high = 0.0, float(unit.mean())
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (middle, high) if self._p(unit, middle) <= alpha else (low, middle)
        return low
