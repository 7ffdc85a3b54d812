"""The proxy itself: number each request at its arrival, replay it, join a running one, or ask the endpoint.

A pass begins with each start of the proxy, which is one start of the harness. Within a pass the n-th arrival of equal
requests gets number n, the smallest that is free, and with it the n-th recorded answer; so repeats at temperature > 0
stay distinct, and a pass that was interrupted continues with the answers it has. A number is used up when the last byte
of its answer has been sent. It becomes free again if the request fails or its client goes away earlier; the request
upstream then goes on, and the client's retry joins it or finds its answer in the record.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import os
import random
import time
from email.utils import parsedate_to_datetime
from typing import Any, Callable

from nel_action.gateway.answers import Answer, parse_answer
from nel_action.gateway.config import Config
from nel_action.gateway.counters import Counters, add
from nel_action.gateway.http import Headers, ResponseHead, end_to_end, get_header
from nel_action.gateway.record import MAX_REQUEST, SHORT_KEY, Entry, Index, Writer
from nel_action.gateway.requests import base_of, canonical_body, parse_body, request_key, route_of
from nel_action.gateway.server import Exchange
from nel_action.gateway.upstream import Receiver, Upstream, UpstreamError

__all__ = ["Proxy"]

MAX_ANSWER = 16 * 1024 * 1024
"""Bytes; a longer answer is passed on and not stored."""
_RETRIED = frozenset((408, 409, 425, 429, 500, 501, 502, 503, 504, 507, 508, 509, 520, 521, 522, 523, 524, 529))
_OK = 200
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 60.0
_LONGEST_RETRY_AFTER = 3600.0
_DROPPED_REQUEST_HEADERS = frozenset(
    (b"host", b"authorization", b"api-key", b"x-api-key", b"accept-encoding", b"content-type", b"connection")
)


class Proxy:
    """Handles the exchanges of one pass."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.counters = Counters()
        self.upstream = Upstream(config.upstream, ca_file=config.ca_file or None, timeout=config.request_timeout)
        self._base = base_of(self.upstream.path).encode()
        self._token = os.environ.get(config.token_name, "") if config.token_name else ""
        self._key = os.environ.get(config.api_key_name, "") if config.api_key_name else ""
        self._numbers: dict[bytes, int] = {}
        """Per request key a bit set of the numbers in use or used up."""
        self._running: dict[tuple[bytes, int], _Running] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(config.max_concurrency) if config.max_concurrency else None
        self.index = Index(config.record, skip=self._skips) if config.record and config.replay else Index("")
        self.writer = Writer(config.record, dict(config.header), self.index) if config.record else None

    def handle(self, exchange: Exchange) -> None:
        """Answer one exchange, now or later."""
        head = exchange.head
        if not self._authorised(head.headers):
            exchange.fail(401, "the token is wrong; use the key that the environment of the harness holds")
            return
        target = _origin_form(head.target)
        path = target.partition(b"?")[0]
        body = parse_body(exchange.body) if head.method == b"POST" and route_of(path) is not None else None
        if body is None or body.get("stream"):
            self.counters.passed_through += 1
            self._start(self._pass_through(exchange, target))
            return
        self.counters.requests += 1
        canonical = canonical_body(body)
        key = request_key(
            scope=self.config.scope,
            upstream=self.config.upstream_name,
            method=head.method,
            path=self._below_base(target),
            canonical=canonical,
        )
        self._number(_Arrival(exchange, key, body, target, canonical))

    async def close(self) -> None:
        """Wait for running requests to be recorded, and close the record."""
        if self._tasks:
            await asyncio.wait(list(self._tasks))
        if self.writer is not None:
            await self.writer.close()
        self.index.close()
        self.upstream.close()

    @property
    def in_flight(self) -> int:
        """Requests that are being handled."""
        return len(self._tasks)

    def status(self) -> dict[str, Any]:
        """Return counters and the state of the record, for the counters' file."""
        problem = self.writer.problem if self.writer is not None else None
        recorded = "off" if self.writer is None else "partial" if problem else "complete"
        return {
            **self.counters.as_dict(),
            "in_flight": self.in_flight,
            "recorded": recorded,
            "record_problem": problem,
            "record_segments_ignored": self.index.unreadable,
        }

    def _skips(self, meta: dict[str, Any]) -> bool:
        expired = bool(self.config.max_age) and meta.get("time", 0.0) < time.time() - self.config.max_age
        return expired or bool(set(meta.get("flags", ())) & set(self.config.ask_again))

    def _authorised(self, headers: Headers) -> bool:
        if not self._token:
            return True
        value = get_header(headers, b"authorization") or b""
        given = value[7:] if value[:7].lower() == b"bearer " else get_header(headers, b"api-key") or b""
        return hmac.compare_digest(given, self._token.encode())

    def _below_base(self, target: bytes) -> bytes:
        return target[len(self._base) :] if target.startswith(self._base + b"/") else target

    def _number(self, arrival: _Arrival) -> None:
        """Give an arrival the smallest free number, then replay, join or ask."""
        short = arrival.key[:SHORT_KEY]
        used = self._numbers.get(short, 0)
        number = (~used & (used + 1)).bit_length() - 1
        self._numbers[short] = used | 1 << number
        arrival.number = number
        arrival.exchange.on_closed = lambda: self._free(arrival)
        entry = self.index.get(arrival.key, number)
        if entry is not None:
            self.counters.replayed += 1
            add_model(self.counters.replayed_models, entry.meta.get("model"))
            self._deliver(arrival, _Outcome.of_entry(entry))
            return
        running = self._running.get((arrival.key, number))
        if running is not None:
            self.counters.joined += 1
            running.arrival = arrival
            return
        running = self._running[arrival.key, number] = _Running(arrival)
        self._start(self._ask(running))

    def _free(self, arrival: _Arrival) -> None:
        """Make a number available again: its answer was not delivered."""
        self._numbers[arrival.key[:SHORT_KEY]] &= ~(1 << arrival.number)
        running = self._running.get((arrival.key, arrival.number))
        if running is not None and running.arrival is arrival:
            running.arrival = None

    def _start(self, work: Any) -> None:  # noqa: ANN401 - a coroutine
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask(self, running: _Running) -> None:
        """Ask until there is an answer or no try is left, record the answer, then deliver it."""
        key, number = running.key, running.number
        try:
            outcome = await self._tries(running)
            if outcome.answer is not None and outcome.storable:
                await self._store(running, outcome)
        except Exception as error:  # noqa: BLE001 - the client must get an answer, whatever went wrong here
            outcome = _Outcome.failure(500, f"unexpected error: {error!r}")
        del self._running[key, number]
        arrival = running.arrival
        if arrival is None or arrival.exchange.closed:
            return
        if outcome.answer is None:
            self.counters.failed += 1
            self._free(arrival)
            arrival.exchange.on_closed = None
            if not arrival.exchange.started:
                arrival.exchange.respond(outcome.status, outcome.headers, outcome.body)
            return
        self._deliver(arrival, outcome)

    def _deliver(self, arrival: _Arrival, outcome: _Outcome) -> None:
        """Send an answer; its number is used up when the last byte has been sent."""

        def sent() -> None:
            arrival.exchange.on_closed = None
            counters = self.counters
            counters.delivered += 1
            assert outcome.answer is not None  # noqa: S101 - failures are not delivered
            add(counters.flags, dict.fromkeys(outcome.answer.flags, 1))
            add(counters.used_tokens, outcome.answer.usage)

        if outcome.streamed:
            arrival.exchange.finish(on_sent=sent)
        else:
            arrival.exchange.respond(outcome.status, outcome.headers, outcome.body, on_sent=sent)

    async def _tries(self, running: _Running) -> _Outcome:
        """Send a request until it is answered; return the answer or the last failure."""
        backoff = _FIRST_PAUSE
        for number in range(1, self.config.max_retries + 2):
            outcome = await self._try(running, number)
            if outcome.answer is not None and outcome.answer.malformed is None:
                self.counters.retried += number > 1
                return outcome
            add(self.counters.statuses, {outcome.kind: 1})
            if outcome.answer is not None and outcome.storable:
                await self._store(running, outcome)
            if not outcome.retry or number > self.config.max_retries:
                self.counters.retried += number > 1
                return outcome.as_failure()
            pause = max(backoff * random.uniform(0.75, 1.0), outcome.retry_after)  # noqa: S311 - spreads load
            backoff = min(2 * backoff, _LONGEST_PAUSE)
            await asyncio.sleep(pause)
        raise AssertionError  # pragma: no cover - the last try returns

    async def _try(self, running: _Running, number: int) -> _Outcome:
        if self._slots is None:
            return await self._send(running, number)
        async with self._slots:
            return await self._send(running, number)

    async def _send(self, running: _Running, number: int) -> _Outcome:
        self.counters.tries += 1
        collector = _Collector(running)
        started = time.monotonic()
        request = running.request
        try:
            await self.upstream.exchange(b"POST", running.target, running.headers(self._key), request, collector)
        except UpstreamError as error:
            if collector.overflowed:
                running.abort()
            return _Outcome.failure(502, str(error), retry=not collector.overflowed)
        return self._judge(running, collector, time.monotonic() - started, number)

    def _judge(self, running: _Running, collector: _Collector, latency: float, number: int) -> _Outcome:
        """Turn a complete response into an outcome."""
        head = collector.response
        assert head is not None  # noqa: S101 - the exchange is complete
        outcome = _Outcome(head.status, _response_headers(head), b"".join(collector.parts))
        outcome.latency, outcome.tries, outcome.kind = latency, number, f"status {head.status}"
        if not _OK <= head.status < 300:  # noqa: PLR2004
            outcome.retry = head.status in _RETRIED or head.status >= 500  # noqa: PLR2004
            outcome.retry_after = _retry_after(get_header(head.headers, b"retry-after"))
            return outcome
        self.counters.paid += 1
        self.counters.add_latency(latency)
        outcome.storable = not collector.overflowed
        outcome.streamed = collector.overflowed
        outcome.answer = (
            Answer((), None, {}, None) if collector.overflowed else parse_answer(outcome.body, running.body)
        )
        add(self.counters.paid_tokens, outcome.answer.usage)
        self.counters.without_usage += not outcome.answer.usage
        add_model(self.counters.live_models, outcome.answer.model)
        if outcome.answer.malformed is not None:
            self.counters.malformed += 1
            outcome.retry, outcome.kind = True, "malformed"
        return outcome

    async def _store(self, running: _Running, outcome: _Outcome) -> None:
        if self.writer is None:
            return
        answer = outcome.answer
        assert answer is not None  # noqa: S101 - the caller's condition
        stored = self.config.store == "all" and len(running.request) <= MAX_REQUEST
        request = running.request if stored else b""
        meta = {
            "time": round(time.time(), 3),
            "status": outcome.status,
            "type": dict(outcome.headers).get(b"content-type", b"").decode("latin-1"),
            "flags": answer.flags,
            "usage": answer.usage,
            "latency": round(outcome.latency, 4),
            "tries": outcome.tries,
            "model": answer.model,
            "path": running.target.decode("latin-1"),
            "malformed": answer.malformed,
            "request_size": len(running.request),
            "answer_size": len(outcome.body),
        }
        await self.writer.append(Entry(running.key, running.number, meta, request, outcome.body))

    async def _pass_through(self, exchange: Exchange, target: bytes) -> None:
        """Forward a request that is not recorded, and its response piece by piece."""
        forwarder = _Forwarder(exchange)
        headers = [
            *(header for header in end_to_end(exchange.head.headers) if header[0] not in _DROPPED_REQUEST_HEADERS),
            *_content_type(exchange.head.headers),
            (b"accept-encoding", b"identity"),
            *_authorization(self._key),
        ]
        try:
            await self.upstream.exchange(exchange.head.method, target, headers, exchange.body, forwarder)
        except UpstreamError as error:
            if exchange.started:
                exchange.abort()
            else:
                exchange.fail(502, str(error), "upstream_error")
            return
        exchange.finish()


