"""Cancellation of a workflow: the runner sends SIGINT, SIGTERM after 7.5 seconds, SIGKILL after 2.5 more seconds."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event
from types import FrameType

from nel_action.errors import CancelledError

__all__ = ["CancelSignals"]

_MESSAGE = "the workflow was cancelled"


class CancelSignals:
    """Turns signals into an event, or into an exception where the process may stop at once."""

    def __init__(self) -> None:
        self.event = Event()
        """Set by the first signal."""
        self._raising = False

    @contextmanager
    def installed(self) -> Iterator[CancelSignals]:
        """Handle SIGINT, SIGTERM and SIGHUP; a second signal raises `CancelledError`."""
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        previous = {number: signal.signal(number, self._handle) for number in numbers}
        try:
            yield self
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    @contextmanager
    def raising(self) -> Iterator[None]:
        """Raise `CancelledError` at the first signal, for code that has submitted nothing yet.

        Raises:
            CancelledError: a signal arrives, or has arrived before.
        """
        if self.event.is_set():
            raise CancelledError(_MESSAGE)
        self._raising = True
        try:
            yield
        finally:
            self._raising = False

    def _handle(self, _signal: int, _frame: FrameType | None) -> None:
        repeated = self.event.is_set()
        self.event.set()
        if self._raising or repeated:
            raise CancelledError(_MESSAGE)
