from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from tests.doubles.openai_server import Fault, Kind, Model, OpenAIServer, parse_fault


def chat(server: OpenAIServer, question: str = "What is 2 + 3?", **fields: object) -> requests.Response:
    body = {"model": "fake", "messages": [{"role": "user", "content": question}]} | fields
    headers = {"Authorization": f"Bearer {key}"} if (key := fields.pop("key", None)) else {}
    return requests.post(server.url("chat"), json=body, headers=headers, timeout=5)


def text_of(response: requests.Response) -> str:
    answer: str = response.json()["choices"][0]["message"]["content"]
    return answer


@pytest.fixture
def accurate_server() -> Iterator[OpenAIServer]:
    with OpenAIServer(Model(accuracy=1)) as server:
        yield server


def test_model_is_deterministic_with_about_the_chosen_accuracy() -> None:
    model = Model(accuracy=0.75)
    questions = [f"What is {left} + {right}?" for left in range(40) for right in range(25)]
    correct = [f" {model.right(question)}." in model.says(question) for question in questions]
    assert 0.7 < sum(correct) / len(correct) < 0.8
    assert correct == [model.knows(question) for question in questions]
    assert correct != [Model(accuracy=0.75, salt="other").knows(question) for question in questions]


def test_few_shot_examples_do_not_change_an_answer() -> None:
    model = Model()
    for number in range(20):
        question = f"What is {number} * 3?"
        assert model.says(f"What is 1 + 1? 2\n{question}") == model.says(question)


def test_server_records_requests(accurate_server: OpenAIServer) -> None:
    response = chat(accurate_server, temperature=0.5, key="a-key")
    assert text_of(response) == "Let me think. The answer is 5."
    (request,) = accurate_server.requests
    assert (request.path, request.key, request.status, request.body["temperature"]) == (
        "/v1/chat/completions",
        "a-key",
        200,
        0.5,
    )


@pytest.mark.parametrize(
    ("fields", "key", "status"),
    [
        ({}, "right", 200),
        ({}, "wrong", 401),
        ({}, None, 401),
        ({"model": "other"}, "right", 404),
        ({"messages": []}, "right", 400),
        ({"messages": [{"role": "unknown", "content": ""}]}, "right", 400),
        ({"stream": True}, "right", 400),
    ],
)
def test_server_validates_requests(fields: dict[str, Any], key: str | None, status: int) -> None:
    with OpenAIServer(api_key="right") as server:
        assert chat(server, key=key, **fields).status_code == status


def test_server_applies_stop_words_and_token_limits(accurate_server: OpenAIServer) -> None:
    assert text_of(chat(accurate_server, stop=[" The"])) == "Let me think."
    truncated = chat(accurate_server, max_tokens=2)
    assert text_of(truncated) == "Let me"
    assert truncated.json()["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize("tokens", [False, True])
def test_the_models_answer_has_the_highest_likelihood(accurate_server: OpenAIServer, tokens: bool) -> None:  # noqa: FBT001
    def likelihood(continuation: str) -> float:
        context = "What is 2 + 3? Answer:"
        text = context + continuation
        prompt: object = list(text.encode()) if tokens else text
        body = {"model": "fake", "prompt": prompt, "echo": True, "logprobs": 1, "max_tokens": 1}
        choice = requests.post(accurate_server.url("completions"), json=body, timeout=5).json()["choices"][0]
        values: list[float] = choice["logprobs"]["token_logprobs"][len(context) : -1]
        assert len(values) == len(continuation)
        return sum(values)

    assert max((" 4", " 5", " 6"), key=likelihood) == " 5"


def test_detokenize_reverses_tokenize(accurate_server: OpenAIServer) -> None:
    base = accurate_server.url("completions").removesuffix("/v1/completions")
    tokens = requests.post(f"{base}/tokenize", json={"prompt": "Äpfel"}, timeout=5).json()["tokens"]
    assert requests.post(f"{base}/detokenize", json={"tokens": tokens}, timeout=5).json() == {"prompt": "Äpfel"}


@pytest.mark.parametrize(("kind", "status"), [("error", 500), ("rate_limit", 429), ("unauthorized", 401)])
def test_a_fault_affects_the_chosen_requests(kind: Kind, status: int) -> None:
    with OpenAIServer(faults=[Fault(kind, first=2, last=3, seconds=2)]) as server:
        responses = [chat(server) for _ in range(4)]
        assert [response.status_code for response in responses] == [200, status, status, 200]
        assert responses[1].headers.get("Retry-After") == ("2" if kind == "rate_limit" else None)
        assert server.answered == 2


def test_a_fault_can_affect_each_question_once() -> None:
    with OpenAIServer(faults=[Fault("error", tries=1)]) as server:
        statuses = [chat(server, question).status_code for question in ("1 + 1", "2 + 2", "1 + 1", "2 + 2")]
        assert statuses == [500, 500, 200, 200]


def test_drop_closes_the_connection() -> None:
    with OpenAIServer(faults=[Fault("drop")]) as server:
        with pytest.raises(requests.ConnectionError):
            chat(server)
        assert [request.status for request in server.requests] == [0]


def test_faults_of_the_response_body() -> None:
    faults = [Fault("malformed", last=1), Fault("garbage", first=2, last=2), Fault("empty", first=3)]
    with OpenAIServer(faults=faults) as server:
        with pytest.raises(requests.JSONDecodeError):
            chat(server).json()
        assert "choices" not in chat(server).json()
        assert not text_of(chat(server))


@pytest.mark.parametrize(
    ("text", "fault"),
    [("drop", Fault("drop")), ("error:11-20", Fault("error", 11, 20)), ("error:3", Fault("error", 3, 3)),
     ("error:3-", Fault("error", 3))],
)  # fmt: skip
def test_parse_fault_reads_kind_and_range(text: str, fault: Fault) -> None:
    assert parse_fault(text) == fault


def test_server_runs_as_a_program() -> None:
    argv = [sys.executable, "-m", "tests.doubles.openai_server", "--accuracy", "1", "--api-key-env", "KEY"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=os.environ | {"KEY": "k"}) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            (url,) = re.findall(r"http://\S+", line)
            assert requests.post(url, json={}, timeout=5).status_code == 401
        finally:
            process.terminate()