class _Arrival:
    """One request of the harness on a recorded route."""

    __slots__ = ("body", "canonical", "exchange", "key", "number", "target")

    def __init__(self, exchange: Exchange, key: bytes, body: dict[str, Any], target: bytes, canonical: bytes) -> None:
        self.exchange = exchange
        self.key = key
        self.number = 0
        self.body = body
        self.target = target
        self.canonical = canonical


class _Running:
    """A request that is being asked upstream, for an arrival or for the retry of one that went away."""

    __slots__ = ("arrival", "body", "client_headers", "key", "number", "request", "target")

    def __init__(self, arrival: _Arrival) -> None:
        self.arrival: _Arrival | None = arrival
        self.key = arrival.key
        self.number = arrival.number
        self.target = arrival.target
        self.body = arrival.body
        self.request = arrival.exchange.body
        self.client_headers = arrival.exchange.head.headers

    def headers(self, key: str) -> Headers:
        """Return the headers to send upstream."""
        kept = [header for header in end_to_end(self.client_headers) if header[0] not in _DROPPED_REQUEST_HEADERS]
        return [*kept, *_content_type(self.client_headers), (b"accept-encoding", b"identity"), *_authorization(key)]

    def abort(self) -> None:
        """Close the client's connection: a part of the answer has been sent, and the rest will not come."""
        if self.arrival is not None:
            self.arrival.exchange.abort()


