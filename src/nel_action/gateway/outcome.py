"""Requests on their way through the proxy, the outcome of asking for them, and the reception of responses."""

from __future__ import annotations

import asyncio
import json
import time
from email.utils import parsedate_to_datetime
from typing import Any, Callable

from nel_action.gateway.answers import Answer
from nel_action.gateway.http import Headers, ResponseHead, end_to_end, get_header
from nel_action.gateway.record import Entry
from nel_action.gateway.server import Exchange
from nel_action.gateway.spending import read_amounts
from nel_action.gateway.upstream import Receiver

__all__ = [
    "Arrival",
    "Collector",
    "Forwarder",
    "Outcome",
    "Running",
    "Stop",
    "add_model",
    "authorization",
    "forwarded_headers",
    "origin_form",
    "response_headers",
    "retry_after",
]

MAX_ANSWER = 16 * 1024 * 1024
"""Bytes; a longer answer is passed on and not stored."""
_LONGEST_RETRY_AFTER = 3600.0
_DROPPED_REQUEST_HEADERS = frozenset(
    (b"host", b"authorization", b"api-key", b"x-api-key", b"accept-encoding", b"content-type", b"connection")
)


class Arrival:
    """One request of the harness on a recorded route."""

    __slots__ = ("body", "exchange", "key", "number", "request", "target")

    def __init__(self, exchange: Exchange, key: bytes, body: dict[str, Any], target: bytes, request: bytes) -> None:
        self.exchange = exchange
        self.key = key
        self.number = 0
        self.body = body
        self.target = target
        self.request = request
        """The body as it is sent."""


class Running:
    """A request that is being asked upstream, for an arrival or for the retry of one that went away."""

    __slots__ = ("arrival", "body", "client_headers", "key", "number", "request", "target")

    def __init__(self, arrival: Arrival) -> None:
        self.arrival: Arrival | None = arrival
        self.key = arrival.key
        self.number = arrival.number
        self.target = arrival.target
        self.body = arrival.body
        self.request = arrival.request
        self.client_headers = arrival.exchange.head.headers

    def headers(self, key: str) -> Headers:
        """Return the headers to send upstream."""
        return forwarded_headers(self.client_headers, key)

    def abort(self) -> None:
        """Close the client's connection: a part of the answer has been sent, and the rest will not come."""
        if self.arrival is not None:
            self.arrival.exchange.abort()


