"""Real clients behind the gateway: adapter steps, refusals and the health of their answers."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.doubles.openai_server import Fault, Model, OpenAIServer
from tests.integration.harness.test_real_harnesses import METRICS, SUPPORT, small
from tests.support.gateway import Endpoint, Received, Reply, completion
from tests.support.real_harness import environment, run_harness, uv
from tests.support.record import FOLDERS
from tests.support.require import require

from nel_action.executors.gateway import COUNTERS_FILE, gateway_url
from nel_action.gateway.config import load_config
from nel_action.gateway.service import Service
from nel_action.lifecycle.measurements import with_measurements
from nel_action.model.results import TaskResult
from nel_action.retry import Backoff, poll_until

pytestmark = pytest.mark.harness

STEPS = {"system_prompt": "Answer with a number.", "params_to_add": {"top_k": 1}, "reasoning": {}}


THINKING = "<think>it may be 1234567</think>\nLet me think. The answer is {}."


@pytest.fixture(autouse=True)
def _installer() -> None:
    require("harness", uv() is not None, "uv is not installed; it creates the harnesses' environments")


@contextmanager
def gateway(server: OpenAIServer, folder: Path, **settings: object) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run a gateway; yield the URL of its chat route and its process."""
    folder.mkdir(exist_ok=True)
    config, address = folder / "config.json", folder / "address"
    values = {"upstream": server.url(), "record": str(folder / "record"), "counters": str(folder / COUNTERS_FILE)}
    config.write_text(json.dumps(values | settings))
    argv = [
        sys.executable,
        "-m",
        "nel_action.gateway",
        "serve",
        "--config",
        str(config),
        "--address-file",
        str(address),
    ]
    with subprocess.Popen(argv) as process:
        try:
            poll_until(lambda: address.exists() or None, deadline=None, backoff=Backoff(initial=0.02, maximum=0.1))
            yield gateway_url(server.url(), address.read_text().split()[0]), process
        finally:
            process.terminate()


def measured(folder: Path) -> TaskResult:
    empty = TaskResult.model_validate(
        {"task": "t", "model": "m", "job_id": "0.0", "key": "k", "outcome": "succeeded"}, strict=False
    )
    return with_measurements(empty, folder, "")


@pytest.mark.parametrize("name", ["lm_eval", "inspect"])
def test_steps_and_refusals_are_invisible_to_a_real_harness(name: str, tmp_path: Path) -> None:
    faults = [Fault("rate_limit", tries=1, seconds=0)]
    with (
        OpenAIServer(Model(accuracy=1, template=THINKING), faults=faults) as server,
        gateway(server, tmp_path / "gateway", adapter=STEPS, max_retries=2) as (url, _),
    ):
        task = small(name, limit_samples=5, max_retries=0, metric=METRICS[name])
        done = run_harness(name, task, tmp_path / "run", url=url, task_dir=SUPPORT / FOLDERS[name])
    assert done.exit_code == 0, done.log[-2000:]
    assert done.read().scores[0].value == 1
    bodies = [request.body for request in server.requests]
    assert {(body["messages"][0]["content"], body["top_k"]) for body in bodies} == {(STEPS["system_prompt"], 1)}
    assert [request.status for request in server.requests].count(429) == server.answered == 5
    result = measured(tmp_path / "gateway")
    assert result.health is not None
    assert result.used is not None
    assert (result.health.requests, result.health.unanswered, result.health.retried) == (5, 0, 5)
    assert result.used.requests == 5
    assert result.used.prompt_tokens > 0
    assert result.used.cost_usd is None


def test_answers_that_never_came_are_unanswered_for_a_real_harness(tmp_path: Path) -> None:
    with (
        OpenAIServer(Model(accuracy=1), faults=[Fault("garbage", first=2)]) as server,
        gateway(server, tmp_path / "gateway", max_retries=0) as (url, _),
    ):
        task = small("lm_eval", limit_samples=4, parallelism=1, max_retries=0)
        run_harness("lm_eval", task, tmp_path / "run", url=url, task_dir=SUPPORT / FOLDERS["lm_eval"])
    health = measured(tmp_path / "gateway").health
    assert health is not None
    assert (health.requests, health.unanswered) == (4, 3)


SDK = """
import json, sys
import openai
client = openai.OpenAI(base_url=sys.argv[1].rpartition("/chat/")[0], api_key="any", max_retries=0)
ask = {"model": "acme", "messages": [{"role": "user", "content": "1 + 1"}]}
answer = client.chat.completions.create(**ask)
stream = client.chat.completions.create(**ask, stream=True)
print(answer.choices[0].message.content, "".join(chunk.choices[0].delta.content or "" for chunk in stream))
"""
EVENTS = "".join(
    f"data: {json.dumps({'id': '1', 'choices': [{'index': 0, 'delta': {'content': text}}]})}\n\n"
    for text in ("<think>no</think>", "4", "2")
)


def test_the_openai_sdk_gets_answers_without_reasoning_and_streams_as_they_are(tmp_path: Path) -> None:
    def script(_: int, request: Received) -> Reply:
        if request.json.get("stream"):
            return Reply(f"{EVENTS}data: [DONE]\n\n".encode(), headers={"content-type": "text/event-stream"})
        return Reply(completion("<think>no</think>42"))

    async def work() -> str:
        config = {"record": str(tmp_path / "record"), "adapter": STEPS}
        endpoint = Endpoint(script)
        async with endpoint.serve() as url, Service(load_config(json.dumps({"upstream": url, **config}))) as service:
            python = str(environment("inspect") / "bin" / "python")
            process = await asyncio.create_subprocess_exec(
                python, "-c", SDK, gateway_url(url, service.address), stdout=asyncio.subprocess.PIPE
            )
            output, _ = await process.communicate()
            assert [request.json["top_k"] for request in endpoint.received] == [1, 1]
            assert service.proxy.counters.passed_through == 1
            return output.decode()

    assert asyncio.run(work()) == "42 <think>no</think>42\n"