class _Outcome:
    """How one try, or all tries of a request, went."""

    __slots__ = (
        "answer",
        "body",
        "headers",
        "kind",
        "latency",
        "retry",
        "retry_after",
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
        self.latency = 0.0
        self.tries = 1
        self.storable = True
        self.streamed = False
        """The answer was too long to store and has been passed on already."""

    @classmethod
    def of_entry(cls, entry: Entry) -> _Outcome:
        """Return the outcome that an entry holds."""
        meta = entry.meta
        headers: Headers = [(b"content-type", meta["type"].encode("latin-1")), (b"x-nel-gateway", b"replayed")]
        outcome = cls(meta["status"], headers, entry.answer)
        outcome.answer = Answer(tuple(meta["flags"]), meta["model"], meta["usage"], None)
        return outcome

    @classmethod
    def failure(cls, status: int, message: str, *, retry: bool = False) -> _Outcome:
        """Return an outcome without a response of the endpoint."""
        text = json.dumps({"error": {"message": "nel-action gateway: " + message, "type": "upstream_error"}})
        outcome = cls(status, [(b"content-type", b"application/json")], text.encode())
        outcome.kind, outcome.retry = "connection", retry
        return outcome

    def as_failure(self) -> _Outcome:
        """Return the same for a client: a malformed answer is passed on as it is, but does not count as one."""
        self.answer = None
        return self


class _Collector(Receiver):
    """Collects a response; one that is too long is passed on as it arrives."""

    def __init__(self, running: _Running) -> None:
        self.response: ResponseHead | None = None
        self.parts: list[bytes] = []
        self.overflowed = False
        self._running = running
        self._size = 0

    def head(self, head: ResponseHead) -> None:
        self.response = head

    def data(self, data: bytes) -> None:
        self._size += len(data)
        self.parts.append(data)
        if self._size > MAX_ANSWER:
            arrival = self._running.arrival
            if not self.overflowed and arrival is not None and self.response is not None:
                arrival.exchange.start(self.response, _response_headers(self.response), None)
            self.overflowed = True
            if arrival is not None:
                for part in self.parts:
                    arrival.exchange.send(part)
            self.parts.clear()


class _Forwarder(Receiver):
    """Passes a response on piece by piece."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def head(self, head: ResponseHead) -> None:
        length = get_header(head.headers, b"content-length")
        known = int(length) if length is not None and length.isdigit() else None
        self._exchange.start(head, _response_headers(head), known)

    def data(self, data: bytes) -> None:
        self._exchange.send(data)

    @property
    def backlog(self) -> Callable[[], asyncio.Future[None]] | None:
        if self._exchange.closed or not self._exchange.congested:
            return None
        return lambda: asyncio.ensure_future(self._exchange.drained())


def add_model(models: set[str], model: object) -> None:
    """Add the name of a model; there are few, and a hostile endpoint must not fill the memory."""
    if isinstance(model, str) and len(models) < 16:  # noqa: PLR2004
        models.add(model[:200])


def _origin_form(target: bytes) -> bytes:
    """Return path and query of a request target; clients that believe in a proxy send an absolute URL."""
    if target.startswith(b"/"):
        return target
    _, _, rest = target.partition(b"://")
    return b"/" + rest.partition(b"/")[2]


def _content_type(headers: Headers) -> Headers:
    value = get_header(headers, b"content-type")
    return [] if value is None else [(b"content-type", value)]


def _authorization(key: str) -> Headers:
    return [(b"authorization", b"Bearer " + key.encode())] if key else []


def _response_headers(head: ResponseHead) -> Headers:
    """Return the headers of a response that are passed on."""
    return [header for header in end_to_end(head.headers) if header[0] not in (b"date", b"server", b"set-cookie")]


def _retry_after(value: bytes | None) -> float:
    """Return the seconds that a `Retry-After` header asks for (RFC 9110, 10.2.3); 0 without a valid one."""
    text = (value or b"").decode("latin-1").strip()
    if text.isascii() and text.isdigit():
        return min(float(text), _LONGEST_RETRY_AFTER)
    try:
        moment = parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError, IndexError):
        return 0.0
    return min(max(0.0, moment - time.time()), _LONGEST_RETRY_AFTER)
