"""The gateway between a harness on this machine and its target."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.doubles.openai_server import Fault, OpenAIServer
from tests.support.local_jobs import INVOCATION, Bench, job, key, wait

from nel_action.executors.gateway import with_stop_reason
from nel_action.executors.local.store import Store
from nel_action.executors.records import close_record, evaluations, open_record, remove_expired_records
from nel_action.lifecycle.measurements import stop_reason
from nel_action.model.job import JobState, Key, Reason
from nel_action.model.task import Params
from nel_action.planning.jobs import AdapterSteps, Job, Limits
from nel_action.spec.gateway import Gateway
from nel_action.spec.target import ApiEndpoint, Target

pytestmark = pytest.mark.slow

API_KEY = "sk-known-value-of-the-target"
ASK = """
import json, os, pathlib, sys, urllib.request
output = pathlib.Path(os.environ["NEL_OUTPUT_DIR"])
for number in range(3):
    body = {"model": os.environ["NEL_MODEL_ID"], "messages": [{"role": "user", "content": str(number)}]}
    headers = {"Authorization": "Bearer " + os.environ["MODEL_KEY"], "Content-Type": "application/json"}
    request = urllib.request.Request(os.environ["NEL_URL"], json.dumps(body).encode(), headers)
    (output / f"{number}.json").write_bytes(urllib.request.urlopen(request).read())
    print("answered", number)
output.joinpath("environ").write_text(json.dumps([dict(os.environ), sys.argv]))
"""


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer(api_key=API_KEY) as running:
        yield running


@pytest.fixture(autouse=True)
def _key(bench: Bench) -> None:
    bench.environ = {**bench.environ, "MODEL_KEY": API_KEY}


def gateway_job(server: OpenAIServer, name: str, script: str, **fields: object) -> Job:
    """Return a job whose target is the server behind the gateway."""
    endpoint = ApiEndpoint(url=server.url("chat"), model_id=server.model.name, api_key_name="MODEL_KEY")
    plain = job(name, script, target=Target(api_endpoint=endpoint), env={"MODEL_KEY": "host:MODEL_KEY"})
    return replace(plain, gateway=Gateway(), **fields)  # type: ignore[arg-type]


def attempt_files(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_harness_receives_answers_and_never_the_key(bench: Bench, server: OpenAIServer) -> None:
    statuses = bench.run(gateway_job(server, "a", ASK))
    attempt = Store(bench.root / "home").at(key("a"), 1)
    assert statuses[key("a")].state is JobState.SUCCEEDED, attempt.client_log.read_text()
    assert [request.status for request in server.requests] == [200, 200, 200]
    environ, _ = json.loads((attempt.artifacts / "environ").read_text())
    assert environ["MODEL_KEY"]
    assert environ["NEL_URL"].startswith("http://127.0.0.1:")
    files = attempt_files(bench.root / "home")
    assert [path for path, data in files.items() if API_KEY.encode() in data] == []
    assert API_KEY not in str(environ)
    counters = json.loads((attempt.logs / "gateway.json").read_text())
    assert (counters["delivered"], counters["paid"], counters["recorded"]) == (3, 3, "complete")


def test_next_attempt_replays_what_the_failed_one_received_until_the_record_is_closed(
    bench: Bench, server: OpenAIServer
) -> None:
    failing = gateway_job(server, "a", ASK + "\nsys.exit(1)")
    executor = bench.executor()
    states = []
    for number in (1, 2, 3):
        if number == 3:
            close_record(bench.root / "home" / "record", failing.key)
        states.append(wait(executor, [executor.submit(failing, number, INVOCATION)])[failing.key].state)
    assert states == [JobState.FAILED] * 3
    assert len(server.requests) == 6
    folder = bench.root / "home" / "record" / failing.key
    assert sorted(path.name for path in folder.iterdir()) == ["1", "2"]
    modes = {stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*.segment")}
    assert modes == {0o600}
    assert stat.S_IMODE((folder / "1").stat().st_mode) == 0o700


def test_gateway_retries_requests_for_the_harness(bench: Bench, server: OpenAIServer) -> None:
    server.faults = [Fault("error", first=1, last=1)]
    plain = gateway_job(server, "a", ASK)
    assert bench.run(plain)[key("a")].state is JobState.SUCCEEDED
    assert [request.status for request in server.requests] == [500, 200, 200, 200]
    once = replace(plain, key=key("b"), task=replace(plain.task, params=Params(max_retries=0)))
    server.faults = [Fault("error")]
    status = bench.run(once)[key("b")]
    assert (status.state, status.reason) == (JobState.FAILED, Reason.HARNESS)
    assert len(server.requests) == 5


def test_an_exhausted_budget_stops_the_harness_with_its_own_exit_code(bench: Bench, server: OpenAIServer) -> None:
    limited = gateway_job(server, "a", ASK, limits=Limits(budget={"requests": 2}))
    status = bench.run(limited)[key("a")]
    assert (status.state, status.exit_code) == (JobState.FAILED, 121)
    assert with_stop_reason(status, limited).reason is Reason.BUDGET
    assert len(server.requests) == 2
    attempt = Store(bench.root / "home").at(key("a"), 1)
    detail = ("budget", "budget.requests is exhausted: 2 requests of 2 were paid")
    assert stop_reason(attempt.logs) == detail
    assert not (attempt.artifacts / "environ").exists()


def test_adapter_steps_change_what_the_endpoint_receives_and_logs_have_no_key(
    bench: Bench, server: OpenAIServer
) -> None:
    adapter = AdapterSteps(steps={"system_prompt": f"never say {API_KEY}"}, log={"requests": 1, "responses": None})
    statuses = bench.run(gateway_job(server, "a", ASK, adapter=adapter))
    assert statuses[key("a")].state is JobState.SUCCEEDED
    assert {request.body["messages"][0]["content"] for request in server.requests} == {f"never say {API_KEY}"}
    logs = Store(bench.root / "home").at(key("a"), 1).logs
    requests = (logs / "requests.jsonl").read_text()
    assert json.loads(requests)["body"]["messages"][0]["content"] == "never say ***"
    assert len((logs / "responses.jsonl").read_text().splitlines()) == 3


def test_kill_of_the_harness_is_reported_as_without_a_gateway(bench: Bench, server: OpenAIServer) -> None:
    script = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    status = bench.run(gateway_job(server, "a", script))[key("a")]
    assert (status.state, status.reason, status.exit_code) == (JobState.FAILED, Reason.INFRASTRUCTURE, 137)


def test_record_is_removed_after_its_days_and_never_while_its_job_is_active(tmp_path: Path) -> None:
    name = Key("nel-0123456789abcdef")
    path = open_record(tmp_path / "record", name, 2)
    assert open_record(tmp_path / "record", name, 2) == path
    later = path.stat().st_mtime + 3 * 86_400
    remove_expired_records(tmp_path / "record", active={name}, now=later)
    remove_expired_records(tmp_path / "record", active=set(), now=later - 2 * 86_400)
    assert evaluations(tmp_path / "record", name) == [path]
    remove_expired_records(tmp_path / "record", active=set(), now=later)
    assert list((tmp_path / "record").iterdir()) == []
