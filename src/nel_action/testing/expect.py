"""Assertions with messages; they also hold where Python removes `assert` statements."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

from nel_action.retry import Backoff, poll_until

__all__ = ["eventually", "expect", "expect_error"]

T = TypeVar("T")

INTERVAL: Final = Backoff(initial=0.05, factor=1.0, maximum=0.05, jitter=0.0)


def expect(condition: object, message: str) -> None:
    """Fail with `message` unless the condition is true.

    Raises:
        AssertionError: the condition is false.
    """
    if not condition:
        raise AssertionError(message)


@contextmanager
def expect_error(kind: type[Exception], message: str) -> Iterator[None]:
    """Fail with `message` unless the block raises this kind of error; other errors are not caught.

    Raises:
        AssertionError: the block raised nothing.
    """
    try:
        yield
    except kind:
        return
    raise AssertionError(message)


def eventually(query: Callable[[], T], condition: Callable[[T], object], *, timeout: float, message: str) -> T:
    """Repeat a query until its result meets a condition.

    Args:
        query: returns the current value.
        condition: whether a value is as expected.
        timeout: seconds for which the query is repeated.
        message: what is expected, for the failure.

    Returns:
        The value that met the condition.

    Raises:
        AssertionError: no value did within `timeout`; the message contains the last value.
    """
    latest: list[T] = []

    def matching() -> tuple[T] | None:
        value = query()
        latest[:] = [value]
        return (value,) if condition(value) else None

    match = poll_until(matching, deadline=time.monotonic() + timeout, backoff=INTERVAL)
    if match is None:
        msg = f"{message} within {timeout:g} s; last seen: {latest[0]}"
        raise AssertionError(msg)
    return match[0]
