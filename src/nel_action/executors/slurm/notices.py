"""Messages about waits: no command is silent for long without saying what it is waiting for."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

__all__ = ["NOTICE_SECONDS", "waiting_for"]

logger = logging.getLogger(__name__)

NOTICE_SECONDS: Final = 10.0
"""Seconds of a wait after which it is reported, and between further reports."""

_waits = threading.local()


@contextmanager
def waiting_for(subject: str) -> Iterator[None]:
    """Report every ten seconds that the block is still waiting; inside another such block, report nothing.

    Args:
        subject: the awaited answer or event (`an answer of squeue on login.example`).
    """
    if getattr(_waits, "active", False):
        yield
        return
    done = threading.Event()

    def report() -> None:
        seconds = NOTICE_SECONDS
        while not done.wait(NOTICE_SECONDS):
            logger.warning("waiting for %s (%g s)", subject, seconds)
            seconds += NOTICE_SECONDS

    thread = threading.Thread(target=report, daemon=True)
    _waits.active = True
    thread.start()
    try:
        yield
    finally:
        _waits.active = False
        done.set()
        thread.join()
