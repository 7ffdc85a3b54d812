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
from typing import Any, Callable

from nel_action.gateway.adapter import Adapter
from nel_action.gateway.answers import Answer, parse_answer
from nel_action.gateway.config import Config
from nel_action.gateway.counters import Counters, add, read_earlier
from nel_action.gateway.exchange_log import ExchangeLog
from nel_action.gateway.http import Headers, get_header
from nel_action.gateway.outcome import (
    Arrival,
    Collector,
    Forwarder,
    Outcome,
    Running,
    Stop,
    add_model,
    authorization,
    forwarded_headers,
    origin_form,
    response_headers,
    retry_after,
)
from nel_action.gateway.rates import Limiter, Permit
from nel_action.gateway.readiness import Readiness
from nel_action.gateway.record import MAX_REQUEST, SHORT_KEY, Entry, Index, Writer
from nel_action.gateway.requests import base_of, canonical_body, is_paid_route, parse_body, request_key, route_of
from nel_action.gateway.server import Exchange
from nel_action.gateway.spending import Spending, cost_of, maximum
from nel_action.gateway.upstream import Upstream, UpstreamError

__all__ = ["Proxy"]

_RETRIED = frozenset((408, 409, 425, 429, 500, 501, 502, 503, 504, 507, 508, 509, 520, 521, 522, 523, 524, 529))
_OK = 200
_TOO_MANY_REQUESTS = 429
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 60.0
_HOLD = 60.0
"""Seconds after which a request that is no longer sent is answered with an error, if nothing has stopped the client."""


