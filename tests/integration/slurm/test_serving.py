"""Model servers and evaluation in one allocation: addresses, health, failures and shutdown."""

from __future__ import annotations

import json
import os
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
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

from nel_action.executors.slurm import script
from nel_action.executors.slurm.executor import SlurmExecutor
from nel_action.executors.slurm.shell import template
from nel_action.model.job import Attempt, JobState, JobStatus, Key, Reason
from nel_action.planning.jobs import Job
from nel_action.spec.auxiliary import AuxiliaryGeneric
from nel_action.spec.deployment import GenericDeployment

ASK = """\
import json, os, sys, urllib.request
def ask(url):
    with urllib.request.urlopen(urllib.request.Request(url, b"{}"), timeout=30) as answer:
        return json.load(answer)
urls = [os.environ[name] for name in sys.argv[1:]]
record = {"answers": [ask(url) for url in urls for _ in range(6)], "urls": urls}
record["gpus"] = os.environ.get("CUDA_VISIBLE_DEVICES")
json.dump(record, open(os.environ["NEL_OUTPUT_DIR"] + "/answers.json", "w"))
"""
"""A harness that sends six requests to each URL in the given variables and records the answers."""


@pytest.fixture
def folder(light: Cluster, tmp_path: Path) -> Path:
    """Return a folder on the cluster with the server program, in which servers record their starts."""
    folder = light.scratch / tmp_path.name
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    shutil.copy(model_server.__file__, folder / "server.py")
    (folder / "ask.py").write_text(ASK)
    return folder


def server_argv(folder: Path, mode: str = "good") -> tuple[str, ...]:
    return ("/usr/bin/python3", f"{folder}/server.py", "{host}", "{port}", str(folder), mode)


def model(folder: Path, mode: str = "good", **fields: Any) -> GenericDeployment:  # noqa: ANN401
    return GenericDeployment(**({"command": server_argv(folder, mode), "served_model_name": "acme-7b"} | fields))


def asking_script(folder: Path, *variables: str) -> str:
    return f"/usr/bin/python3 {folder}/ask.py {' '.join(variables or ('NEL_URL',))} || exit 9\n{GOOD}"


def directory(executor: SlurmExecutor, attempt: Attempt) -> Path:
    return Path(executor.describe(attempt)["directory"])


def run(executor: SlurmExecutor, job: Job) -> tuple[JobStatus, Path]:
    """Run a job; return its final status and its directory."""
    attempt = executor.submit(job, 1, "0" * 16)
    return until_final(executor, attempt, seconds=180), directory(executor, attempt)


def answers_of(job_dir: Path) -> dict[str, Any]:
    """Return what the harness recorded."""
    record: dict[str, Any] = json.loads((job_dir / "run/artifacts/answers.json").read_text())
    return record


def server_pids(folder: Path) -> list[int]:
    """Return the process IDs of all started servers."""
    return [int(line) for line in (folder / "starts").read_text().split()]


def assert_exited(folder: Path, count: int = 1) -> None:
    pids = server_pids(folder)
    assert len(pids) == count
    for pid in pids:
        wait_until(lambda pid=pid: process_gone(pid), seconds=30, what=f"server {pid} to exit")  # type: ignore[misc]


def test_server_is_started_used_and_stopped(on_light: MakeExecutor, folder: Path, tmp_path: Path) -> None:
    executor = on_light(gres="gpu:h100:2", environ={"KEY": "sk-made-up"})
    deployment = model(folder, "late", env_vars={"SERVER_KEY": "host:KEY", "GREETING": "lit:hello"})
    job = shell_job(tmp_path, asking_script(folder), deployment=deployment)
    attempt = executor.submit(job, 1, "0" * 16)
    job_dir = directory(executor, attempt)
    wait_until((folder / "starts").exists, seconds=60, what="the server to start")
    assert not (job_dir / "run/artifacts/answers.json").exists(), "the server is not healthy yet"
    (folder / "go").touch()
    assert until_final(executor, attempt, seconds=180).state is JobState.SUCCEEDED
    record = answers_of(job_dir)
    assert {answer["key"] for answer in record["answers"]} == {"sk-made-up"}
    assert {answer["path"] for answer in record["answers"]} == {"/v1/chat/completions"}
    assert record["gpus"] == record["answers"][0]["gpus"] == "0,1"
    assert record["urls"][0].startswith("http://127.0.0.1:")
    assert_exited(folder)
    executor.collect(attempt, tmp_path / "home")
    assert "request" in (tmp_path / "home/logs/server-0.log").read_text()
    assert "evaluating acme-7b" in (tmp_path / "home/logs/client.log").read_text()
    assert not (job_dir / ".secrets.env").exists()


