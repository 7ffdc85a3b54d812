from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support import model_server
from tests.support.local_jobs import INVOCATION, Bench, job, key, started_pid, wait
from tests.support.processes import gone, parent
from tests.support.slurm.daemons import port_open, wait_until

from nel_action.model.job import JobState, Reason
from nel_action.planning.jobs import Job
from nel_action.spec.deployment import GenericDeployment

pytestmark = pytest.mark.slow

ASK = (
    "import os, urllib.request\n"
    "print(urllib.request.urlopen(urllib.request.Request(os.environ['NEL_URL'], b'{}')).read().decode())\n"
)

JobMaker = Callable[..., Job]
"""Name, script, mode of the server, and any field of a job."""


@pytest.fixture
def served(bench: Bench) -> JobMaker:
    """Return a function that creates jobs with a model server."""

    def make(name: str, script: str = ASK, mode: str = "good", **fields: Any) -> Job:  # noqa: ANN401
        deployment = fields.pop("deployment", {})
        argv = (sys.executable, str(model_server.__file__), "{host}", "{port}", str(bench.root), mode)
        plain = job(name, script, **fields)
        target = plain.target.model_copy(
            update={"api_endpoint": plain.target.api_endpoint.model_copy(update={"url": None})}
        )
        return replace(
            plain, target=target, deployment=GenericDeployment.model_validate({"port": 0, "command": argv} | deployment)
        )

    return make


def server_pids(bench: Bench) -> list[int]:
    """Return the process IDs of all servers that were started."""
    file = bench.root / "starts"
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def first_server_pid(bench: Bench) -> int:
    deadline = time.monotonic() + 30
    while not server_pids(bench):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return server_pids(bench)[0]


def test_jobs_share_a_server_that_is_stopped_afterwards(bench: Bench, served: JobMaker) -> None:
    executor = bench.executor(parallelism=2)
    attempts = [executor.submit(served(f"j{n}", index=n), 1, INVOCATION) for n in range(3)]
    assert {status.state for status in wait(executor, attempts).values()} == {JobState.SUCCEEDED}
    assert [list(executor.logs(attempt, follow=False)) for attempt in attempts] == [
        ['{"path": "/v1/chat/completions", "key": null}']
    ] * 3
    assert len(server_pids(bench)) == 1
    assert gone(server_pids(bench)[0])
    executor.collect(attempts[0], bench.root / "out")
    assert "loading" in (bench.root / "out/logs/server.log").read_text()


def test_no_server_is_started_for_cancelled_jobs(bench: Bench, served: JobMaker) -> None:
    executor = bench.executor()
    first = executor.submit(job("j0", "import time; time.sleep(600)"), 1, INVOCATION)
    second = executor.submit(served("j1", index=1), 1, INVOCATION)
    started_pid(bench, "j0")
    executor.cancel([second])
    executor.cancel([first])
    assert server_pids(bench) == []


def test_a_taken_port_is_avoided(bench: Bench, served: JobMaker) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        status = bench.run(served("one", deployment={"port": port}))[key("one")]
    assert status.state is JobState.SUCCEEDED


def test_a_server_that_exits_at_once_is_reported_with_its_output_and_started_once(
    bench: Bench, served: JobMaker
) -> None:
    statuses = bench.run(*[served(f"j{n}", mode="dead", index=n) for n in range(3)])
    assert {(status.state, status.reason) for status in statuses.values()} == {(JobState.FAILED, Reason.ENDPOINT)}
    assert "no weights in the checkpoint" in (statuses[key("j2")].detail or "")
    assert len(server_pids(bench)) == 1


def test_a_server_that_never_becomes_healthy_is_stopped(bench: Bench, served: JobMaker) -> None:
    status = bench.run(served("one", mode="dumb"), endpoint_readiness_timeout=1.0)[key("one")]
    assert (status.state, status.reason) == (JobState.FAILED, Reason.ENDPOINT)
    assert "not healthy after 1 s" in (status.detail or "")
    assert gone(server_pids(bench)[0])


def test_a_job_waits_until_its_server_is_healthy(bench: Bench, served: JobMaker) -> None:
    executor = bench.executor()
    attempt = executor.submit(served("one", mode="late"), 1, INVOCATION)
    first_server_pid(bench)
    assert executor.poll([attempt])[key("one")].state is JobState.PENDING
    assert executor.poll([attempt])[key("one")].detail == "starting the server"
    (bench.root / "go").touch()
    assert wait(executor, [attempt])[key("one")].state is JobState.SUCCEEDED


def test_a_job_fails_with_its_server_and_the_next_job_starts_another(bench: Bench, served: JobMaker) -> None:
    executor = bench.executor()
    attempts = [
        executor.submit(served("j0", "import time; time.sleep(600)"), 1, INVOCATION),
        executor.submit(served("j1", index=1), 1, INVOCATION),
    ]
    pid = started_pid(bench, "j0")
    os.kill(first_server_pid(bench), signal.SIGKILL)
    statuses = wait(executor, attempts)
    assert (statuses[key("j0")].state, statuses[key("j0")].reason) == (JobState.FAILED, Reason.ENDPOINT)
    assert "the model server exited with status 137" in (statuses[key("j0")].detail or "")
    assert statuses[key("j1")].state is JobState.SUCCEEDED
    assert gone(pid)
    assert len(server_pids(bench)) == 2
    assert gone(server_pids(bench)[1])


def test_cancel_stops_the_server(bench: Bench, served: JobMaker) -> None:
    executor = bench.executor()
    attempt = executor.submit(served("one", "import time; time.sleep(600)"), 1, INVOCATION)
    started_pid(bench, "one")
    executor.cancel([attempt])
    assert gone(first_server_pid(bench))


