"""The platform's time: it flows, and a test may push it forward."""

from __future__ import annotations

import time

__all__ = ["Clock"]


class Clock:
    """Real time and what was added to it."""

    def __init__(self) -> None:
        self._ahead = 0.0
        self._last = 0

    def advance(self, seconds: float) -> None:
        """Let that much time pass at once: what has a time limit meets it."""
        self._ahead += seconds

    def now(self) -> float:
        """Seconds since 1970."""
        return time.time() + self._ahead

    def millis(self) -> int:
        """The unit of the platform's metadata."""
        return int(self.now() * 1000)

    def nanos(self) -> int:
        """The unit of its logs; never the same twice, so that lines have an order."""
        self._last = max(self._last + 1, int(self.now() * 1e9))
        return self._last
