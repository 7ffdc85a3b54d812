"""Prices, budgets, and the end of a pass whose budget is exhausted."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from tests.gateway.test_proxy import gateway, run, settled
from tests.support.gateway import Client, Endpoint, Reply, completion

from nel_action.gateway import proxy as proxy_module
from nel_action.gateway.spending import Spending, cost_of

PRICES = {"input": 2.0, "output": 10.0}


def test_cost_is_unknown_without_prices_or_token_counts() -> None:
    tokens = {"prompt_tokens": 1_000_000, "completion_tokens": 500_000}
    assert cost_of(tokens, PRICES) == pytest.approx(7.0)
    assert cost_of(tokens, {}) is None
    assert cost_of(tokens, {"input": 2.0}) is None
    assert cost_of({**tokens, "without_usage": 1}, PRICES) is None


def test_cached_tokens_have_a_price_of_their_own() -> None:
    tokens = {"prompt_tokens": 1_000_000, "cached_tokens": 400_000, "completion_tokens": 0}
    assert cost_of(tokens, PRICES) == pytest.approx(2.0)
    assert cost_of(tokens, {**PRICES, "cached_input": 0.5}) == pytest.approx(1.4)


def test_reserved_requests_count_until_they_fail() -> None:
    spending = Spending({"requests": 2}, {}, {})
    assert spending.reserve() is None
    assert spending.reserve() is None
    assert spending.reserve() is not None
    spending.release(None)
    assert spending.reserve() is None


def test_earlier_passes_count() -> None:
    assert Spending({"requests": 5}, {}, {"requests": 5}).reserve() is not None
    assert Spending({"tokens": 50}, {}, {"requests": 5, "prompt_tokens": 50}).reserve() is not None


def test_answers_without_token_counts_are_estimated_and_too_many_end_the_pass() -> None:
    spending = Spending({"tokens": 1000}, {}, {"requests": 8, "prompt_tokens": 700, "without_usage": 1})
    assert spending.reserve() is None
    spending = Spending({"tokens": 1000}, {}, {"requests": 8, "prompt_tokens": 900, "without_usage": 1})
    assert "exhausted" in str(spending.reserve())
    spending = Spending({"cost": 1000}, PRICES, {"requests": 11, "without_usage": 11})
    assert spending.reserve() == "budget.cost cannot be enforced: 11 of 11 answers have no token counts"


@pytest.mark.parametrize(
    ("budget", "most"),
    [({"requests": 6}, 6), ({"tokens": 40}, 5 + 4), ({"cost": 5 * 5.6e-5}, 5 + 4)],
)
def test_no_more_is_paid_than_the_budget_and_one_request_per_connection(
    budget: dict[str, float], most: int, tmp_path: Path
) -> None:
    """Each answer has 8 tokens and costs 56 millionths of a dollar; four connections ask without end."""
    counters = tmp_path / "counters.json"

    async def ask(client: Client, name: int) -> None:
        for number in range(50):
            await client.ask(f"{name}.{number}")

    async def work() -> None:
        settings = {"budget": budget, "prices": PRICES, "counters": str(counters)}
        async with Endpoint().serve() as url, gateway(url, tmp_path / "record", **settings) as service:
            clients = [Client(service.address) for _ in range(4)]
            asking = [asyncio.ensure_future(ask(client, name)) for name, client in enumerate(clients)]
            await asyncio.wait_for(service.stopped.wait(), 20)
            await settled(lambda: service.proxy.in_flight == 0)
            assert not any(task.done() for task in asking)
            for task, client in zip(asking, clients, strict=True):
                task.cancel()
                await client.close()
            paid = service.proxy.status()["paid_total"]["requests"]
            assert most - 4 <= paid <= most

    run(work())
    stopped = json.loads(counters.read_text())["stopped"]
    assert stopped["reason"] == "budget"
    assert f"budget.{next(iter(budget))} is exhausted" in stopped["detail"]


def test_replayed_answers_cost_nothing_and_the_next_pass_continues_the_budget(tmp_path: Path) -> None:
    async def work() -> None:
        async with Endpoint().serve() as url:
            for asked, paid in ((4, 4), (7, 7)):
                async with gateway(url, tmp_path, budget={"requests": 7}, header={"invocation": "a"}) as service:
                    client = Client(service.address)
                    for number in range(asked):
                        assert (await client.ask(str(number))).status == 200
                    await client.close()
                    assert service.proxy.status()["paid_total"]["requests"] == paid
                    assert service.proxy.stopped is None

    run(work())


def test_without_a_record_the_counters_file_continues_the_budget(tmp_path: Path) -> None:
    counters = str(tmp_path / "counters.json")

    async def work() -> None:
        async with Endpoint().serve() as url:
            for invocation, paid in (("a", 1), ("a", 2), ("b", 1)):
                async with gateway(url, counters=counters, header={"invocation": invocation}) as service:
                    client = Client(service.address)
                    await client.ask()
                    await client.close()
                    assert service.proxy.status()["paid_total"]["requests"] == paid

    run(work())


def test_streams_count_as_requests_with_unknown_tokens(tmp_path: Path) -> None:
    async def work() -> None:
        async with Endpoint().serve() as url, gateway(url, tmp_path, budget={"requests": 1}) as service:
            client = Client(service.address)
            assert (await client.ask(stream=True)).status == 200
            assert (await client.request("GET", "/v1/models")).status == 200
            assert (await client.ask(stream=True)).status == 402
            await client.close()
            assert service.proxy.status()["paid_total"]["without_usage"] == 1

    run(work())


def test_answers_that_were_paid_for_before_the_stop_are_recorded(tmp_path: Path) -> None:
    async def work() -> None:
        endpoint = Endpoint(lambda number, _: Reply(completion(f"answer {number}"), delay=0.3))
        async with endpoint.serve() as url:
            async with gateway(url, tmp_path, budget={"requests": 1}) as service:
                client, other = Client(service.address), Client(service.address)
                asking = asyncio.ensure_future(client.ask("slow"))
                await settled(lambda: service.proxy.counters.tries == 1)
                waiting = asyncio.ensure_future(other.ask("too many"))
                await asyncio.wait_for(service.stopped.wait(), 20)
                asking.cancel()
                await client.close()
                await service.drain()
                waiting.cancel()
                await other.close()
            async with gateway(url, tmp_path) as service:
                client = Client(service.address)
                assert (await client.ask("slow")).content == "answer 0"
                await client.close()
                assert service.proxy.counters.replayed == 1

    run(work())


def test_a_held_request_is_answered_with_402_if_nothing_ends_the_client(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxy_module, "_HOLD", 0.01)

    async def work() -> None:
        async with Endpoint().serve() as url, gateway(url, tmp_path, budget={"requests": 0}) as service:
            client = Client(service.address)
            response = await client.ask()
            await client.close()
            assert response.status == 402
            assert b"budget.requests is exhausted" in response.body

    run(work())


def test_client_errors_end_the_pass_if_the_configuration_says_so(tmp_path: Path) -> None:
    rules = {"first": 400, "last": 499, "except": [408, 429]}

    async def work() -> None:
        statuses = [429, 500, 404]
        endpoint = Endpoint(lambda number, _: Reply(b"no such model", status=statuses[number]))
        async with endpoint.serve() as url, gateway(url, tmp_path, client_errors=rules) as service:
            client = Client(service.address)
            asking = asyncio.ensure_future(client.ask())
            await asyncio.wait_for(service.stopped.wait(), 20)
            asking.cancel()
            await client.close()
            assert service.proxy.stopped is not None
            assert service.proxy.stopped.reason == "client_error"
            assert service.proxy.stopped.detail == "the endpoint answered 404: no such model"

    run(work())


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy_module, "_FIRST_PAUSE", 0.01)


def test_health_counts_each_request_once_however_often_it_was_tried(tmp_path: Path) -> None:
    answers = [
        Reply(completion("fine")),
        Reply(completion("")),
        Reply(completion(None, finish_reason="content_filter")),
        Reply(completion("half", finish_reason="length")),
        Reply(completion(None, finish_reason="length")),
        Reply(b"{}", status=400),
        Reply(b"{}", status=400),
        Reply(completion("after all")),
    ]

    async def work() -> None:
        endpoint = Endpoint(lambda number, _: answers[number])
        async with endpoint.serve() as url:
            for prompts in ("abcdefff", "abcdef"):
                async with gateway(url, tmp_path) as service:
                    client = Client(service.address)
                    for prompt in prompts:
                        await client.ask(prompt)
                    await client.close()
                    health = service.proxy.counters.health
                    counts = {name: health[name] for name in ("requests", "unanswered", "empty", "cut", "filtered")}
                    assert counts == {"requests": 6, "unanswered": 2, "empty": 1, "cut": 2, "filtered": 1}
                    assert health["latency_p95_ms"] > 0
            assert len(endpoint.received) == len(answers)

    run(work())


def test_a_client_that_leaves_and_does_not_return_is_unanswered(tmp_path: Path) -> None:
    async def work() -> None:
        endpoint = Endpoint(lambda *_: Reply(completion("late"), delay=0.2))
        async with endpoint.serve() as url, gateway(url, tmp_path) as service:
            client = Client(service.address)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.ask(), 0.05)
            await client.close()
            await settled(lambda: service.proxy.in_flight == 0)
            assert service.proxy.counters.health["unanswered"] == 1
            client = Client(service.address)
            assert (await client.ask()).content == "late"
            await client.close()
            assert service.proxy.counters.health["unanswered"] == 0

    run(work())
