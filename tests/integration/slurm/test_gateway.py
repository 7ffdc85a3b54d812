"""The gateway inside Slurm jobs: a continuation replays what the jobs before it received."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from tests.doubles.openai_server import Fault, OpenAIServer
from tests.integration.slurm.conftest import MakeExecutor
from tests.support.slurm.cluster import Cluster
from tests.support.slurm.daemons import wait_until
from tests.support.slurm.jobs import shell_job
from tests.support.slurm.waiting import until_final

from nel_action.executors.slurm.executor import SlurmExecutor
from nel_action.model.job import Attempt, JobState, Reason
from nel_action.planning.jobs import Job
from nel_action.spec.gateway import Gateway
from nel_action.spec.target import ApiEndpoint, Target

API_KEY = "sk-known-value-of-the-target"
ITEMS, CONCURRENCY = 60, 4
ASK = f"""\
/usr/bin/python3 - <<'END'
import concurrent.futures, json, os, urllib.request

def ask(number):
    body = {{"model": "fake", "messages": [{{"role": "user", "content": f"{{number}} + 1"}}]}}
    headers = {{"Authorization": "Bearer " + os.environ["MODEL_KEY"], "Content-Type": "application/json"}}
    request = urllib.request.Request(os.environ["NEL_URL"], json.dumps(body).encode(), headers)
    return json.load(urllib.request.urlopen(request))["choices"][0]["message"]["content"]

with concurrent.futures.ThreadPoolExecutor({CONCURRENCY}) as pool:
    answers = list(pool.map(ask, range({ITEMS})))
output = os.environ["NEL_OUTPUT_DIR"]
json.dump([answers, dict(os.environ)], open(f"{{output}}/answers.json", "w"))
json.dump({{"scores": {{"accuracy": {{"value": 0.5}}}}, "n_items": {ITEMS}}}, open(f"{{output}}/scores.json", "w"))
END
"""


def gateway_job(folder: Path, server: OpenAIServer, text: str = ASK) -> Job:
    endpoint = ApiEndpoint(url=server.url("chat"), model_id="fake", api_key_name="MODEL_KEY")
    plain = shell_job(folder, text, target=Target(api_endpoint=endpoint), env={"MODEL_KEY": "host:MODEL_KEY"})
    return replace(plain, gateway=Gateway())


def directory(executor: SlurmExecutor, attempt: Attempt) -> Path:
    return Path(executor.describe(attempt)["directory"])


def job_ids(cluster: Cluster, attempt: Attempt) -> list[str]:
    name = f"{attempt.key}-{attempt.number}"
    return cluster.run("squeue", "-h", "-t", "RUNNING", "-n", name, "-o", "%i").split()


def until_asked(server: OpenAIServer, count: int) -> None:
    wait_until(lambda: len(server.requests) >= count, seconds=90, what=f"{count} requests")


def warn(cluster: Cluster, attempt: Attempt) -> str:
    """Send the warning before the time limit to the running job; return its ID."""
    (running,) = job_ids(cluster, attempt)
    cluster.run("scancel", "-s", "USR1", "-b", running)
    wait_until(lambda: running not in job_ids(cluster, attempt), seconds=60, what="the job to stop")
    return running


def test_continuations_after_16_and_31_requests_pay_for_60_items_once(
    on_light: MakeExecutor, light: Cluster, tmp_path: Path
) -> None:
    executor = on_light(max_resumes=3, environ={"MODEL_KEY": API_KEY})
    with OpenAIServer(api_key=API_KEY, faults=[Fault("slow", seconds=0.5)]) as server:
        job = gateway_job(tmp_path, server)
        attempt = executor.submit(job, 1, "0" * 16)
        for count in (16, 31):
            until_asked(server, count)
            warn(light, attempt)
        status = until_final(executor, attempt, seconds=120)
    folder = directory(executor, attempt)
    assert status.state is JobState.SUCCEEDED, (status, *(path.read_text() for path in folder.glob("logs/*.log")))
    assert ITEMS <= len(server.requests) <= ITEMS + 2 * CONCURRENCY
    answers, environ = json.loads((folder / "run/artifacts/answers.json").read_text())
    assert len(answers) == ITEMS
    assert environ["MODEL_KEY"] != API_KEY
    assert "NEL_ACTION_UPSTREAM_KEY" not in environ
    root = folder.parent
    assert [path for path in root.rglob("*") if path.is_file() and API_KEY.encode() in path.read_bytes()] == []
    counters = json.loads((folder / "logs/gateway.json").read_text())
    assert (counters["delivered"], counters["recorded"]) == (ITEMS, "complete")
    executor.close_record(attempt)
    assert [path.name for path in (root / "record" / job.key / "1").glob("closed")] == ["closed"]


def test_a_chain_whose_last_job_received_no_new_answer_stops_with_that_reason(
    on_light: MakeExecutor, light: Cluster, tmp_path: Path
) -> None:
    executor = on_light(max_resumes=3, environ={"MODEL_KEY": API_KEY})
    with OpenAIServer(api_key=API_KEY) as server:
        attempt = executor.submit(gateway_job(tmp_path, server, f"{ASK}\nsleep 600"), 1, "0" * 16)
        answers = directory(executor, attempt) / "run/artifacts/answers.json"
        for _ in range(2):
            wait_until(answers.exists, seconds=90, what="the answers")
            answers.unlink()
            warn(light, attempt)
        status = until_final(executor, attempt, seconds=120)
    assert (status.state, status.reason) == (JobState.FAILED, Reason.TIME_LIMIT)
    assert "received no new answer" in (status.detail or "")
    assert len(server.requests) == ITEMS