def test_cancel_works_while_the_server_starts(bench: Bench, served: JobMaker) -> None:
    executor = bench.executor()
    attempt = executor.submit(served("one", mode="dumb"), 1, INVOCATION)
    first_server_pid(bench)
    executor.cancel([attempt])
    assert executor.poll([attempt])[key("one")].state is JobState.CANCELLED
    assert gone(first_server_pid(bench))


def test_the_server_is_stopped_after_a_harness_failed(bench: Bench, served: JobMaker) -> None:
    status = bench.run(served("one", "import sys; sys.exit(4)"))[key("one")]
    assert status.exit_code == 4
    assert gone(first_server_pid(bench))


def test_the_server_dies_with_its_supervisor_and_pending_jobs_start_another(bench: Bench, served: JobMaker) -> None:
    executor = bench.executor()
    attempts = [
        executor.submit(served("j0", "import time; time.sleep(600)"), 1, INVOCATION),
        executor.submit(served("j1", index=1), 1, INVOCATION),
    ]
    os.kill(parent(started_pid(bench, "j0")), signal.SIGKILL)
    assert gone(first_server_pid(bench))
    statuses = wait(executor, attempts)
    assert statuses[key("j0")].reason is Reason.INFRASTRUCTURE
    assert statuses[key("j1")].state is JobState.SUCCEEDED
    assert gone(server_pids(bench)[-1])


def test_child_processes_of_a_killed_supervisors_server_are_killed(bench: Bench, served: JobMaker) -> None:
    child = bench.root / "child"
    code = (
        "import subprocess, sys; "
        "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True); "
        f"open({str(child)!r}, 'w').write(str(p.pid)); sys.argv = sys.argv[1:]; "
        "import runpy; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    argv = (sys.executable, "-c", code, str(model_server.__file__), "{host}", "{port}", str(bench.root))
    executor = bench.executor()
    served_job = served("one", "import time; time.sleep(600)", deployment={"command": argv})
    attempt = executor.submit(served_job, 1, INVOCATION)
    os.kill(parent(started_pid(bench, "one")), signal.SIGKILL)
    wait(executor, [attempt])
    assert gone(int(child.read_text()))


def test_a_server_has_its_own_secrets_and_its_log_is_redacted(bench: Bench, served: JobMaker) -> None:
    bench.environ = {**bench.environ, "HUB": "hub-s3cr3t"}
    executor = bench.executor()
    script = ASK + "print(os.environ.get('SERVER_KEY'))"
    attempt = executor.submit(served("one", script, deployment={"env_vars": {"SERVER_KEY": "host:HUB"}}), 1, INVOCATION)
    wait(executor, [attempt])
    assert list(executor.logs(attempt, follow=False)) == ['{"path": "/v1/chat/completions", "key": "***"}', "None"]
    files = [path for path in (bench.root / "home").rglob("*") if path.is_file()]
    assert not [path for path in files if "hub-s3cr3t" in path.read_text()]
    assert Path(bench.root / "home" / "local").exists()


SHARED = """\
import http.server, socket, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self): self.answer(b"{}")
    def do_POST(self): self.answer(sys.argv[3].encode())
    def answer(self, data):
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
class Server(http.server.ThreadingHTTPServer):
    def server_bind(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        super().server_bind()
import pathlib
while not pathlib.Path(sys.argv[4]).exists(): time.sleep(0.05)
Server((sys.argv[1], int(sys.argv[2])), Handler).serve_forever()
"""
"""A server that loads until a file exists and then shares its port, as vLLM does: HOST PORT NAME FILE."""


def test_servers_that_load_at_the_same_time_answer_their_own_jobs(bench: Bench, served: JobMaker) -> None:
    """Both invocations prefer the same port, and both servers bind it only after they have loaded."""
    port, attempts = model_server.free_port(), []
    executor = bench.executor()
    for index, name in enumerate(("a", "b")):
        argv = (sys.executable, "-c", f"open({str(bench.root / name)!r}, 'w')\n{SHARED}", "{host}", "{port}", name)
        deployment = {"port": port, "command": (*argv, str(bench.root / "go"))}
        one = served(name, deployment=deployment)
        attempts.append(executor.submit(one, 1, f"{index:016x}"))
    wait_until(lambda: (bench.root / "a").exists() and (bench.root / "b").exists(), seconds=60, what="both to load")
    (bench.root / "go").touch()
    statuses = wait(executor, attempts)
    assert {status.state for status in statuses.values()} == {JobState.SUCCEEDED}
    assert [list(executor.logs(attempt, follow=False)) for attempt in attempts] == [["a"], ["b"]]


def test_server_whose_port_another_program_shares_moves_to_another_port(bench: Bench, served: JobMaker) -> None:
    """The other program answers the health route first and would also answer the harness."""
    port = model_server.free_port()
    script = f"open({str(bench.root / 'loading')!r}, 'w')\n{SHARED}"
    argv = (sys.executable, "-c", script, "{host}", "{port}", "own", str(bench.root / "go"))
    executor = bench.executor()
    attempt = executor.submit(served("one", deployment={"port": port, "command": argv}), 1, INVOCATION)
    wait_until((bench.root / "loading").exists, seconds=60, what="the server to load")
    foreign = subprocess.Popen([sys.executable, "-c", SHARED, "127.0.0.1", str(port), "foreign", sys.executable])
    try:
        wait_until(lambda: port_open(port), seconds=30, what="the other program to listen")
        (bench.root / "go").touch()
        assert wait(executor, [attempt])[key("one")].state is JobState.SUCCEEDED
    finally:
        foreign.kill()
        foreign.wait()
    assert list(executor.logs(attempt, follow=False)) == ["own"]
