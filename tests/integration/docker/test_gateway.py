"""The gateway beside a harness's container: the target's key stays outside, and both survive their supervisor."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.doubles.openai_server import OpenAIServer
from tests.support.local_jobs import INVOCATION, Bench, job, key, supervisor_pid, wait

from nel_action.executors.gateway import with_stop_reason
from nel_action.executors.local.attempt import AttemptDir
from nel_action.executors.local.docker.run import container_name
from nel_action.executors.local.store import Store
from nel_action.executors.local.supervisor import ensure_supervisor
from nel_action.model.job import JobState, Reason
from nel_action.planning.jobs import Job, Limits
from nel_action.spec.gateway import Gateway
from nel_action.spec.target import ApiEndpoint, Target

if TYPE_CHECKING:
    from docker import DockerClient

pytestmark = pytest.mark.docker

API_KEY = "sk-known-value-of-the-target"
ASK = """
ask() {
    body='{"model": "fake", "messages": [{"role": "user", "content": "'$1'"}]}'
    wget -q -O $NEL_OUTPUT_DIR/$1.json --header "Authorization: Bearer $MODEL_KEY" \\
        --header "Content-Type: application/json" --post-data "$body" $NEL_URL
}
ask 1 && ask 2 || exit 1
"""


@pytest.fixture
def server(bench: Bench) -> Iterator[OpenAIServer]:
    bench.environ = {**bench.environ, "MODEL_KEY": API_KEY}
    with OpenAIServer(api_key=API_KEY) as running:
        yield running


def gateway_job(server: OpenAIServer, image: str, script: str) -> Job:
    """Return a job whose target listens on this machine's loopback interface only."""
    endpoint = ApiEndpoint(url=server.url("chat"), model_id="fake", api_key_name="MODEL_KEY")
    fields: dict[str, Any] = {"target": Target(api_endpoint=endpoint), "env": {"MODEL_KEY": "host:MODEL_KEY"}}
    return replace(job("one", "", image=image, command=("sh", "-c", script), **fields), gateway=Gateway())


def attempt_dir(bench: Bench) -> AttemptDir:
    return Store(bench.root / "home").at(key("one"), 1)


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def gateway_pid(bench: Bench) -> int:
    return int((attempt_dir(bench).path / "gateway.address").read_text().split()[1])


def test_container_receives_answers_of_a_loopback_target_and_never_the_key(
    bench: Bench, engine: DockerClient, image: str, server: OpenAIServer
) -> None:
    executor = bench.executor()
    attempt = executor.submit(
        gateway_job(server, image, f"{ASK}\nuntil test -e go; do sleep 0.05; done"), 1, INVOCATION
    )
    directory = attempt_dir(bench)
    until(lambda: (directory.artifacts / "2.json").exists() or directory.finished)
    attrs = engine.containers.get(container_name(directory)).attrs
    (directory.work / "go").touch()
    statuses = wait(executor, [attempt])
    assert statuses[key("one")].state is JobState.SUCCEEDED, directory.client_log.read_text()
    assert [request.status for request in server.requests] == [200, 200]
    assert API_KEY not in json.dumps(attrs)
    assert "MODEL_KEY=" in json.dumps(attrs)
    files = {str(path): path.read_bytes() for path in (bench.root / "home").rglob("*") if path.is_file()}
    assert [path for path, data in files.items() if API_KEY.encode() in data] == []
    until(lambda: not Path(f"/proc/{gateway_pid(bench)}/exe").exists())


def test_death_of_the_gateway_begins_another_pass_that_replays_the_answers(
    bench: Bench, image: str, server: OpenAIServer
) -> None:
    executor = bench.executor()
    script = f"{ASK}\ntest -e go && exit 0; touch waiting; sleep 60"
    attempt = executor.submit(gateway_job(server, image, script), 1, INVOCATION)
    directory = attempt_dir(bench)
    until(lambda: (directory.work / "waiting").exists() or directory.finished)
    (directory.work / "go").touch()
    os.kill(gateway_pid(bench), signal.SIGKILL)
    statuses = wait(executor, [attempt])
    assert statuses[key("one")].state is JobState.SUCCEEDED, directory.client_log.read_text()
    assert len(server.requests) == 2
    assert json.loads((directory.logs / "gateway.json").read_text())["replayed"] == 2


def test_next_supervisor_adopts_the_gateway_with_its_container(bench: Bench, image: str, server: OpenAIServer) -> None:
    executor = bench.executor()
    script = f"touch waiting; until test -e go; do sleep 0.05; done; {ASK}"
    attempt = executor.submit(gateway_job(server, image, script), 1, INVOCATION)
    directory, home = attempt_dir(bench), bench.root / "home"
    until(lambda: (directory.work / "waiting").exists() or directory.finished)
    pid = gateway_pid(bench)
    os.kill(supervisor_pid(home, INVOCATION), signal.SIGKILL)
    until(lambda: ensure_supervisor(Store(home), Store(home).queue(INVOCATION), bench.environ))
    (directory.work / "go").touch()
    assert wait(executor, [attempt])[key("one")].state is JobState.SUCCEEDED, directory.client_log.read_text()
    assert gateway_pid(bench) == pid
    until(lambda: not Path(f"/proc/{pid}/exe").exists())


def test_an_exhausted_budget_stops_the_container_even_if_the_harness_ignores_it(
    bench: Bench, image: str, server: OpenAIServer
) -> None:
    script = ASK.replace("ask 1 && ask 2 || exit 1", "ask 1; ask 2; exit 0")
    limited = replace(gateway_job(server, image, script), limits=Limits(budget={"requests": 1}))
    executor = bench.executor()
    status = wait(executor, [executor.submit(limited, 1, INVOCATION)])[key("one")]
    assert (status.state, status.exit_code) == (JobState.FAILED, 121), status
    assert with_stop_reason(status, limited).reason is Reason.BUDGET
    assert len(server.requests) == 1
