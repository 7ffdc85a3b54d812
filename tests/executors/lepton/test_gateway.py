"""The gateway inside Lepton jobs: the key stays out of the harness, and a volume keeps the record."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.doubles.openai_server import OpenAIServer
from tests.support.lepton_jobs import LeptonBench, scoring_script, wait
from tests.support.local_jobs import INVOCATION

from nel_action.model.job import JobState
from nel_action.planning.jobs import Job
from nel_action.spec.gateway import Gateway
from nel_action.spec.target import ApiEndpoint, Target

pytestmark = pytest.mark.slow

API_KEY = "sk-known-value-of-the-target"
ASK = """
import urllib.request
for number in range(3):
    body = {"model": "fake", "messages": [{"role": "user", "content": f"{number} + 1"}]}
    headers = {"Authorization": "Bearer " + os.environ["MODEL_KEY"], "Content-Type": "application/json"}
    request = urllib.request.Request(os.environ["NEL_URL"], json.dumps(body).encode(), headers)
    urllib.request.urlopen(request).read()
(out / "environ.json").write_text(json.dumps(dict(os.environ)))
"""


@pytest.fixture
def server(bench: LeptonBench) -> Iterator[OpenAIServer]:
    bench.environ = {**bench.environ, "MODEL_KEY": API_KEY}
    with OpenAIServer(api_key=API_KEY) as running:
        yield running


def gateway_job(bench: LeptonBench, server: OpenAIServer, name: str, *, fails: bool = False) -> Job:
    endpoint = ApiEndpoint(url=server.url("chat"), model_id="fake", api_key_name="MODEL_KEY")
    script = scoring_script("started", extra=ASK + ("sys.exit(1)" if fails else ""))
    fields: dict[str, Any] = {"target": Target(api_endpoint=endpoint), "env": {"MODEL_KEY": "host:MODEL_KEY"}}
    return replace(bench.job(name, script, **fields), gateway=Gateway())


def test_harness_receives_answers_and_a_token_and_the_log_names_the_missing_record(
    bench: LeptonBench, server: OpenAIServer, tmp_path: Path
) -> None:
    executor = bench.executor()
    attempt = executor.submit(gateway_job(bench, server, "a"), 1, INVOCATION)
    (status,) = wait(executor, [attempt]).values()
    log = "\n".join(executor.logs(attempt, follow=False))
    assert status.state is JobState.SUCCEEDED, log
    assert "no volume is mounted: the requests of this job are not recorded" in log
    executor.collect(attempt, tmp_path / "into")
    environ = json.loads((tmp_path / "into/artifacts/environ.json").read_text())
    assert environ["MODEL_KEY"]
    assert API_KEY not in json.dumps(environ)
    counters = json.loads((tmp_path / "into/logs/gateway.json").read_text())
    assert (counters["delivered"], counters["recorded"]) == (3, "off")
    assert {request.key for request in server.requests} == {API_KEY}


def test_next_attempt_replays_the_record_on_the_volume_which_a_success_closes(
    bench: LeptonBench, server: OpenAIServer
) -> None:
    mount = {"from": "node-nfs:fs", "path": "/runs", "mount_path": "/mnt/volume"}
    executor = bench.executor(
        lepton_platform={"tasks": {"mounts": (mount,)}}, evaluation_tasks={"use_shared_storage": True}
    )
    failing = gateway_job(bench, server, "a", fails=True)
    (status,) = wait(executor, [executor.submit(failing, 1, INVOCATION)]).values()
    assert status.state is JobState.FAILED
    job = replace(gateway_job(bench, server, "a"), key=failing.key)
    (status,) = wait(executor, [executor.submit(job, 2, INVOCATION)]).values()
    assert status.state is JobState.SUCCEEDED
    assert len(server.requests) == 3
    record = bench.double.settings.volumes["node-nfs:fs"] / "runs" / "nel-action" / "record" / failing.key
    assert [path.name for path in record.iterdir()] == ["1"]
    assert (record / "1" / "closed").exists()
    assert [path for path in record.rglob("*") if path.is_file() and API_KEY.encode() in path.read_bytes()] == []