class Proxy:
    """Handles the exchanges of one pass."""

    def __init__(self, config: Config, *, on_stop: Callable[[], None] = lambda: None) -> None:
        """Read the record and prepare.

        Args:
            config: settings of the proxy.
            on_stop: called once if no further request is sent.
        """
        self.config = config
        self.counters = Counters()
        self.upstream = Upstream(config.upstream, ca_file=config.ca_file or None, timeout=config.request_timeout)
        self.stopped: Stop | None = None
        self._on_stop = on_stop
        self._base = base_of(self.upstream.path).encode()
        self._token = os.environ.get(config.token_name, "") if config.token_name else ""
        self._key = os.environ.get(config.api_key_name, "") if config.api_key_name else ""
        self._numbers: dict[bytes, int] = {}
        """Per request key a bit set of the numbers in use or used up."""
        self._running: dict[tuple[bytes, int], Running] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._sent = 0
        """Requests on their way, or being recorded."""
        self._drained: asyncio.Event | None = None
        self._limiter = Limiter(
            max_concurrency=config.max_concurrency,
            requests_per_minute=config.requests_per_minute,
            tokens_per_minute=config.tokens_per_minute,
        )
        self._readiness = Readiness(self.upstream, config.readiness, authorization(self._key))
        self._adapter = Adapter(config.adapter)
        self._log = ExchangeLog(config.log_directory, config.log, secrets=(self._key, self._token))
        invocation = config.header.get("invocation", "")
        self.index = Index(config.record, skip=self._skips, invocation=invocation)
        self.writer = Writer(config.record, dict(config.header), self.index) if config.record else None
        earlier = read_earlier(config.counters, config.header)
        self._spending = Spending(config.budget, config.prices, maximum(self.index.paid, earlier))

    def handle(self, exchange: Exchange) -> None:
        """Answer one exchange, now or later."""
        head = exchange.head
        if not self._authorised(head.headers):
            exchange.fail(401, "the token is wrong; use the key that the environment of the harness holds")
            return
        target = origin_form(head.target)
        path = target.partition(b"?")[0]
        body = parse_body(exchange.body) if head.method == b"POST" and route_of(path) is not None else None
        request = exchange.body
        if body is not None and self._adapter.changes_requests:
            body = self._adapter.request(body)
            request = json.dumps(body, separators=(",", ":")).encode()
        if body is None or body.get("stream"):
            self.counters.passed_through += 1
            paid = head.method == b"POST" and is_paid_route(path)
            self._start(self._pass_through(exchange, target, request, paid=paid))
            return
        self.counters.requests += 1
        key = request_key(
            scope=self.config.scope,
            upstream=self.config.upstream_name,
            method=head.method,
            path=self._below_base(target),
            canonical=canonical_body(body),
        )
        self._number(Arrival(exchange, key, body, target, request))

    async def close(self) -> None:
        """Wait for running requests to be recorded, and close the record."""
        self._readiness.close()
        if self._tasks:
            await asyncio.wait(list(self._tasks))
        if self.writer is not None:
            await self.writer.close()
        self.index.close()
        self.upstream.close()
        self._log.close()

    @property
    def in_flight(self) -> int:
        """Requests that are being handled."""
        return len(self._tasks)

    def status(self) -> dict[str, Any]:
        """Return counters and the state of the record, for the counters' file."""
        problem = self.writer.problem if self.writer is not None else None
        recorded = "off" if self.writer is None else "partial" if problem else "complete"
        used = self.counters.used
        return {
            **self.counters.as_dict(),
            "header": dict(self.config.header),
            "used": {**used, "cost_usd": cost_of(used, self.config.prices)},
            "paid_total": {**self._spending.paid, "cost_usd": self._spending.cost},
            "stopped": None if self.stopped is None else {"reason": self.stopped.reason, "detail": self.stopped.detail},
            "refusals": self._limiter.refusals,
            "in_flight": self.in_flight,
            "recorded": recorded,
            "record_problem": problem,
            "record_segments_ignored": self.index.unreadable,
        }

    def _skips(self, meta: dict[str, Any]) -> bool:
        if not self.config.replay:
            return True
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

    def _number(self, arrival: Arrival) -> None:
        """Give an arrival the smallest free number, then replay, join or ask."""
        short = arrival.key[:SHORT_KEY]
        used = self._numbers.get(short, 0)
        number = (~used & (used + 1)).bit_length() - 1
        self._numbers[short] = used | 1 << number
        arrival.number = number
        arrival.exchange.on_closed = lambda: self._free(arrival)
        if self._log.active:
            self._log.request(arrival.target.decode("latin-1"), arrival.request)
        entry = self.index.get(arrival.key, number)
        if entry is not None:
            self.counters.replayed += 1
            add_model(self.counters.replayed_models, entry.meta.get("model"))
            self._deliver(arrival, Outcome.of_entry(entry), replayed=True)
            return
        running = self._running.get((arrival.key, number))
        if running is not None:
            self.counters.joined += 1
            running.arrival = arrival
            return
        running = self._running[arrival.key, number] = Running(arrival)
        self._start(self._ask(running))

    def _free(self, arrival: Arrival) -> None:
        """Make a number available again: its answer was not delivered."""
        self.counters.miss((arrival.key[:SHORT_KEY], arrival.number))
        self._numbers[arrival.key[:SHORT_KEY]] &= ~(1 << arrival.number)
        running = self._running.get((arrival.key, arrival.number))
        if running is not None and running.arrival is arrival:
            running.arrival = None

    def _start(self, work: Any) -> None:  # noqa: ANN401 - a coroutine
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask(self, running: Running) -> None:
        """Ask until there is an answer or no try is left, record the answer, then deliver it."""
        key, number = running.key, running.number
        try:
            outcome = await self._tries(running)
            if outcome.answer is not None and outcome.storable:
                self._sent += 1
                try:
                    await self._store(running, outcome)
                finally:
                    self._finish_sending()
        except Exception as error:  # noqa: BLE001 - the client must get an answer, whatever went wrong here
            outcome = Outcome.failure(500, f"unexpected error: {error!r}")
        if self._running.get((key, number)) is running:
            del self._running[key, number]
        arrival = running.arrival
        if arrival is None or arrival.exchange.closed:
            return
        if outcome.answer is not None:
            self._deliver(arrival, outcome)
        elif self.stopped is not None:
            self._hold(arrival)
        else:
            self._fail(arrival, outcome)

    def _fail(self, arrival: Arrival, outcome: Outcome) -> None:
        """Answer a request for which there is no usable answer."""
        self.counters.failed += 1
        self._free(arrival)
        arrival.exchange.on_closed = None
        if not arrival.exchange.started:
            arrival.exchange.respond(outcome.status, outcome.headers, outcome.body)

    def _hold(self, arrival: Arrival) -> None:
        """Leave a request without an answer: a harness would take an error for the model's and score it.

        Whatever started the harness ends it meanwhile.
        """

        def give_up() -> None:
            if not arrival.exchange.closed and self.stopped is not None:
                self._fail(arrival, Outcome.failure(402, self.stopped.detail, kind="stopped"))

        asyncio.get_event_loop().call_later(_HOLD, give_up)

    def _finish_sending(self) -> None:
        self._sent -= 1
        if not self._sent and self._drained is not None:
            self._drained.set()

    async def drain(self) -> None:
        """Return when the requests that were sent before the stop have been recorded; give up the others."""
        if self._sent:
            self._drained = asyncio.Event()
            await self._drained.wait()
        for task in list(self._tasks):
            task.cancel()

    def stop(self, reason: str, detail: str) -> None:
        """Send no further request.

        Args:
            reason: `budget` or `client_error`.
            detail: a sentence.
        """
        if self.stopped is None:
            self.stopped = Stop(reason, detail)
            self._on_stop()

    def _deliver(self, arrival: Arrival, outcome: Outcome, *, replayed: bool = False) -> None:
        """Send an answer; its number is used up when the last byte has been sent.

        Args:
            arrival: the request.
            outcome: with an answer.
            replayed: whether the answer comes from the record.
        """

        def sent() -> None:
            arrival.exchange.on_closed = None
            assert outcome.answer is not None  # noqa: S101 - failures are not delivered
            request = (arrival.key[:SHORT_KEY], arrival.number)
            self.counters.deliver(request, outcome.answer, latency=outcome.latency, tries=outcome.tries)

        if outcome.streamed:
            arrival.exchange.finish(on_sent=sent)
            return
        if replayed:
            self._log_response(arrival.target, outcome, replayed=True)
        body = outcome.shown if outcome.shown is not None else self._adapter.answer(outcome.body)
        arrival.exchange.respond(outcome.status, outcome.headers, body, on_sent=sent)

    async def _tries(self, running: Running) -> Outcome:
        """Send a request until it is answered; return the answer or the last failure.

        A refusal because of too many requests counts as a try only if the endpoint has answered no other request since
        the previous try.
        """
        backoff = _FIRST_PAUSE
        number = sent = 0
        while True:
            number += 1
            sent += 1
            answers = self._limiter.answers
            outcome = await self._try(running, sent)
            if outcome.answer is not None and outcome.answer.malformed is None:
                return outcome
            add(self.counters.statuses, {outcome.kind: 1})
            if outcome.answer is not None and outcome.storable:
                await self._store(running, outcome)
            if outcome.refused and self._limiter.answers > answers:
                number -= 1
            if not outcome.retry or number > self.config.max_retries or self.stopped is not None:
                return outcome.as_failure()
            pause = max(backoff * random.uniform(0.75, 1.0), outcome.retry_after)  # noqa: S311 - spreads load
            backoff = min(2 * backoff, _LONGEST_PAUSE)
            await asyncio.sleep(pause)

    async def _try(self, running: Running, number: int) -> Outcome:
        """Send a request once, as soon as the endpoint is ready and the limits permit it."""
        if not self._readiness.done:
            await self._readiness.wait()
        permit = await self._limiter.acquire()
        if not self._may_spend():
            self._limiter.release(permit)
            return Outcome.failure(402, "no further request is sent", kind="stopped")
        outcome = None
        self._sent += 1
        try:
            outcome = await self._send(running, number)
        finally:
            self._finish_sending()
            self._settle(permit, outcome)
        return outcome

    def _settle(self, permit: Permit, outcome: Outcome | None) -> None:
        """Return a permission, and count what the answer used.

        Args:
            permit: of the request.
            outcome: None if it was given up.
        """
        answer = outcome.answer if outcome is not None else None
        usage = answer.usage if answer is not None else None
        self._spending.release(usage, malformed=answer is not None and answer.malformed is not None)
        if outcome is not None and outcome.refused:
            self._limiter.refuse(permit, outcome.retry_after)
        else:
            tokens = sum((usage or {}).get(name, 0) for name in ("prompt_tokens", "completion_tokens"))
            self._limiter.release(permit, tokens=None if answer is None else tokens)

    def _may_spend(self) -> bool:
        """Reserve one request of the budget; stop if it is exhausted."""
        if self.stopped is None:
            exhausted = self._spending.reserve()
            if exhausted is None:
                return True
            self.stop("budget", exhausted)
        return False

    async def _send(self, running: Running, number: int) -> Outcome:
        self.counters.tries += 1
        collector = Collector(running, on_overflow=lambda: self._detach(running))
        started = time.monotonic()
        request = running.request
        try:
            await self.upstream.exchange(b"POST", running.target, running.headers(self._key), request, collector)
        except UpstreamError as error:
            if collector.overflowed:
                running.abort()
            return Outcome.failure(502, str(error), retry=not collector.overflowed)
        outcome = self._judge(running, collector, time.monotonic() - started, number)
        self._log_response(running.target, outcome, replayed=False)
        return outcome

    def _detach(self, running: Running) -> None:
        """Keep later clients from joining a request: its answer is passed on and not kept."""
        self._running.pop((running.key, running.number), None)

    def _log_response(self, target: bytes, outcome: Outcome, *, replayed: bool) -> None:
        if self._log.active:
            path = target.decode("latin-1")
            self._log.response(path, outcome.status, outcome.body, replayed=replayed, latency=outcome.latency)

    def _judge(self, running: Running, collector: Collector, latency: float, number: int) -> Outcome:
        """Turn a complete response into an outcome."""
        head = collector.response
        assert head is not None  # noqa: S101 - the exchange is complete
        outcome = Outcome(head.status, response_headers(head), b"".join(collector.parts))
        outcome.latency, outcome.tries, outcome.kind = latency, number, f"status {head.status}"
        if not _OK <= head.status < 300:  # noqa: PLR2004
            outcome.retry = head.status in _RETRIED or head.status >= 500  # noqa: PLR2004
            outcome.retry_after = retry_after(get_header(head.headers, b"retry-after"))
            outcome.refused = head.status == _TOO_MANY_REQUESTS
            if self._ends_pass(head.status):
                text = outcome.body[:300].decode("utf-8", "replace").replace(self._key or "\0", "***")
                self.stop("client_error", f"the endpoint answered {head.status}: {' '.join(text.split())}")
            return outcome
        self.counters.paid += 1
        outcome.storable = not collector.overflowed
        outcome.streamed = collector.overflowed
        outcome.answer = Answer()
        if not collector.overflowed:
            outcome.shown = self._adapter.answer(outcome.body)
            outcome.answer = parse_answer(outcome.shown, running.body)
        add_model(self.counters.live_models, outcome.answer.model)
        if outcome.answer.malformed is not None:
            self.counters.malformed += 1
            outcome.retry, outcome.kind = True, "malformed"
        return outcome

    def _ends_pass(self, status: int) -> bool:
        """Return whether a status of the endpoint ends the pass (`client_errors`)."""
        rules = self.config.client_errors
        if not rules:
            return False
        if status in rules.get("statuses", ()):
            return True
        return rules.get("first", 400) <= status <= rules.get("last", 499) and status not in rules.get("except", ())

    async def _store(self, running: Running, outcome: Outcome) -> None:
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
            "finish_reasons": answer.finish_reasons,
            "model": answer.model,
            "path": running.target.decode("latin-1"),
            "malformed": answer.malformed,
            "request_size": len(running.request),
            "answer_size": len(outcome.body),
        }
        await self.writer.append(Entry(running.key, running.number, meta, request, outcome.body))

    async def _pass_through(self, exchange: Exchange, target: bytes, body: bytes, *, paid: bool) -> None:
        """Forward a request that is not recorded, and its response piece by piece.

        Args:
            exchange: the request.
            target: path with the query.
            body: as it is sent.
            paid: whether the model answers it, so that the limits apply; its tokens remain unknown.
        """
        if paid and not self._readiness.done:
            await self._readiness.wait()
        permit = await self._limiter.acquire() if paid else None
        if permit is not None and not self._may_spend():
            self._limiter.release(permit)
            exchange.fail(402, "no further request is sent", "budget_exhausted")
            return
        forwarder = Forwarder(exchange)
        headers = forwarded_headers(exchange.head.headers, self._key)
        answered = False
        try:
            await self.upstream.exchange(exchange.head.method, target, headers, body, forwarder)
            answered = _OK <= forwarder.status < 300  # noqa: PLR2004
        except UpstreamError as error:
            if exchange.started:
                exchange.abort()
            else:
                exchange.fail(502, str(error), "upstream_error")
            return
        finally:
            if permit is not None:
                self._spending.release({} if answered else None)
                if forwarder.status == _TOO_MANY_REQUESTS:
                    self._limiter.refuse(permit, 0.0)
                else:
                    self._limiter.release(permit, tokens=0 if answered else None)
        exchange.finish()
