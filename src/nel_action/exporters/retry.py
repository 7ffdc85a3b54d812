"""Trying again where that may help, a known number of times."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TypeVar

from nel_action.errors import NelActionError
from nel_action.exporters.interface import Change, DestinationError, Exported

__all__ = ["one_by_one", "retried"]

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


def one_by_one(
    calls: Iterable[tuple[str, Callable[[], tuple[Change, str]]]], *, sleep: Callable[[float], None] = time.sleep
) -> tuple[Exported, ...]:
    """Make each call, again where that may help; one that fails is told and keeps no other from being made.

    Once a destination has not answered in all its tries, each further call gets a single one.
    """
    done: list[Exported] = []
    away = False
    for what, call in calls:
        try:
            change, where = call() if away else retried(call, sleep=sleep)
            done.append(Exported(what, change, where))
        except NelActionError as error:
            away = away or isinstance(error, DestinationError)
            done.append(Exported(what, Change.FAILED, None, str(error)))
    return tuple(done)
