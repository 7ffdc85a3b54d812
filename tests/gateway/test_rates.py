"""Admission of requests: concurrency, rates, refusals of the endpoint."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from tests.gateway.test_proxy import gateway, run
from tests.support.gateway import Client, Endpoint, Received, Reply, completion, gather

from nel_action.gateway import proxy as proxy_module
from nel_action.gateway.rates import Limiter, Permit


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy_module, "_FIRST_PAUSE", 0.01)


class Clock:
    """Time that passes only where a test says so; timers of a limiter are called when they are due."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.timers: list[tuple[float, Callable[[], None]]] = []

    def __call__(self) -> float:
        return self.now

    def call_later(self, delay: float, call: Callable[[], None]) -> asyncio.TimerHandle:
        entry = (self.now + delay, call)
        self.timers.append(entry)
        return asyncio.get_running_loop().call_at(1e9, call)

    async def pass_time(self, seconds: float) -> None:
        end = self.now + seconds
        while due := [timer for timer in self.timers if timer[0] <= end + 1e-9]:
            when, call = min(due, key=lambda timer: timer[0])
            self.timers.remove((when, call))
            self.now = max(self.now, when)
            call()
            await asyncio.sleep(0)
        self.now = end
        await asyncio.sleep(0)


def limited(work: Callable[[Clock, Callable[..., Limiter]], Coroutine[Any, Any, None]]) -> None:
    async def with_clock() -> None:
        clock = Clock()

        def limiter(**limits: float) -> Limiter:
            made = Limiter(clock=clock, **limits)  # type: ignore[arg-type]
            made.call_later = clock.call_later
            return made

        await work(clock, limiter)

    asyncio.run(with_clock())


async def admitted(limiter: Limiter, count: int) -> list[asyncio.Future[Permit]]:
    """Ask for permits; return the futures, of which the admitted ones are done."""
    permits: list[asyncio.Future[Permit]] = [asyncio.ensure_future(limiter.acquire()) for _ in range(count)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return permits


def done(permits: list[asyncio.Future[Permit]]) -> int:
    return sum(permit.done() for permit in permits)


def cancel(permits: list[asyncio.Future[Permit]]) -> None:
    for permit in permits:
        permit.cancel()


def test_requests_per_minute_are_spread_evenly() -> None:
    async def work(clock: Clock, limiter: Callable[..., Limiter]) -> None:
        permits = await admitted(limiter(requests_per_minute=30), 31)
        assert done(permits) == 1
        for seconds, expected in ((1.9, 1), (0.2, 2), (20, 12), (38, 31)):
            await clock.pass_time(seconds)
            assert done(permits) == expected

    limited(work)


def test_tokens_per_minute_follow_the_answers() -> None:
    async def work(clock: Clock, limiter: Callable[..., Limiter]) -> None:
        bucket = limiter(tokens_per_minute=6000)
        first = await bucket.acquire()
        bucket.release(first, tokens=1000)
        permits = await admitted(bucket, 3)
        assert done(permits) == 0
        await clock.pass_time(9.0)
        assert done(permits) == 0
        await clock.pass_time(1.1)
        assert done(permits) == 1
        bucket.release(permits[0].result(), tokens=1000)
        await clock.pass_time(10.1)
        assert done(permits) == 2
        cancel(permits)

    limited(work)


def test_refusals_halve_the_concurrency_once_per_round_and_answers_restore_it() -> None:
    async def work(clock: Clock, limiter: Callable[..., Limiter]) -> None:
        bucket = limiter(max_concurrency=16)
        permits = [await bucket.acquire() for _ in range(16)]
        await clock.pass_time(1)
        for permit in permits:
            bucket.refuse(permit, 0.0)
        assert bucket.window == 8
        await clock.pass_time(1)
        for _ in range(200):
            bucket.release(await bucket.acquire(), tokens=1)
        assert bucket.window == 16

    limited(work)


def test_concurrency_never_falls_below_one() -> None:
    async def work(clock: Clock, limiter: Callable[..., Limiter]) -> None:
        bucket = limiter()
        for _ in range(5):
            await clock.pass_time(1)
            bucket.refuse(await bucket.acquire(), 0.0)
        assert bucket.window == 1

    limited(work)


def test_retry_after_pauses_all_requests() -> None:
    async def work(clock: Clock, limiter: Callable[..., Limiter]) -> None:
        bucket = limiter(max_concurrency=8)
        bucket.refuse(await bucket.acquire(), 30.0)
        permits = await admitted(bucket, 1)
        await clock.pass_time(29)
        assert done(permits) == 0
        await clock.pass_time(1.1)
        assert done(permits) == 1

    limited(work)


def test_a_cancelled_waiter_takes_no_permit() -> None:
    async def work(clock: Clock, limiter: Callable[..., Limiter]) -> None:
        bucket = limiter(max_concurrency=1)
        first = await bucket.acquire()
        permits = await admitted(bucket, 2)
        permits[0].cancel()
        bucket.release(first, tokens=1)
        await clock.pass_time(0)
        assert permits[1].done()
        assert bucket.in_flight == 1

    limited(work)


def test_a_crowded_endpoint_answers_everything_with_few_tries_allowed(tmp_path: Path) -> None:
    """An endpoint that admits three requests at once refuses the others; none of 40 may be lost."""
    endpoint = Endpoint()

    def script(number: int, _: Received) -> Reply:
        if endpoint.in_flight > 3:
            return Reply(b"{}", status=429)
        return Reply(completion(f"answer {number}"), delay=0.01)

    endpoint.script = script

    async def work() -> None:
        async with endpoint.serve() as url, gateway(url, tmp_path, max_retries=2) as service:
            clients = [Client(service.address) for _ in range(40)]
            responses = await gather(*(client.ask(str(number)) for number, client in enumerate(clients)))
            assert [response.status for response in responses] == [200] * 40
            for client in clients:
                await client.close()
            status = service.proxy.status()
            assert status["refusals"] > 0
            assert status["health"]["unanswered"] == 0

    run(work())


def test_an_endpoint_that_only_refuses_is_given_up(tmp_path: Path) -> None:
    async def work() -> None:
        endpoint = Endpoint(lambda *_: Reply(json.dumps({"error": "quota"}).encode(), status=429))
        async with endpoint.serve() as url, gateway(url, tmp_path, max_retries=2) as service:
            client = Client(service.address)
            assert (await client.ask()).status == 429
            await client.close()
            assert len(endpoint.received) == 3

    run(work())


def test_an_unexpected_error_returns_its_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        msg = "unexpected"
        raise RuntimeError(msg)

    async def work() -> None:
        async with Endpoint().serve() as url, gateway(url, tmp_path, max_concurrency=1) as service:
            client = Client(service.address)
            with monkeypatch.context() as patch:
                patch.setattr(proxy_module.Proxy, "_judge", fail)
                assert (await client.ask()).status == 500
            assert (await client.ask()).status == 200
            await client.close()

    run(work())


def test_a_refused_stream_lowers_the_concurrency(tmp_path: Path) -> None:
    async def work() -> None:
        endpoint = Endpoint(lambda *_: Reply(b"{}", status=429))
        async with endpoint.serve() as url, gateway(url, tmp_path, max_concurrency=8) as service:
            client = Client(service.address)
            assert (await client.ask(stream=True)).status == 429
            await client.close()
            assert service.proxy.status()["refusals"] == 1

    run(work())