def test_server_is_stopped_when_the_harness_fails(on_light: MakeExecutor, folder: Path, tmp_path: Path) -> None:
    status, _ = run(on_light(), shell_job(tmp_path, "exit 3", deployment=model(folder)))
    assert (status.reason, status.exit_code) == (Reason.HARNESS, 3)
    assert_exited(folder)


def test_server_is_stopped_when_the_job_is_cancelled(on_light: MakeExecutor, folder: Path, tmp_path: Path) -> None:
    executor = on_light()
    attempt = executor.submit(shell_job(tmp_path, "touch started; sleep 600", deployment=model(folder)), 1, "0" * 16)
    marker = directory(executor, attempt) / "run/work/started"
    wait_until(marker.exists, seconds=60, what="the evaluation to start")
    executor.cancel([attempt])
    assert executor.poll([attempt])[attempt.key].state is JobState.CANCELLED
    assert_exited(folder)


def test_unhealthy_server_fails_the_job(on_light: MakeExecutor, folder: Path, tmp_path: Path) -> None:
    executor = on_light(endpoint_readiness_timeout=8)
    status, job_dir = run(executor, shell_job(tmp_path, deployment=model(folder, "dumb")))
    assert (status.state, status.reason) == (JobState.FAILED, Reason.ENDPOINT)
    assert not (job_dir / "logs/client.log").exists()
    assert_exited(folder)


def test_server_that_exits_at_its_start_fails_the_job(on_light: MakeExecutor, folder: Path, tmp_path: Path) -> None:
    status, job_dir = run(on_light(), shell_job(tmp_path, deployment=model(folder, "dead")))
    assert (status.state, status.reason) == (JobState.FAILED, Reason.ENDPOINT)
    (log,) = (job_dir / "logs").glob("slurm-*.log")
    assert "no weights in the checkpoint" in log.read_text()
    assert_exited(folder)


def test_server_exit_during_the_evaluation_fails_the_job(on_light: MakeExecutor, folder: Path, tmp_path: Path) -> None:
    text = f"trap 'touch terminated; exit' TERM; kill -9 $(cat {folder}/starts); sleep 600 & wait"
    status, job_dir = run(on_light(max_resumes=2), shell_job(tmp_path, text, deployment=model(folder)))
    assert (status.state, status.reason) == (JobState.FAILED, Reason.ENDPOINT)
    assert len((job_dir / "state/links").read_text().splitlines()) == 1
    assert (job_dir / "run/work/terminated").exists(), "the harness was killed without a SIGTERM"


def test_port_taken_by_another_program_is_replaced(on_light: MakeExecutor, folder: Path, tmp_path: Path) -> None:
    """The harness never sends a request to another program on the chosen port, even to a healthy server."""
    text = f'[ -e {folder}/go ] || echo "$3" > {folder}/port; until [ -e {folder}/go ]; do sleep 0.1; done; '
    text += 'exec "$0" "$@"'
    executor = on_light()
    deployment = model(folder, command=("sh", "-c", text, *server_argv(folder)))
    attempt = executor.submit(shell_job(tmp_path, asking_script(folder), deployment=deployment), 1, "0" * 16)
    port_file = folder / "port"
    wait_until(lambda: port_file.exists() and port_file.read_text().strip(), seconds=60, what="a port to be chosen")
    with foreign_server(int(port_file.read_text())) as methods:
        (folder / "go").touch()
        assert until_final(executor, attempt, seconds=180).state is JobState.SUCCEEDED
    assert set(methods) <= {"GET"}, "a request of the harness reached another server"
    (log,) = (directory(executor, attempt) / "logs").glob("slurm-*.log")
    assert f"port {port_file.read_text().strip()} of server-0 was taken by another program" in log.read_text()


