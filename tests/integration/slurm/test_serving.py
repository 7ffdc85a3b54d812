"""A server and the evaluation in one allocation: found, watched, told apart, and always ended."""

from __future__ import annotations

import json
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.integration.slurm.conftest import MakeExecutor
from tests.support import model_server
from tests.support.require import require
from tests.support.slurm.cluster import Cluster
from tests.support.slurm.daemons import process_gone, wait_until
from tests.support.slurm.jobs import GOOD, shell_job
from tests.support.slurm.waiting import until_final

from nel_action.executors.slurm.executor import SlurmExecutor
from nel_action.model.job import Attempt, JobState, JobStatus, Reason
from nel_action.planning.jobs import Job
from nel_action.spec.auxiliary import AuxiliaryGeneric
from nel_action.spec.deployment import GenericDeployment

ASK = """\
import json, os, sys, urllib.request
def ask(url):
    with urllib.request.urlopen(urllib.request.Request(url, b"{}"), timeout=30) as answer:
        return json.load(answer)
urls = [os.environ[name] for name in sys.argv[1:]]
seen = {"answers": [ask(url) for url in urls for _ in range(6)], "urls": urls}
seen["gpus"] = os.environ.get("CUDA_VISIBLE_DEVICES")
json.dump(seen, open(os.environ["NEL_OUTPUT_DIR"] + "/seen.json", "w"))
"""
"""A harness that asks what it is told of by those variables, six times each, and writes down what it heard."""


@pytest.fixture
def folder(light: Cluster, tmp_path: Path) -> Path:
    """Return a place on the cluster for what servers write down, with the server's program in it."""
    place = light.scratch / tmp_path.name
    place.mkdir(mode=0o777)
    place.chmod(0o777)
    shutil.copy(model_server.__file__, place / "server.py")
    (place / "ask.py").write_text(ASK)
    return place


def words(folder: Path, how: str = "good") -> tuple[str, ...]:
    return ("/usr/bin/python3", f"{folder}/server.py", "{host}", "{port}", str(folder), how)


def model(folder: Path, how: str = "good", **fields: Any) -> GenericDeployment:  # noqa: ANN401
    return GenericDeployment(**({"command": words(folder, how), "served_model_name": "acme-7b"} | fields))


def asking(folder: Path, *variables: str) -> str:
    return f"/usr/bin/python3 {folder}/ask.py {' '.join(variables or ('NEL_URL',))} || exit 9\n{GOOD}"


def directory(executor: SlurmExecutor, attempt: Attempt) -> Path:
    return Path(executor.describe(attempt)["directory"])


def run(executor: SlurmExecutor, job: Job) -> tuple[JobStatus, Path]:
    """Run a job to its end; return its status and its directory."""
    attempt = executor.submit(job, 1, "0" * 16)
    return until_final(executor, attempt, seconds=180), directory(executor, attempt)


