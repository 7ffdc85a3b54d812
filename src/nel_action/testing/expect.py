"""Saying what was expected, in words, whatever runs the tests and with whatever options."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

__all__ = ["eventually", "expect", "expect_error"]

Thing = TypeVar("Thing")


def expect(holds: object, message: str) -> None:
    """Fail with `message` unless it holds.

    Raises:
        AssertionError: it does not.
    """
    if not holds:
        raise AssertionError(message)


@contextmanager
def expect_error(kind: type[Exception], message: str) -> Iterator[None]:
    """Fail with `message` unless the block raises this error; another error goes through.

    Raises:
        AssertionError: it raised nothing.
    """
    try:
        yield
    except kind:
        return
    raise AssertionError(message)


def eventually(look: Callable[[], Thing], wanted: Callable[[Thing], object], *, limit: float, message: str) -> Thing:
    """Look again and again until what is seen is as wanted; return it.

    Raises:
        AssertionError: it was not within `limit` seconds; what was seen last is in the message.
    """
    deadline = time.monotonic() + limit
    while True:
        seen = look()
        if wanted(seen):
            return seen
        expect(time.monotonic() < deadline, f"{message} within {limit:g} s; last seen: {seen}")
        time.sleep(0.05)
