"""Adapter steps: what the endpoint receives, and what the harness receives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.gateway.test_proxy import gateway, run
from tests.support.gateway import Client, Endpoint, Reply, completion

from nel_action.gateway import exchange_log as exchange_log_module
from nel_action.gateway.adapter import Adapter, AdapterError
from nel_action.gateway.exchange_log import ExchangeLog

BODY = {
    "model": "acme",
    "messages": [{"role": "system", "content": "old"}, {"role": "user", "content": "hi"}],
    "top_k": 3,
}


def roles(strategy: str | None) -> list[str]:
    config = {"system_prompt": "new"} | ({"system_prompt_strategy": strategy} if strategy else {})
    return [message["content"] for message in Adapter(config).request(BODY)["messages"]]


def test_a_system_prompt_is_prepended_replaces_or_is_appended() -> None:
    assert roles(None) == roles("prepend") == ["new", "old", "hi"]
    assert roles("replace") == ["new", "hi"]
    assert roles("append") == ["old", "hi", "new"]


def test_parameters_are_removed_then_added_then_renamed() -> None:
    adapter = Adapter(
        {
            "params_to_remove": ["top_k", "missing"],
            "params_to_add": {"max_tokens": 7, "top_k": 9},
            "params_to_rename": {"max_tokens": "max_completion_tokens", "absent": "x"},
        }
    )
    changed = adapter.request(BODY)
    assert changed == {"model": "acme", "messages": BODY["messages"], "top_k": 9, "max_completion_tokens": 7}
    assert BODY["top_k"] == 3


def answer(content: object, reasoning: dict[str, Any], **message: object) -> object:
    body = json.dumps({"choices": [{"message": {"role": "assistant", "content": content, **message}}]}).encode()
    shown: object = json.loads(Adapter({"reasoning": reasoning}).answer(body))["choices"][0]["message"]["content"]
    return shown


PARTS = [{"type": "thinking", "thinking": "a"}, {"type": "text", "text": "<think>b</think>42"}]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("<think>\nlong\n</think>\n\n42", "42"),
        ("no start token</think>42", "42"),
        ("<think>a</think>b<think>c</think>d", "d"),
        ("<think>only", "<think>only"),
        ("plain 42", "plain 42"),
        ("", ""),
        (None, None),
        (PARTS, [{"type": "text", "text": "42"}]),
    ],
)
def test_reasoning_is_removed_from_text_and_parts(content: object, expected: object) -> None:
    assert answer(content, {}) == expected


def test_unfinished_reasoning_is_left_out_if_configured() -> None:
    config = {"keep_unfinished": False}
    assert answer("<think>only", config) == ""
    assert answer("plain 42", config) == "plain 42"
    assert answer("without a start token", {**config, "start": None}) == ""
    assert answer("42", {**config, "start": None}, reasoning_content="long") == "42"


def test_tokens_of_reasoning_can_be_others_and_completions_have_text() -> None:
    body = b'{"choices": [{"text": "[R]x[/R]42"}]}'
    config = {"reasoning": {"start": "[R]", "end": "[/R]"}}
    assert json.loads(Adapter(config).answer(body)) == {"choices": [{"text": "42"}]}


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"choices": 3}', b'{"choices": [1, null]}', b'{"error": 1}'])
def test_answers_of_another_form_are_passed_on(body: bytes) -> None:
    assert Adapter({"reasoning": {}}).answer(body) == body


@pytest.mark.parametrize(
    "config",
    [
        {"system_promt": "x"},
        {"system_prompt": 3},
        {"system_prompt": "x", "system_prompt_strategy": "before"},
        {"params_to_add": []},
        {"params_to_remove": "x"},
        {"reasoning": True},
        {"reasoning": {"end": ""}},
        {"reasoning": {"stop": "x"}},
    ],
)
def test_mistakes_in_the_configuration_are_reported(config: dict[str, object]) -> None:
    with pytest.raises(AdapterError, match="adapter"):
        Adapter(config)


def test_requests_are_changed_before_they_are_keyed_and_answers_after_they_are_recorded(tmp_path: Path) -> None:
    steps = {"system_prompt": "be brief", "params_to_add": {"top_k": 1}, "reasoning": {}}

    async def work() -> None:
        endpoint = Endpoint(lambda *_: Reply(completion("<think>hm</think>\n42")))
        async with endpoint.serve() as url:
            for _ in range(2):
                async with gateway(url, tmp_path, adapter=steps) as service:
                    client = Client(service.address)
                    assert (await client.ask()).content == "42"
                    await client.close()
            assert len(endpoint.received) == 1
            sent = endpoint.received[0].json
            assert sent["top_k"] == 1
            assert sent["messages"][0] == {"role": "system", "content": "be brief"}
            async with gateway(url, tmp_path, adapter={"reasoning": {}}) as service:
                client = Client(service.address)
                await client.ask()
                await client.close()
            assert len(endpoint.received) == 2

    run(work())
    assert b"<think>hm</think>" in b"".join(path.read_bytes() for path in tmp_path.iterdir())


def test_an_answer_of_reasoning_alone_is_unanswered(tmp_path: Path) -> None:
    steps = {"reasoning": {"keep_unfinished": False}}

    async def work() -> None:
        endpoint = Endpoint(lambda *_: Reply(completion("<think>too long", finish_reason="length")))
        async with endpoint.serve() as url, gateway(url, tmp_path, adapter=steps) as service:
            client = Client(service.address)
            assert (await client.ask()).content == ""
            await client.close()
            health = service.proxy.counters.health
            assert (health["unanswered"], health["cut"], health["empty"]) == (1, 1, 0)

    run(work())


def test_streams_are_sent_changed_and_passed_on_as_they_are(tmp_path: Path) -> None:
    events = b'data: {"choices": [{"delta": {"content": "<think>x</think>y"}}]}\n\ndata: [DONE]\n\n'

    async def work() -> None:
        endpoint = Endpoint(lambda *_: Reply(events, headers={"content-type": "text/event-stream"}))
        steps = {"system_prompt": "be brief", "reasoning": {}}
        async with endpoint.serve() as url, gateway(url, tmp_path, adapter=steps) as service:
            client = Client(service.address)
            assert (await client.ask(stream=True)).body == events
            await client.close()
            assert endpoint.received[0].json["messages"][0]["content"] == "be brief"

    run(work())


def entries(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_requests_and_responses_are_logged_without_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENDPOINT_KEY", "sk-endpoint")
    monkeypatch.setenv("TOKEN", "token-of-the-attempt")
    logs = tmp_path / "logs"
    settings: dict[str, object] = {
        "log": {"requests": None, "responses": 1, "failed": True},
        "log_directory": str(logs),
        "api_key_name": "ENDPOINT_KEY",
        "token_name": "TOKEN",
    }

    async def work() -> None:
        replies = [Reply(completion("you sent sk-endpoint")), Reply(completion("second")), Reply(b"sk-endpoint?", 400)]
        endpoint = Endpoint(lambda number, _: replies[number])
        async with endpoint.serve() as url, gateway(url, None, **settings) as service:
            client = Client(service.address)
            for prompt in ("a", "my token is token-of-the-attempt", "c"):
                await client.ask(prompt, headers={"Authorization": "Bearer token-of-the-attempt"})
            await client.close()

    run(work())
    requests, responses = entries(logs / "requests.jsonl"), entries(logs / "responses.jsonl")
    assert [entry["body"]["messages"][0]["content"] for entry in requests] == ["a", "my token is ***", "c"]
    assert [(entry["status"], entry["replayed"]) for entry in responses] == [(200, False), (400, False)]
    assert responses[0]["body"]["choices"][0]["message"]["content"] == "you sent ***"
    assert responses[1]["body"] == "***?"
    assert (logs / "requests.jsonl").stat().st_mode & 0o777 == 0o600


def test_a_log_ends_at_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange_log_module, "MAX_FILE", 300)
    log = ExchangeLog(str(tmp_path), {"requests": None}, secrets=())
    for number in range(20):
        log.request("/v1", b'{"n": %d}' % number)
    log.close()
    assert 0 < len(entries(tmp_path / "requests.jsonl")) < 20
