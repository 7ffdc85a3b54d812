"""A cancel, as the runner sends it: SIGINT, 7.5 seconds later SIGTERM, 2.5 seconds later the end."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event
from types import FrameType

from nel_action.errors import CancelledError

__all__ = ["CancelSignals"]


class CancelSignals:
    """Turns signals into an event where leaving takes care, and into an error where nothing was begun."""

    def __init__(self) -> None:
        self.event = Event()
        self._raising = False

    @contextmanager
    def listening(self) -> Iterator[CancelSignals]:
        """Take SIGINT, SIGTERM and SIGHUP for as long as this lasts."""
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = {number: signal.signal(number, self._handle) for number in numbers}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        """Leave at once, by a `CancelledError`: nothing has been submitted yet."""
        if self.event.is_set():
            raise CancelledError(_SAID)
        self._raising = True
        try:
            yield
        finally:
            self._raising = False

    def _handle(self, _signal: int, _frame: FrameType | None) -> None:
        again = self.event.is_set()
        self.event.set()
        if self._raising or again:
            raise CancelledError(_SAID)


_SAID = "the workflow was cancelled"