class Outcome:
    """How one try, or all tries of a request, went."""

    __slots__ = (
        "answer",
        "body",
        "headers",
        "kind",
        "latency",
        "refused",
        "retry",
        "retry_after",
        "shown",
        "status",
        "storable",
        "streamed",
        "tries",
    )

    def __init__(self, status: int, headers: Headers, body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.answer: Answer | None = None
        """None if the endpoint gave no successful response."""
        self.kind = ""
        """For counting failures."""
        self.retry = False
        self.retry_after = 0.0
        self.refused = False
        """The endpoint has too many requests."""
        self.shown: bytes | None = None
        """The body as the harness receives it; None if that is not known yet."""
        self.latency = 0.0
        self.tries = 1
        self.storable = True
        self.streamed = False
        """The answer was too long to store and has been passed on already."""

    @classmethod
    def of_entry(cls, entry: Entry) -> Outcome:
        """Return the outcome that an entry holds."""
        meta = entry.meta
        headers: Headers = [(b"content-type", meta["type"].encode("latin-1")), (b"x-nel-gateway", b"replayed")]
        outcome = cls(meta["status"], headers, entry.answer)
        outcome.answer = Answer(
            tuple(meta["flags"]),
            meta["model"],
            read_amounts(meta["usage"]),
            finish_reasons=tuple(meta.get("finish_reasons", ())),
        )
        outcome.latency, outcome.tries = meta["latency"], meta["tries"]
        return outcome

    @classmethod
    def failure(cls, status: int, message: str, *, retry: bool = False, kind: str = "connection") -> Outcome:
        """Return an outcome without a response of the endpoint.

        Args:
            status: HTTP status for the client.
            message: one line.
            retry: whether another try may succeed.
            kind: for counting failures.
        """
        text = json.dumps({"error": {"message": "nel-action gateway: " + message, "type": "upstream_error"}})
        outcome = cls(status, [(b"content-type", b"application/json")], text.encode())
        outcome.kind, outcome.retry = kind, retry
        return outcome

    def as_failure(self) -> Outcome:
        """Return the same for a client: a malformed answer is passed on as it is, but does not count as one."""
        self.answer = None
        return self


class Stop:
    """Why no further request is sent: the pass is over before the harness has finished."""

    __slots__ = ("detail", "reason")

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        """`budget` or `client_error`."""
        self.detail = detail


class Collector(Receiver):
    """Collects a response; one that is too long is passed on as it arrives, to the client that waits at that moment."""

    def __init__(self, running: Running, on_overflow: Callable[[], None]) -> None:
        """Prepare.

        Args:
            running: the request.
            on_overflow: called once if the response is too long; from then on, no other client can receive it.
        """
        self.response: ResponseHead | None = None
        self.parts: list[bytes] = []
        self.overflowed = False
        self._running = running
        self._on_overflow = on_overflow
        self._client: Exchange | None = None
        self._size = 0

    def head(self, head: ResponseHead) -> None:
        """See `Receiver.head`."""
        self.response = head

    def data(self, data: bytes) -> None:
        """See `Receiver.data`."""
        self._size += len(data)
        self.parts.append(data)
        if self._size <= MAX_ANSWER:
            return
        if not self.overflowed:
            self.overflowed = True
            self._on_overflow()
            arrival = self._running.arrival
            if arrival is not None and self.response is not None:
                self._client = arrival.exchange
                self._client.start(self.response, response_headers(self.response), None)
        if self._client is not None:
            for part in self.parts:
                self._client.send(part)
        self.parts.clear()

    @property
    def backlog(self) -> Callable[[], asyncio.Future[None]] | None:
        """See `Receiver.backlog`."""
        return _backlog(self._client) if self._client is not None else None


class Forwarder(Receiver):
    """Passes a response on piece by piece."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self.status = 0

    def head(self, head: ResponseHead) -> None:
        """See `Receiver.head`."""
        self.status = head.status
        length = get_header(head.headers, b"content-length")
        known = int(length) if length is not None and length.isdigit() else None
        self._exchange.start(head, response_headers(head), known)

    def data(self, data: bytes) -> None:
        """See `Receiver.data`."""
        self._exchange.send(data)

    @property
    def backlog(self) -> Callable[[], asyncio.Future[None]] | None:
        """See `Receiver.backlog`."""
        return _backlog(self._exchange)


def _backlog(exchange: Exchange) -> Callable[[], asyncio.Future[None]] | None:
    """Return how to wait until a slow client has taken what was sent; None if it keeps up or is gone."""
    if exchange.closed or not exchange.congested:
        return None
    return lambda: asyncio.ensure_future(exchange.drained())


def add_model(models: set[str], model: object) -> None:
    """Add the name of a model; there are few, and a hostile endpoint must not fill the memory."""
    if isinstance(model, str) and len(models) < 16:  # noqa: PLR2004
        models.add(model[:200])


def origin_form(target: bytes) -> bytes:
    """Return path and query of a request target; clients that believe in a proxy send an absolute URL."""
    if target.startswith(b"/"):
        return target
    _, _, rest = target.partition(b"://")
    return b"/" + rest.partition(b"/")[2]


def forwarded_headers(headers: Headers, key: str) -> Headers:
    """Return the headers of a request to send upstream.

    Args:
        headers: of the client.
        key: of the endpoint; none is sent if empty.
    """
    kept = [header for header in end_to_end(headers) if header[0] not in _DROPPED_REQUEST_HEADERS]
    return [*kept, *_content_type(headers), (b"accept-encoding", b"identity"), *authorization(key)]


def _content_type(headers: Headers) -> Headers:
    value = get_header(headers, b"content-type")
    return [] if value is None else [(b"content-type", value)]


def authorization(key: str) -> Headers:
    """Return the header with the endpoint's key; none if it is empty."""
    return [(b"authorization", b"Bearer " + key.encode())] if key else []


def response_headers(head: ResponseHead) -> Headers:
    """Return the headers of a response that are passed on."""
    return [header for header in end_to_end(head.headers) if header[0] not in (b"date", b"server", b"set-cookie")]


def retry_after(value: bytes | None) -> float:
    """Return the seconds that a `Retry-After` header asks for (RFC 9110, 10.2.3); 0 without a valid one."""
    text = (value or b"").decode("latin-1").strip()
    if text.isascii() and text.isdigit():
        return min(float(text), _LONGEST_RETRY_AFTER)
    try:
        moment = parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError, IndexError):
        return 0.0
    return min(max(0.0, moment - time.time()), _LONGEST_RETRY_AFTER)
