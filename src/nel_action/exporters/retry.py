"""Trying again where that may help, a known number of times."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from nel_action.exporters.interface import DestinationError

__all__ = ["retried"]

T = TypeVar("T")


def retried(call: Callable[[], T], *, tries: int = 4, sleep: Callable[[float], None] = time.sleep) -> T:
    """Call until it answers; wait 1, 2, 4, … seconds in between, or what the destination asks for.

    Raises:
        DestinationError: the last try failed too.
    """
    for number in range(1, tries):
        try:
            return call()
        except DestinationError as error:
            sleep(min(max(error.retry_after or 0.0, 2.0 ** (number - 1)), 120.0))
    return call()
