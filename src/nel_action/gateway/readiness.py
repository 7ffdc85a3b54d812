"""The wait for a model server that is healthy and cannot answer yet: it is asked for one token until it does."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any, Mapping

from nel_action.gateway.http import Headers, ResponseHead
from nel_action.gateway.upstream import Receiver, Upstream, UpstreamError

__all__ = ["Readiness"]

_LOADING = frozenset((502, 503, 504))
"""Statuses of a server, or of the proxy before it, that does not answer yet."""
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 10.0


class Readiness:
    """Lets requests pass once the endpoint has answered, or once the time is over."""

    def __init__(self, upstream: Upstream, config: Mapping[str, Any], headers: Headers) -> None:
        """Prepare; nothing is asked before the first request of the harness.

        Args:
            upstream: the endpoint.
            config: `seconds` to wait at most and the `body` of the request; empty for no wait.
            headers: for authorization.
        """
        self._upstream = upstream
        self._seconds = float(config.get("seconds", 0.0))
        self._body = json.dumps(config.get("body", {})).encode()
        self._headers = [(b"content-type", b"application/json"), *headers]
        self._asking: asyncio.Task[None] | None = None
        self.done = not self._seconds
        self.probes = 0
        """Requests for one token."""

    async def wait(self) -> None:
        """Return when requests may be sent."""
        if self._asking is None:
            self._asking = asyncio.ensure_future(self._ask())
        # NOTE: shielded, since other requests wait for the same task.
        await asyncio.shield(self._asking)

    def close(self) -> None:
        """Stop asking."""
        if self._asking is not None:
            self._asking.cancel()

    async def _ask(self) -> None:
        deadline = time.monotonic() + self._seconds
        pause, reason = _FIRST_PAUSE, ""
        while True:
            self.probes += 1
            answer = _Status()
            try:
                await self._upstream.exchange(b"POST", self._upstream.path.encode(), self._headers, self._body, answer)
                reason = f"status {answer.status}"
            except UpstreamError as error:
                reason = str(error)
            if answer.status and answer.status not in _LOADING:
                break
            if time.monotonic() + pause > deadline:
                sys.stderr.write(
                    f"nel-action gateway: the model server did not answer within {self._seconds:g} s: {reason}\n"
                )
                break
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        self.done = True


class _Status(Receiver):
    """Keeps the status of a response."""

    def __init__(self) -> None:
        self.status = 0

    def head(self, head: ResponseHead) -> None:
        """See `Receiver.head`."""
        self.status = head.status

    def data(self, data: bytes) -> None:
        """See `Receiver.data`."""