def seen(place: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((place / "run/artifacts/seen.json").read_text())
    return found


def servers(folder: Path) -> list[int]:
    """Return the processes that have served."""
    return [int(line) for line in (folder / "starts").read_text().split()]


def assert_ended(folder: Path, count: int = 1) -> None:
    pids = servers(folder)
    assert len(pids) == count
    for pid in pids:
        wait_until(lambda pid=pid: process_gone(pid), seconds=30, what=f"server {pid} to end")  # type: ignore[misc]


def test_it_is_served_asked_and_ended(on_light: MakeExecutor, folder: Path, tmp_path: Path) -> None:
    executor = on_light(gres="gpu:h100:2", environ={"KEY": "sk-made-up"})
    deployment = model(folder, "late", env_vars={"SERVER_KEY": "host:KEY", "GREETING": "lit:hello"})
    job = shell_job(tmp_path, asking(folder), deployment=deployment)
    attempt = executor.submit(job, 1, "0" * 16)
    place = directory(executor, attempt)
    wait_until((folder / "starts").exists, seconds=60, what="the server to start")
    assert not (place / "run/artifacts/seen.json").exists(), "it is not healthy yet"
    (folder / "go").touch()
    assert until_final(executor, attempt, seconds=180).state is JobState.SUCCEEDED
    found = seen(place)
    assert {answer["key"] for answer in found["answers"]} == {"sk-made-up"}
    assert {answer["path"] for answer in found["answers"]} == {"/v1/chat/completions"}
    assert found["gpus"] == found["answers"][0]["gpus"] == "0,1"
    assert found["urls"][0].startswith("http://127.0.0.1:")
    assert_ended(folder)
    executor.collect(attempt, tmp_path / "home")
    assert "request" in (tmp_path / "home/logs/server-0.log").read_text()
    assert "evaluating acme-7b" in (tmp_path / "home/logs/client.log").read_text()
    assert not (place / ".secrets.env").exists()


def test_it_is_ended_when_the_evaluation_fails(on_light: MakeExecutor, folder: Path, tmp_path: Path) -> None:
    status, _ = run(on_light(), shell_job(tmp_path, "exit 3", deployment=model(folder)))
    assert (status.reason, status.exit_code) == (Reason.HARNESS, 3)
    assert_ended(folder)


def test_it_is_ended_when_the_job_is_cancelled(on_light: MakeExecutor, folder: Path, tmp_path: Path) -> None:
    executor = on_light()
    attempt = executor.submit(shell_job(tmp_path, "touch here; sleep 600", deployment=model(folder)), 1, "0" * 16)
    here = directory(executor, attempt) / "run/work/here"
    wait_until(here.exists, seconds=60, what="the evaluation to start")
    executor.cancel([attempt])
    assert executor.poll([attempt])[attempt.key].state is JobState.CANCELLED
    assert_ended(folder)


def test_a_server_that_never_answers(on_light: MakeExecutor, folder: Path, tmp_path: Path) -> None:
    executor = on_light(endpoint_readiness_timeout=8)
    status, place = run(executor, shell_job(tmp_path, deployment=model(folder, "dumb")))
    assert (status.state, status.reason) == (JobState.FAILED, Reason.ENDPOINT)
    assert not (place / "logs/client.log").exists()
    assert_ended(folder)


def test_a_server_that_ends_at_once(on_light: MakeExecutor, folder: Path, tmp_path: Path) -> None:
    status, place = run(on_light(), shell_job(tmp_path, deployment=model(folder, "dead")))
    assert (status.state, status.reason) == (JobState.FAILED, Reason.ENDPOINT)
    (log,) = (place / "logs").glob("slurm-*.log")
    assert "no weights in the checkpoint" in log.read_text()
    assert_ended(folder)


def test_a_server_that_dies_while_it_is_asked(on_light: MakeExecutor, folder: Path, tmp_path: Path) -> None:
    text = f"trap 'touch told; exit' TERM; kill -9 $(cat {folder}/starts); sleep 600 & wait"
    status, place = run(on_light(max_resumes=2), shell_job(tmp_path, text, deployment=model(folder)))
    assert (status.state, status.reason) == (JobState.FAILED, Reason.ENDPOINT)
    assert len((place / "state/links").read_text().splitlines()) == 1
    assert (place / "run/work/told").exists(), "the harness was killed before it was asked to end"


def test_a_port_that_goes_to_somebody_else(on_light: MakeExecutor, folder: Path, tmp_path: Path) -> None:
    """Never is somebody else's server asked, even if it is healthy on the port that was chosen for ours."""
    text = f'[ -e {folder}/go ] || echo "$3" > {folder}/wanted; until [ -e {folder}/go ]; do sleep 0.1; done; '
    text += 'exec "$0" "$@"'
    executor = on_light()
    deployment = model(folder, command=("sh", "-c", text, *words(folder)))
    attempt = executor.submit(shell_job(tmp_path, asking(folder), deployment=deployment), 1, "0" * 16)
    wanted = folder / "wanted"
    wait_until(lambda: wanted.exists() and wanted.read_text().strip(), seconds=60, what="a port to be chosen")
    with healthy_stranger(int(wanted.read_text())) as asked:
        (folder / "go").touch()
        assert until_final(executor, attempt, seconds=180).state is JobState.SUCCEEDED
    assert set(asked) == {"GET"}, "a question for the model went elsewhere"
    (log,) = (directory(executor, attempt) / "logs").glob("slurm-*.log")
    assert f"port {wanted.read_text().strip()} of server-0 went to somebody else" in log.read_text()


@contextmanager
def healthy_stranger(port: int) -> Iterator[list[str]]:
    """Answer as a healthy server on that port; yield the kinds of requests that come."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def handle_one_request(self) -> None:
            super().handle_one_request()
            asked.extend([self.command] if getattr(self, "command", None) else [])

        def log_message(self, *words: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield asked
        server.shutdown()


def test_a_port_that_the_command_names_must_be_free(on_light: MakeExecutor, folder: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [word.replace("{port}", str(port)) for word in words(folder)]
        job = shell_job(tmp_path, asking(folder), deployment=model(folder, command=tuple(command), port=port))
        status, place = run(on_light(), job)
    assert (status.state, status.reason) == (JobState.FAILED, Reason.ENDPOINT)
    (log,) = (place / "logs").glob("slurm-*.log")
    assert f"port {port} is taken" in log.read_text()
    assert not (folder / "starts").exists()


def test_two_jobs_on_one_node_at_once(on_light: MakeExecutor, folder: Path, tmp_path: Path) -> None:
    executor = on_light()
    jobs = [shell_job(tmp_path, asking(folder), deployment=model(folder)) for _ in range(2)]
    attempts = [executor.submit(job, 1, "0" * 16) for job in jobs]
    for attempt in attempts:
        assert until_final(executor, attempt, seconds=180).state is JobState.SUCCEEDED
    one, other = (seen(directory(executor, attempt)) for attempt in attempts)
    assert one["urls"] != other["urls"]
    for found, attempt in zip((one, other), attempts, strict=True):
        assert {answer["job"] for answer in found["answers"]} == {attempt.backend_id}
    assert_ended(folder, 2)


def test_several_instances_behind_a_real_balancer(on_light: MakeExecutor, folder: Path, tmp_path: Path) -> None:
    require("slurm", shutil.which("haproxy", path="/usr/sbin:/usr/bin") is not None, "no haproxy here")
    executor = on_light(num_nodes=2, num_instances=2)
    status, place = run(executor, shell_job(tmp_path, asking(folder), deployment=model(folder)))
    (log,) = (place / "logs").glob("slurm-*.log")
    assert status.state is JobState.SUCCEEDED, log.read_text()
    answers = seen(place)["answers"]
    assert {answer["rank"] for answer in answers} == {"0"}
    assert len({answer["node"] for answer in answers}) == 2
    assert_ended(folder, 2)
    assert {log.name for log in (place / "logs").glob("[sb]*-*.log")} >= {"server-0.log", "server-1.log"}


def test_a_judge_on_a_node_of_its_own(on_light: MakeExecutor, folder: Path, tmp_path: Path) -> None:
    judge = AuxiliaryGeneric(command=words(folder), served_model_name="judge-1", env_prefix="REFEREE", num_nodes=1)
    executor = on_light(num_nodes=1)
    text = f'echo "$REFEREE_MODEL_ID"\n{asking(folder, "NEL_URL", "REFEREE_CHAT_URL")}'
    job = shell_job(tmp_path, text, deployment=model(folder), auxiliary={"judge": judge})
    status, place = run(executor, job)
    (log,) = (place / "logs").glob("slurm-*.log")
    assert status.state is JobState.SUCCEEDED, log.read_text()
    assert (place / "logs/client.log").read_text().startswith("judge-1\n")
    assert len({answer["node"] for answer in seen(place)["answers"]}) == 2
    assert_ended(folder, 2)
    assert (place / "logs/aux_judge-0.log").exists()


def test_a_server_over_several_nodes_knows_its_ranks(on_light: MakeExecutor, folder: Path, tmp_path: Path) -> None:
    text = f'echo "$PROC_ID of $NODES_PER_INSTANCE at $MASTER_IP of $ALL_NODE_IPS" > {folder}/rank-$PROC_ID; '
    text += '[ "$PROC_ID" = 0 ] || exec sleep 600; exec "$0" "$@"'
    deployment = model(folder, command=("sh", "-c", text, *words(folder)))
    status, _ = run(on_light(num_nodes=2), shell_job(tmp_path, asking(folder), deployment=deployment))
    assert status.state is JobState.SUCCEEDED
    for rank in range(2):
        assert (folder / f"rank-{rank}").read_text() == f"{rank} of 2 at 127.0.0.1 of 127.0.0.1,127.0.0.1\n"
    assert_ended(folder)
