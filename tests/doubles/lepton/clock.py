"""The platform's clock, which a test can advance."""

from __future__ import annotations

import time

__all__ = ["Clock"]


class Clock:
    """The real time plus an offset."""

    def __init__(self) -> None:
        self._offset = 0.0
        self._last_nanos = 0

    def advance(self, seconds: float) -> None:
        """Move the clock forward."""
        self._offset += seconds

    def now(self) -> float:
        """Return seconds since 1970."""
        return time.time() + self._offset

    def millis(self) -> int:
        """Return milliseconds since 1970, the unit of the platform's metadata."""
        return int(self.now() * 1000)

    def nanos(self) -> int:
        """Return nanoseconds since 1970, the unit of log timestamps; increases with every call."""
        self._last_nanos = max(self._last_nanos + 1, int(self.now() * 1e9))
        return self._last_nanos
