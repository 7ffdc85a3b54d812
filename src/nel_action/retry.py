"""Retries and polling: exponential backoff with jitter, deadlines and `Retry-After`.

`delays` yields the pauses, `retry` repeats a call that raised, `poll_until` repeats a call that was not ready yet.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, TypeVar

__all__ = ["Backoff", "parse_retry_after", "poll_until", "retry"]

T = TypeVar("T")
_LONGEST_RETRY_AFTER: Final = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """How long to pause between tries; all durations are in seconds."""

    initial: float = 0.5
    factor: float = 2.0
    maximum: float = 30.0
    jitter: float = 0.1
    """Largest random share by which a pause is shortened, 0 to 1, so that several callers spread out."""

    def delays(self) -> Iterator[float]:
        """Yield the pause before each further try, without end."""
        pause = self.initial
        while True:
            # NOTE: shortened, never lengthened, so that `maximum` holds.
            yield pause * (1 - self.jitter * random.random())  # noqa: S311 - spreads load, hides nothing
            pause = min(pause * self.factor, self.maximum)


def retry(
    call: Callable[[], T],
    *,
    delay: Callable[[Exception], float | None],
    tries: int | None = None,
    deadline: float | None = None,
    backoff: Backoff | None = None,
    sleep: Callable[[float], object] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> T:
    """Call until it returns; re-raise what must not or can no longer be retried.

    Args:
        call: the operation; must be safe to repeat.
        delay: for an exception, the least number of seconds to wait before the next try (0: the backoff alone
            decides), or None where it is not worth repeating.
        tries: calls in all; None for no limit.
        deadline: on `clock`, in seconds; no pause extends beyond it. None for no limit.
        backoff: pauses between tries.
        sleep: pauses for that many seconds.
        clock: returns seconds, monotonic.

    Returns:
        What `call` returned.

    Raises:
        Exception: the last one that `call` raised.
    """
    for number, pause in enumerate((backoff or Backoff()).delays(), start=1):
        try:
            return call()
        except Exception as error:
            minimum = delay(error)
            wait = max(pause, minimum or 0.0)
            if minimum is None or number == tries or (deadline is not None and clock() + wait >= deadline):
                raise
        sleep(wait)
    raise AssertionError  # pragma: no cover - the pauses never end


def poll_until(
    call: Callable[[], T | None],
    *,
    deadline: float | None,
    backoff: Backoff | None = None,
    sleep: Callable[[float], object] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> T | None:
    """Call until it returns something other than None, at least once and once more at the deadline.

    Args:
        call: returns None while the result is not there yet.
        deadline: on `clock`, in seconds; None for no limit.
        backoff: pauses between calls.
        sleep: pauses for that many seconds.
        clock: returns seconds, monotonic.

    Returns:
        The result, or None where the deadline passed first.
    """
    for pause in (backoff or Backoff()).delays():
        result = call()
        left = None if deadline is None else deadline - clock()
        if result is not None or (left is not None and left <= 0):
            return result
        sleep(pause if left is None else min(pause, left))
    raise AssertionError  # pragma: no cover - the pauses never end


def parse_retry_after(value: str | None, *, now: datetime | None = None) -> float | None:
    """Return the seconds that a `Retry-After` header asks for (RFC 9110, section 10.2.3).

    Args:
        value: the header: seconds or an HTTP date.
        now: the current time; the clock's by default.

    Returns:
        Seconds, 0 to one day; None where there is no header or it is malformed.
    """
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text), _LONGEST_RETRY_AFTER)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return min(max(0.0, (moment - (now or datetime.now(UTC))).total_seconds()), _LONGEST_RETRY_AFTER)
