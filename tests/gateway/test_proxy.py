"""The gateway between a scripted endpoint and harness connections, over real sockets."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.gateway import ROUTE, Client, Endpoint, Received, Reply, completion, gather

from nel_action.gateway import outcome as outcome_module
from nel_action.gateway import proxy as proxy_module
from nel_action.gateway import readiness as readiness_module
from nel_action.gateway.config import load_config
from nel_action.gateway.service import Service


@asynccontextmanager
async def gateway(url: str, record: Path | None = None, **settings: object) -> AsyncIterator[Service]:
    """One pass of a gateway that retries without long pauses."""
    values = {"upstream": url, "record": str(record or ""), **settings}
    async with Service(load_config(json.dumps(values))) as service:
        yield service


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy_module, "_FIRST_PAUSE", 0.01)


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 30))


def settled(condition: Callable[[], bool]) -> Coroutine[Any, Any, None]:
    async def wait() -> None:
        while not condition():  # noqa: ASYNC110 - the state of a program that knows nothing of the test
            await asyncio.sleep(0.005)

    return wait()


def test_equal_requests_get_distinct_answers_and_the_next_pass_replays_them_in_order(tmp_path: Path) -> None:
    async def work() -> None:
        endpoint = Endpoint()
        async with endpoint.serve() as url:
            answers = []
            for _ in range(2):
                async with gateway(url, tmp_path) as service:
                    client = Client(service.address)
                    answers.append([(await client.ask(temperature=0.9)).content for _ in range(4)])
                    await client.close()
            assert answers[0] == answers[1] == [f"answer {number}" for number in range(4)]
            assert len(endpoint.received) == 4

    run(work())


def test_the_number_of_a_request_is_that_of_its_arrival_not_of_its_completion(tmp_path: Path) -> None:
    delays = (0.2, 0.05, 0.1, 0.0)

    async def work() -> None:
        endpoint = Endpoint(lambda number, _: Reply(completion(f"answer {number}"), delay=delays[number % 4]))
        async with endpoint.serve() as url:
            passes = []
            for _ in range(2):
                async with gateway(url, tmp_path) as service:
                    clients = [Client(service.address) for _ in delays]
                    asked = []
                    for count, client in enumerate(clients, start=1):
                        asked.append(asyncio.ensure_future(client.ask()))
                        await settled(lambda count=count: service.proxy.counters.requests == count)  # type: ignore[misc]
                        await settled(lambda count=count: len(endpoint.received) >= count)  # type: ignore[misc]
                    passes.append([response.content for response in await gather(*asked)])
                    for client in clients:
                        await client.close()
            assert passes[0] == passes[1]
            assert len(endpoint.received) == 4

    run(work())


def test_a_retry_after_a_timeout_joins_the_running_request(tmp_path: Path) -> None:
    async def work() -> None:
        endpoint = Endpoint(lambda number, _: Reply(completion(f"answer {number}"), delay=0.3))
        async with endpoint.serve() as url, gateway(url, tmp_path) as service:
            impatient, patient = Client(service.address), Client(service.address)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(impatient.ask(), 0.05)
            await impatient.close()
            assert (await patient.ask()).content == "answer 0"
            await patient.close()
            assert len(endpoint.received) == 1
            assert service.proxy.counters.joined == 1

    run(work())


def test_an_answer_that_arrived_after_its_client_left_is_replayed_to_the_retry(tmp_path: Path) -> None:
    async def work() -> None:
        endpoint = Endpoint(lambda number, _: Reply(completion(f"answer {number}"), delay=0.05))
        async with endpoint.serve() as url, gateway(url, tmp_path) as service:
            first, second = Client(service.address), Client(service.address)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(first.ask(), 0.02)
            await first.close()
            await settled(lambda: service.proxy.in_flight == 0)
            assert (await second.ask()).content == "answer 0"
            await second.close()
            assert len(endpoint.received) == 1

    run(work())


def test_a_failed_request_frees_its_number(tmp_path: Path) -> None:
    async def work() -> None:
        endpoint = Endpoint(lambda number, _: Reply(completion("later")) if number else Reply(b"{}", status=400))
        async with endpoint.serve() as url:
            async with gateway(url, tmp_path) as service:
                client = Client(service.address)
                assert (await client.ask()).status == 400
                assert (await client.ask()).content == "later"
                await client.close()
            async with gateway(url, tmp_path) as service:
                client = Client(service.address)
                assert (await client.ask()).content == "later"
                await client.close()
                assert len(endpoint.received) == 2

    run(work())


FAILURES = {
    "500": Reply(b"{}", status=500),
    "503": Reply(b"loading", status=503),
    "429": Reply(b"{}", status=429),
    "408": Reply(b"", status=408),
    "connection closed": Reply(raw=b""),
    "response cut off": Reply(raw=b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"),
    "not HTTP": Reply(raw=b"hello there, this is no HTTP\r\n\r\n"),
    "HTML with status 200": Reply(b"<html>busy</html>"),
    "no choices": Reply(b'{"choices": []}'),
    "choices missing": Reply(b'{"object": "error"}'),
    "a list": Reply(b"[]"),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_temporary_failures_are_retried_without_the_client_noticing(failure: str, tmp_path: Path) -> None:
    async def work() -> None:
        endpoint = Endpoint(lambda number, _: FAILURES[failure] if number < 2 else Reply(completion("at last")))
        async with endpoint.serve() as url, gateway(url, tmp_path) as service:
            client = Client(service.address)
            assert (await client.ask()).content == "at last"
            await client.close()
            counters = service.proxy.counters
            assert (counters.tries, counters.retried, counters.failed) == (3, 1, 0)

    run(work())


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
def test_permanent_failures_are_passed_on_at_once(status: int, tmp_path: Path) -> None:
    async def work() -> None:
        endpoint = Endpoint(lambda *_: Reply(b'{"error": "no"}', status=status))
        async with endpoint.serve() as url, gateway(url, tmp_path) as service:
            client = Client(service.address)
            response = await client.ask()
            await client.close()
            assert (response.status, response.body) == (status, b'{"error": "no"}')
            assert len(endpoint.received) == 1
            assert service.proxy.counters.failed == 1

    run(work())


def test_the_last_failure_is_passed_on_when_no_try_is_left(tmp_path: Path) -> None:
    async def work() -> None:
        endpoint = Endpoint(lambda *_: Reply(b"overloaded", status=529))
        async with endpoint.serve() as url, gateway(url, tmp_path, max_retries=2) as service:
            client = Client(service.address)
            assert (await client.ask()).status == 529
            await client.close()
            assert len(endpoint.received) == 3

    run(work())


def test_retry_after_is_obeyed(tmp_path: Path) -> None:
    async def work() -> None:
        busy = Reply(b"{}", status=429, headers={"retry-after": "1"})
        endpoint = Endpoint(lambda number, _: Reply(completion("now")) if number else busy)
        async with endpoint.serve() as url, gateway(url, tmp_path) as service:
            client = Client(service.address)
            started = asyncio.get_running_loop().time()
            assert (await client.ask()).content == "now"
            assert asyncio.get_running_loop().time() - started >= 1.0
            await client.close()

    run(work())


def test_a_slow_response_ends_at_the_timeout_of_one_try(tmp_path: Path) -> None:
    async def work() -> None:
        endpoint = Endpoint(lambda number, _: Reply(completion(f"answer {number}"), delay=0.0 if number else 5.0))
        async with endpoint.serve() as url, gateway(url, tmp_path, request_timeout=0.2) as service:
            client = Client(service.address)
            assert (await client.ask()).content == "answer 1"
            await client.close()

    run(work())


def test_malformed_answers_count_as_paid_and_are_never_replayed(tmp_path: Path) -> None:
    async def work() -> None:
        endpoint = Endpoint(lambda *_: Reply(b'{"choices": []}'))
        async with endpoint.serve() as url:
            for count in (1, 2):
                async with gateway(url, tmp_path, max_retries=0) as service:
                    client = Client(service.address)
                    assert (await client.ask()).body == b'{"choices": []}'
                    await client.close()
                    counters = service.proxy.counters
                    assert (counters.paid, counters.malformed, counters.delivered) == (1, 1, 0)
                assert len(endpoint.received) == count

    run(work())


def test_an_idle_connection_that_the_endpoint_closed_is_replaced_without_counting_a_try(tmp_path: Path) -> None:
    async def work() -> None:
        endpoint = Endpoint(lambda number, _: Reply(completion(f"answer {number}"), close=True))
        async with endpoint.serve() as url, gateway(url, tmp_path) as service:
            client = Client(service.address)
            for number in range(3):
                assert (await client.ask()).content == f"answer {number}"
            await client.close()
            counters = service.proxy.counters
            assert (counters.tries, counters.retried, endpoint.connections) == (3, 0, 3)

    run(work())


def test_key_ignores_headers_and_the_order_of_json_keys_but_nothing_else(tmp_path: Path) -> None:
    async def work() -> None:
        endpoint = Endpoint()
        async with endpoint.serve() as url:
            async with gateway(url, tmp_path) as service:
                client = Client(service.address)
                await client.request("POST", ROUTE, b'{"a": 1, "b": [1, 2]}', {"x-irid": "1"})
                await client.close()
            async with gateway(url, tmp_path) as service:
                client = Client(service.address)
                await client.request("POST", ROUTE, b'{"b":[1,2],"a":1}', {"x-irid": "2"})
                assert len(endpoint.received) == 1
                for target, body in (
                    (ROUTE, b'{"a": 1, "b": [2, 1]}'),
                    (ROUTE, b'{"a": 1, "b": [1, 2], "n": 3}'),
                    (ROUTE, b'{"a": 1.0, "b": [1, 2]}'),
                    (ROUTE + "?x=1", b'{"a": 1, "b": [1, 2]}'),
                    ("/v1/completions", b'{"a": 1, "b": [1, 2]}'),
                ):
                    before = len(endpoint.received)
                    await client.request("POST", target, body)
                    assert len(endpoint.received) == before + 1, (target, body)
                await client.close()

    run(work())


@pytest.mark.parametrize("setting", [{"scope": "slice-2"}, {"upstream_name": "judge"}])
def test_key_holds_slice_and_name_of_the_endpoint(setting: dict[str, str], tmp_path: Path) -> None:
    async def work() -> None:
        endpoint = Endpoint()
        async with endpoint.serve() as url:
            for settings in ({}, setting):
                async with gateway(url, tmp_path, **settings) as service:
                    client = Client(service.address)
                    await client.ask()
                    await client.close()
            assert len(endpoint.received) == 2

    run(work())


def test_the_endpoint_may_move_to_another_port(tmp_path: Path) -> None:
    async def work() -> None:
        first, second = Endpoint(), Endpoint()
        for endpoint in (first, second):
            async with endpoint.serve() as url, gateway(url, tmp_path) as service:
                client = Client(service.address)
                assert (await client.ask()).content == "answer 0"
                await client.close()
        assert (len(first.received), len(second.received)) == (1, 0)

    run(work())


def test_the_harness_never_sees_the_key_of_the_endpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENDPOINT_KEY", "sk-endpoint")
    monkeypatch.setenv("TOKEN", "token-of-the-attempt")

    async def work() -> None:
        endpoint = Endpoint()
        async with (
            endpoint.serve() as url,
            gateway(url, tmp_path, api_key_name="ENDPOINT_KEY", token_name="TOKEN") as service,
        ):
            client = Client(service.address)
            assert (await client.ask(headers={"Authorization": "Bearer wrong"})).status == 401
            assert (await client.ask()).status == 401
            assert not endpoint.received
            response = await client.ask(headers={"Authorization": "Bearer token-of-the-attempt"})
            await client.close()
            assert response.status == 200
            assert endpoint.received[0].headers["authorization"] == "Bearer sk-endpoint"

    run(work())
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"answer 0" in stored
    assert b"sk-endpoint" not in stored
    assert b"token-of-the-attempt" not in stored


def test_without_a_key_no_authorization_is_sent(tmp_path: Path) -> None:
    async def work() -> None:
        endpoint = Endpoint()
        async with endpoint.serve() as url, gateway(url, tmp_path) as service:
            client = Client(service.address)
            await client.ask(headers={"Authorization": "Bearer from-the-harness"})
            await client.close()
            assert "authorization" not in endpoint.received[0].headers

    run(work())


def echo(_: int, request: Received) -> Reply:
    return Reply(json.dumps([request.method, request.target, request.body.decode()]).encode())


@pytest.mark.parametrize(
    ("method", "target", "body"),
    [
        ("GET", "/v1/models", b""),
        ("GET", "/tokenizer_info?x=1&y=%20", b""),
        ("POST", "/tokenize", b'{"prompt": "a"}'),
        ("POST", "/v1/embeddings", b'{"input": "a"}'),
        ("DELETE", "/v1/files/1", b""),
        ("POST", ROUTE, b"not JSON"),
        ("POST", ROUTE, b"[1]"),
    ],
)
def test_other_requests_are_passed_through_unrecorded(method: str, target: str, body: bytes, tmp_path: Path) -> None:
    async def work() -> None:
        endpoint = Endpoint(echo)
        async with endpoint.serve() as url, gateway(url, tmp_path) as service:
            client = Client(service.address)
            for _ in range(2):
                response = await client.request(method, target, body)
                assert json.loads(response.body) == [method, target, body.decode()]
            await client.close()
            assert len(endpoint.received) == 2

    run(work())
    assert not list(tmp_path.iterdir())


def test_a_stream_is_passed_on_as_it_arrives(tmp_path: Path) -> None:
    events = b"data: {}\n\ndata: [DONE]\n\n"
    raw = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + events

    async def work() -> None:
        endpoint = Endpoint(lambda *_: Reply(raw=raw))
        async with endpoint.serve() as url, gateway(url, tmp_path) as service:
            client = Client(service.address)
            response = await client.ask(stream=True)
            await client.close()
            assert (response.headers["content-type"], response.body) == ("text/event-stream", events)
            assert service.proxy.counters.passed_through == 1

    run(work())


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_responses_without_body_keep_the_connection_usable(method: str, status: int, tmp_path: Path) -> None:
    async def work() -> None:
        endpoint = Endpoint(
            lambda number, _: Reply(b"" if number == 0 else b"next", status=status if number == 0 else 200)
        )
        async with endpoint.serve() as url, gateway(url, tmp_path) as service:
            client = Client(service.address)
            assert (await client.request(method, "/v1/models")).status == status
            assert (await client.request("GET", "/v1/models")).body == b"next"
            await client.close()

    run(work())


def test_expect_continue_and_a_chunked_request_are_accepted(tmp_path: Path) -> None:
    async def work() -> None:
        endpoint = Endpoint()
        async with endpoint.serve() as url, gateway(url, tmp_path) as service:
            client = Client(service.address)
            head = f"POST {ROUTE} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
            await client.send(head.encode() + b"Transfer-Encoding: chunked\r\n\r\n")
            assert (await client.read()).status == 100
            await client.send(b'8\r\n{"a": 1}\r\n0\r\n\r\n')
            assert (await client.read()).content == "answer 0"
            await client.close()
            assert endpoint.received[0].json == {"a": 1}

    run(work())


def test_a_malformed_request_is_answered_with_400_and_the_connection_closed(tmp_path: Path) -> None:
    async def work() -> None:
        async with Endpoint().serve() as url, gateway(url, tmp_path) as service:
            client = Client(service.address)
            await client.send(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
            response = await client.read()
            assert response.status == 400
            assert response.headers["connection"] == "close"
            await client.close()

    run(work())


def test_an_answer_over_the_limit_is_passed_on_and_not_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcome_module, "MAX_ANSWER", 1000)
    body = completion("x" * 5000)

    async def work() -> None:
        endpoint = Endpoint(lambda *_: Reply(body))
        async with endpoint.serve() as url:
            for _ in range(2):
                async with gateway(url, tmp_path) as service:
                    client = Client(service.address)
                    assert (await client.ask()).body == body
                    await client.close()
                    assert service.proxy.counters.delivered == 1
            assert len(endpoint.received) == 2

    run(work())


def test_a_retry_of_a_client_that_left_within_an_answer_over_the_limit_receives_a_complete_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outcome_module, "MAX_ANSWER", 1000)
    body = completion("x" * 5000)

    async def work() -> None:
        rest = asyncio.Event()
        requests = 0

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal requests
            requests += 1
            first = requests == 1
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body[:2000])
            if first:
                await rest.wait()
            writer.write(body[2000:])
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}{ROUTE}"
        async with gateway(url, tmp_path) as service:
            reader, writer = await asyncio.open_connection(*service.address.split(":"))
            request = b'{"messages": [{"role": "user", "content": "question"}]}'
            head = b"POST %s HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % (ROUTE.encode(), len(request))
            writer.write(head + request)
            await reader.readuntil(b"xxxx")
            writer.transport.abort()
            client = Client(service.address)
            retried = asyncio.ensure_future(client.request("POST", ROUTE, request))
            await settled(lambda: requests == 2)
            rest.set()
            assert (await retried).body == body
            await client.close()
        server.close()

    run(work())


def test_concurrency_is_limited(tmp_path: Path) -> None:
    async def work() -> None:
        endpoint = Endpoint(lambda number, _: Reply(completion(f"answer {number}"), delay=0.02))
        async with endpoint.serve() as url, gateway(url, tmp_path, max_concurrency=2) as service:
            clients = [Client(service.address) for _ in range(8)]
            await gather(*(client.ask(str(number)) for number, client in enumerate(clients)))
            for client in clients:
                await client.close()
            assert endpoint.most_in_flight == 2

    run(work())


def test_a_full_disk_fails_no_request_and_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fdatasync", full)

    async def work() -> None:
        async with Endpoint().serve() as url, gateway(url, tmp_path) as service:
            client = Client(service.address)
            assert [(await client.ask()).content for _ in range(3)] == ["answer 0", "answer 1", "answer 2"]
            await client.close()
            status = service.proxy.status()
            assert (status["recorded"], status["failed"]) == ("partial", 0)

    run(work())


@pytest.mark.parametrize("setting", [{"max_age": 5.0}, {"ask_again": ["empty"]}, {"replay": False}])
def test_answers_can_be_excluded_from_replay(
    setting: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()

    async def work() -> None:
        endpoint = Endpoint(lambda *_: Reply(completion("")))
        async with endpoint.serve() as url:
            for later, settings in ((0.0, {}), (10.0, setting)):
                monkeypatch.setattr(time, "time", lambda later=later: now + later)
                async with gateway(url, tmp_path, **settings) as service:
                    client = Client(service.address)
                    await client.ask()
                    await client.close()
                    assert service.proxy.counters.flags == {"empty": 1}
            assert len(endpoint.received) == 2

    run(work())


def test_models_of_live_and_replayed_answers_are_told_apart(tmp_path: Path) -> None:
    async def work() -> None:
        endpoint = Endpoint(lambda number, _: Reply(completion("x", model=f"acme-{number}")))
        async with endpoint.serve() as url:
            async with gateway(url, tmp_path) as service:
                client = Client(service.address)
                await client.ask()
                await client.close()
            async with gateway(url, tmp_path) as service:
                client = Client(service.address)
                await client.ask()
                await client.ask()
                await client.close()
                counters = service.proxy.counters
                assert (counters.replayed_models, counters.live_models) == ({"acme-0"}, {"acme-1"})

    run(work())


def test_tokens_are_counted_as_paid_once_and_as_used_with_each_delivery(tmp_path: Path) -> None:
    tokens = {"prompt_tokens": 3, "completion_tokens": 5, "cached_tokens": 0, "without_usage": 0}

    async def work() -> None:
        async with Endpoint().serve() as url:
            for invocation in ("a", "a", "b"):
                async with gateway(url, tmp_path, header={"invocation": invocation}) as service:
                    client = Client(service.address)
                    await client.ask()
                    await client.close()
                    status = service.proxy.status()
                    assert status["used"] == {"requests": 1, **tokens, "cost_usd": None}
                    assert status["paid_total"]["requests"] == (1 if invocation == "a" else 0)
                    assert status["paid_total"]["prompt_tokens"] == (3 if invocation == "a" else 0)

    run(work())


def test_counters_are_written_to_their_file(tmp_path: Path) -> None:
    path = tmp_path / "counters.json"

    async def work() -> None:
        async with Endpoint().serve() as url, gateway(url, counters=str(path)) as service:
            client = Client(service.address)
            await client.ask()
            await client.close()

    run(work())
    counters = json.loads(path.read_text())
    assert (counters["requests"], counters["delivered"], counters["recorded"]) == (1, 1, "off")


READINESS = {"seconds": 20, "body": {"model": "acme", "prompt": "Hi", "max_tokens": 1}}


def test_a_server_that_cannot_answer_yet_is_asked_for_one_token_until_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness_module, "_FIRST_PAUSE", 0.01)
    loading = [Reply(b"loading", status=503), Reply(raw=b""), Reply(b"", status=502), Reply(completion("H"))]

    async def work() -> None:
        endpoint = Endpoint(lambda number, _: loading[number] if number < 4 else Reply(completion("ready")))
        async with (
            endpoint.serve() as url,
            gateway(url, tmp_path, max_retries=0, readiness=READINESS) as service,
        ):
            clients = [Client(service.address) for _ in range(3)]
            responses = await gather(*(client.ask(str(number)) for number, client in enumerate(clients)))
            for client in clients:
                await client.close()
            assert [response.content for response in responses] == ["ready"] * 3
            assert [request.json for request in endpoint.received[:4]] == [READINESS["body"]] * 4
            assert len(endpoint.received) == 7
            assert (service.proxy.counters.paid, service.proxy.counters.tries) == (3, 3)

    run(work())


def test_requests_are_sent_when_the_time_for_loading_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(readiness_module, "_FIRST_PAUSE", 0.01)

    async def work() -> None:
        endpoint = Endpoint(lambda *_: Reply(b"loading", status=503))
        readiness = {**READINESS, "seconds": 0.05}
        async with endpoint.serve() as url, gateway(url, tmp_path, max_retries=0, readiness=readiness) as service:
            client = Client(service.address)
            assert (await client.ask()).status == 503
            await client.close()

    run(work())
    assert "the model server did not answer within 0.05 s: status 503" in capsys.readouterr().err