@contextmanager
def foreign_server(port: int) -> Iterator[list[str]]:
    """Run a healthy server on a port; yield the methods of the requests that it receives."""
    methods: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def handle_one_request(self) -> None:
            super().handle_one_request()
            methods.extend([self.command] if getattr(self, "command", None) else [])

        def log_message(self, *args: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield methods
        server.shutdown()


def test_fixed_port_in_use_fails_the_job(on_light: MakeExecutor, folder: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        command = [argument.replace("{port}", str(port)) for argument in server_argv(folder)]
        job = shell_job(tmp_path, asking_script(folder), deployment=model(folder, command=tuple(command), port=port))
        status, job_dir = run(on_light(), job)
    assert (status.state, status.reason) == (JobState.FAILED, Reason.ENDPOINT)
    (log,) = (job_dir / "logs").glob("slurm-*.log")
    assert f"port {port} is in use" in log.read_text()
    assert not (folder / "starts").exists()


SLOW = "touch {folder}/loading-$SLURM_JOB_ID; until [ -e {folder}/go ]; do sleep 0.1; done; exec "
"""Loads until a file exists; two servers that wait for it load at the same time."""


@pytest.mark.parametrize("fixed", [False, True])
def test_jobs_on_one_node_are_answered_by_their_own_servers(
    on_light: MakeExecutor,
    folder: Path,
    tmp_path: Path,
    fixed: bool,  # noqa: FBT001
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both servers prefer the same port and load at the same time; with a fixed port, the second waits."""
    # NOTE: the search starts at the same port in every job, as it does if the job IDs are equal modulo 997.
    monkeypatch.setattr(script, "template", lambda name: template(name).replace("me % 997", "0"))
    executor = on_light(num_nodes=1)
    port = model_server.free_port()
    argv = [argument.replace("{port}", str(port)) if fixed else argument for argument in server_argv(folder)]
    command = ("bash", "-c", SLOW.format(folder=folder) + '"$0" "$@"', *argv)
    jobs = [shell_job(tmp_path, asking_script(folder), deployment=model(folder, command=command, port=port))] * 2
    jobs = [replace(job, key=Key(f"nel-{os.urandom(8).hex()}")) for job in jobs]
    attempts = [executor.submit(job, 1, "0" * 16) for job in jobs]
    loading = 1 if fixed else 2
    wait_until(lambda: len(list(folder.glob("loading-*"))) == loading, seconds=60, what="the servers to load")
    (folder / "go").touch()
    for attempt in attempts:
        assert until_final(executor, attempt, seconds=180).state is JobState.SUCCEEDED
    records = [answers_of(directory(executor, attempt)) for attempt in attempts]
    for record, attempt in zip(records, attempts, strict=True):
        assert {answer["job"] for answer in record["answers"]} == {attempt.backend_id}
    assert (records[0]["urls"] == records[1]["urls"]) is fixed
    assert_exited(folder, 2)


def test_load_balancer_distributes_requests_to_instances(on_light: MakeExecutor, folder: Path, tmp_path: Path) -> None:
    require("slurm", shutil.which("haproxy", path="/usr/sbin:/usr/bin") is not None, "no haproxy on this machine")
    executor = on_light(num_nodes=2, num_instances=2)
    status, job_dir = run(executor, shell_job(tmp_path, asking_script(folder), deployment=model(folder)))
    (log,) = (job_dir / "logs").glob("slurm-*.log")
    assert status.state is JobState.SUCCEEDED, log.read_text()
    answers = answers_of(job_dir)["answers"]
    assert {answer["rank"] for answer in answers} == {"0"}
    assert len({answer["node"] for answer in answers}) == 2
    assert_exited(folder, 2)
    assert {log.name for log in (job_dir / "logs").glob("[sb]*-*.log")} >= {"server-0.log", "server-1.log"}


def test_judge_runs_on_its_own_node(on_light: MakeExecutor, folder: Path, tmp_path: Path) -> None:
    judge = AuxiliaryGeneric(
        command=server_argv(folder), served_model_name="judge-1", env_prefix="REFEREE", num_nodes=1
    )
    executor = on_light(num_nodes=1)
    text = f'echo "$REFEREE_MODEL_ID"\n{asking_script(folder, "NEL_URL", "REFEREE_CHAT_URL")}'
    job = shell_job(tmp_path, text, deployment=model(folder), auxiliary={"judge": judge})
    status, job_dir = run(executor, job)
    (log,) = (job_dir / "logs").glob("slurm-*.log")
    assert status.state is JobState.SUCCEEDED, log.read_text()
    assert (job_dir / "logs/client.log").read_text().startswith("judge-1\n")
    assert len({answer["node"] for answer in answers_of(job_dir)["answers"]}) == 2
    assert_exited(folder, 2)
    assert (job_dir / "logs/aux_judge-0.log").exists()


def test_server_on_several_nodes_gets_ranks_and_addresses(on_light: MakeExecutor, folder: Path, tmp_path: Path) -> None:
    text = f'echo "$PROC_ID of $NODES_PER_INSTANCE at $MASTER_IP of $ALL_NODE_IPS" > {folder}/rank-$PROC_ID; '
    text += '[ "$PROC_ID" = 0 ] || exec sleep 600; exec "$0" "$@"'
    deployment = model(folder, command=("sh", "-c", text, *server_argv(folder)))
    status, _ = run(on_light(num_nodes=2), shell_job(tmp_path, asking_script(folder), deployment=deployment))
    assert status.state is JobState.SUCCEEDED
    for rank in range(2):
        assert (folder / f"rank-{rank}").read_text() == f"{rank} of 2 at 127.0.0.1 of 127.0.0.1,127.0.0.1\n"
    assert_exited(folder)
