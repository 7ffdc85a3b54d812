"""From scores over time to places in a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["WIDTH", "Plot", "ticks"]

WIDTH: Final = 360
_HEIGHT: Final = 170
_LEFT: Final = 50
_EDGE: Final = 10
_BELOW: Final = 26
_STEPS: Final = (1, 2, 5, 10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """The drawing's inner field: `count` points side by side, from `low` at its foot to `high` at its head."""

    low: float
    high: float
    count: int
    left: int = _LEFT
    right: int = WIDTH - _EDGE
    height: int = _HEIGHT

    @classmethod
    def over(cls, values: Sequence[float], count: int) -> Plot:
        """Make room for all values; for one that never moves, a little on both sides."""
        low, high = min(values), max(values)
        room = (high - low) * 0.05 or abs(high) * 0.05 or 1.0
        return cls(low=low - room, high=high + room, count=count)

    def x(self, index: int) -> float:
        """Return the place of a point from the left."""
        return round(self.left + 4 + index * (self.right - self.left - 8) / (self.count - 1), 1)

    def y(self, value: float) -> float:
        """Return the place of a value from above."""
        share = (value - self.low) / (self.high - self.low)
        return round(self.height - _BELOW - share * (self.height - _BELOW - _EDGE), 1)

    def path(self, values: Sequence[float], *, back: bool = False) -> str:
        """Return the corners of a line through one value for each point; `back` goes from right to left."""
        corners = [f"{self.x(index)},{self.y(value)}" for index, value in enumerate(values)]
        return " ".join(corners[::-1] if back else corners)


def ticks(low: float, high: float, most: int = 4) -> list[float]:
    """Return at most `most` round values between two ends, evenly apart."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * one for one in _STEPS if power * one >= rough)
    return [round(number * step, 12) for number in range(math.ceil(low / step), math.floor(high / step) + 1)]
