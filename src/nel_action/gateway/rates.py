"""When a request may be sent to the endpoint: concurrency, requests and tokens per minute, and pauses it asks for.

The number of requests in flight adapts to the endpoint as a TCP window does (additive increase, multiplicative
decrease): a refusal with status 429 halves it, each answer raises it again by one per window.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from typing import Callable

__all__ = ["Limiter", "Permit"]


class _Bucket:
    """A token bucket; it holds the amount of one second, so that a minute has no burst at its start."""

    def __init__(self, per_minute: float, now: float) -> None:
        self._rate = per_minute / 60
        self._capacity = max(1.0, self._rate)
        self._level = self._capacity
        self._updated = now

    def delay(self, now: float, needed: float) -> float:
        """Return the seconds until the level exceeds an amount, 0 if it does now."""
        self._level = min(self._capacity, self._level + (now - self._updated) * self._rate)
        self._updated = now
        return max(0.0, (min(needed, self._capacity) - self._level) / self._rate)

    def take(self, amount: float) -> None:
        """Take an amount; the level may become negative, and the next request then waits for it."""
        self._level -= amount


class Permit:
    """The permission to send one request; returned with `Limiter.release`."""

    __slots__ = ("expected", "started")

    def __init__(self, started: float, expected: float) -> None:
        self.started = started
        self.expected = expected
        """Tokens that were taken for it in advance."""


class Limiter:
    """Admits requests in the order of their arrival."""

    def __init__(
        self,
        *,
        max_concurrency: int = 0,
        requests_per_minute: float = 0.0,
        tokens_per_minute: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Set the limits; 0 is no limit.

        Args:
            max_concurrency: requests in flight.
            requests_per_minute: requests sent, tries included.
            tokens_per_minute: of prompts and answers, as the endpoint counts them.
            clock: seconds.
        """
        self._clock = clock
        self.call_later: Callable[[float, Callable[[], None]], asyncio.TimerHandle] = _call_later
        self._ceiling = float(max_concurrency) or math.inf
        self._requests = _Bucket(requests_per_minute, clock()) if requests_per_minute else None
        self._tokens = _Bucket(tokens_per_minute, clock()) if tokens_per_minute else None
        self._mean_tokens = 0.0
        self._waiting: deque[asyncio.Future[Permit]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._paused_until = 0.0
        self._decreased = 0.0
        self.window = self._ceiling
        """Requests that may be in flight at present."""
        self.in_flight = 0
        self.answers = 0
        """Requests that the endpoint has answered; a refused request is tried for as long as others are answered."""
        self.refusals = 0

    async def acquire(self) -> Permit:
        """Wait until a request may be sent."""
        now = self._clock()
        if not self._waiting and self._delay(now) == 0.0:
            return self._start(now)
        waiter: asyncio.Future[Permit] = asyncio.get_event_loop().create_future()
        self._waiting.append(waiter)
        self._wake()
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self.release(waiter.result())
            raise

    def release(self, permit: Permit, *, tokens: int | None = None) -> None:
        """Return the permission of a request that has been answered or has failed.

        Args:
            permit: of the request.
            tokens: that the answer used; None without an answer, 0 for an answer without token counts.
        """
        self.in_flight -= 1
        if tokens is not None:
            self.answers += 1
            self.window = min(self._ceiling, self.window + 1 / self.window)
            self._mean_tokens = tokens if not self._mean_tokens else 0.9 * self._mean_tokens + 0.1 * tokens
        if self._tokens is not None:
            self._tokens.take((tokens or 0) - permit.expected)
        self._wake()

    def refuse(self, permit: Permit, retry_after: float) -> None:
        """Return the permission of a request that the endpoint refused because there are too many.

        Args:
            permit: of the request.
            retry_after: seconds for which the endpoint wants no request; 0 if it does not say.
        """
        now = self._clock()
        self.refusals += 1
        # NOTE: requests that were sent before the last decrease do not show that it was too small.
        if permit.started >= self._decreased:
            self.window = max(1.0, min(self.window, self.in_flight) / 2)
            self._decreased = now
        self._paused_until = max(self._paused_until, now + retry_after)
        self.release(permit)

    def _delay(self, now: float) -> float:
        """Return the seconds until the next request may be sent; infinite if it waits for another one."""
        if self.in_flight + 1 > self.window:
            return math.inf
        delay = max(0.0, self._paused_until - now)
        if self._requests is not None:
            delay = max(delay, self._requests.delay(now, 1.0))
        if self._tokens is not None:
            delay = max(delay, self._tokens.delay(now, self._mean_tokens))
        return delay

    def _start(self, now: float) -> Permit:
        self.in_flight += 1
        if self._requests is not None:
            self._requests.take(1.0)
        if self._tokens is not None:
            self._tokens.take(self._mean_tokens)
        return Permit(now, self._mean_tokens)

    def _wake(self) -> None:
        """Admit waiting requests, and set a timer for the next one."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting:
            if self._waiting[0].done():
                self._waiting.popleft()
                continue
            now = self._clock()
            delay = self._delay(now)
            if delay > 0:
                if delay < math.inf:
                    self._timer = self.call_later(delay, self._wake)
                return
            self._waiting.popleft().set_result(self._start(now))


def _call_later(delay: float, call: Callable[[], None]) -> asyncio.TimerHandle:
    return asyncio.get_event_loop().call_later(delay, call)
