from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support import model_server
from tests.support.local_jobs import INVOCATION, Bench, job, key, wait
from tests.support.processes import gone, parent

from nel_action.executors.local.store import Store
from nel_action.model.job import JobState, Reason
from nel_action.planning.jobs import Job
from nel_action.spec.deployment import GenericDeployment

ASK = (
    "import os, urllib.request\n"
    "print(urllib.request.urlopen(urllib.request.Request(os.environ['NEL_URL'], b'{}')).read().decode())\n"
)

Served = Callable[..., Job]


@pytest.fixture
def served(bench: Bench) -> Served:
    """Return a function that makes jobs with a server."""

    def make(name: str, script: str = ASK, how: str = "good", **fields: Any) -> Job:  # noqa: ANN401
        deployment = fields.pop("deployment", {})
        words = (sys.executable, str(model_server.__file__), "{host}", "{port}", str(bench.root), how)
        made = job(name, script, **fields)
        target = made.target.model_copy(
            update={"api_endpoint": made.target.api_endpoint.model_copy(update={"url": None})}
        )
        return replace(
            made, target=target, deployment=GenericDeployment.model_validate({"port": 0, "command": words} | deployment)
        )

    return make


def servers(bench: Bench) -> list[int]:
    """Return the process ids of all servers so far."""
    file = bench.root / "starts"
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def first_server(bench: Bench) -> int:
    deadline = time.monotonic() + 30
    while not servers(bench):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return servers(bench)[0]


def running(bench: Bench, name: str) -> int:
    attempt = Store(bench.root / "home").at(key(name), 1)
    deadline = time.monotonic() + 30
    while (seen := attempt.started()) is None or seen.pid is None:
        assert time.monotonic() < deadline, attempt.ending()
        time.sleep(0.02)
    return seen.pid


def test_jobs_share_a_server_that_is_taken_down_afterwards(bench: Bench, served: Served) -> None:
    executor = bench.executor(parallelism=2)
    attempts = [executor.submit(served(f"j{n}", index=n), 1, INVOCATION) for n in range(3)]
    assert {status.state for status in wait(executor, attempts).values()} == {JobState.SUCCEEDED}
    assert [list(executor.logs(each, follow=False)) for each in attempts] == [
        ['{"path": "/v1/chat/completions", "key": null}']
    ] * 3
    assert len(servers(bench)) == 1
    assert gone(servers(bench)[0])
    executor.collect(attempts[0], bench.root / "out")
    assert "loading" in (bench.root / "out/logs/server.log").read_text()


def test_no_server_is_started_where_no_job_runs(bench: Bench, served: Served) -> None:
    executor = bench.executor()
    first = executor.submit(job("j0", "import time; time.sleep(600)"), 1, INVOCATION)
    second = executor.submit(served("j1", index=1), 1, INVOCATION)
    running(bench, "j0")
    executor.cancel([second])
    executor.cancel([first])
    assert servers(bench) == []


def test_a_taken_port_is_avoided(bench: Bench, served: Served) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        status = bench.run(served("one", deployment={"port": port}))[key("one")]
    assert status.state is JobState.SUCCEEDED


def test_a_server_that_ends_at_once_is_told_with_its_last_words_and_not_tried_for_each_job(
    bench: Bench, served: Served
) -> None:
    seen = bench.run(*[served(f"j{n}", how="dead", index=n) for n in range(3)])
    assert {(status.state, status.reason) for status in seen.values()} == {(JobState.FAILED, Reason.ENDPOINT)}
    assert "no weights in the checkpoint" in (seen[key("j2")].detail or "")
    assert len(servers(bench)) == 1


def test_a_server_that_does_not_become_healthy_is_given_up(bench: Bench, served: Served) -> None:
    status = bench.run(served("one", how="dumb"), endpoint_readiness_timeout=1.0)[key("one")]
    assert (status.state, status.reason) == (JobState.FAILED, Reason.ENDPOINT)
    assert "not healthy after 1 s" in (status.detail or "")
    assert gone(servers(bench)[0])


def test_a_job_waits_until_its_server_is_healthy(bench: Bench, served: Served) -> None:
    executor = bench.executor()
    attempt = executor.submit(served("one", how="late"), 1, INVOCATION)
    first_server(bench)
    assert executor.poll([attempt])[key("one")].state is JobState.PENDING
    assert executor.poll([attempt])[key("one")].detail == "starting the server"
    (bench.root / "go").touch()
    assert wait(executor, [attempt])[key("one")].state is JobState.SUCCEEDED


def test_when_the_server_dies_its_job_fails_and_the_next_has_a_new_one(bench: Bench, served: Served) -> None:
    executor = bench.executor()
    attempts = [
        executor.submit(served("j0", "import time; time.sleep(600)"), 1, INVOCATION),
        executor.submit(served("j1", index=1), 1, INVOCATION),
    ]
    pid = running(bench, "j0")
    os.kill(first_server(bench), signal.SIGKILL)
    seen = wait(executor, attempts)
    assert (seen[key("j0")].state, seen[key("j0")].reason) == (JobState.FAILED, Reason.ENDPOINT)
    assert "the server ended with exit status 137" in (seen[key("j0")].detail or "")
    assert seen[key("j1")].state is JobState.SUCCEEDED
    assert gone(pid)
    assert len(servers(bench)) == 2
    assert gone(servers(bench)[1])


def test_cancel_takes_the_server_down(bench: Bench, served: Served) -> None:
    executor = bench.executor()
    attempt = executor.submit(served("one", "import time; time.sleep(600)"), 1, INVOCATION)
    running(bench, "one")
    executor.cancel([attempt])
    assert gone(first_server(bench))


def test_cancel_while_the_server_starts(bench: Bench, served: Served) -> None:
    executor = bench.executor()
    attempt = executor.submit(served("one", how="dumb"), 1, INVOCATION)
    first_server(bench)
    executor.cancel([attempt])
    assert executor.poll([attempt])[key("one")].state is JobState.CANCELLED
    assert gone(first_server(bench))


def test_a_failing_harness_does_not_leave_the_server(bench: Bench, served: Served) -> None:
    status = bench.run(served("one", "import sys; sys.exit(4)"))[key("one")]
    assert status.exit_code == 4
    assert gone(first_server(bench))


def test_the_server_dies_with_its_agent_and_waiting_jobs_have_a_new_one(bench: Bench, served: Served) -> None:
    executor = bench.executor()
    attempts = [
        executor.submit(served("j0", "import time; time.sleep(600)"), 1, INVOCATION),
        executor.submit(served("j1", index=1), 1, INVOCATION),
    ]
    os.kill(parent(running(bench, "j0")), signal.SIGKILL)
    assert gone(first_server(bench))
    seen = wait(executor, attempts)
    assert seen[key("j0")].reason is Reason.INFRASTRUCTURE
    assert seen[key("j1")].state is JobState.SUCCEEDED
    assert gone(servers(bench)[-1])


def test_what_a_killed_agents_server_had_started_is_swept(bench: Bench, served: Served) -> None:
    child = bench.root / "child"
    code = (
        "import subprocess, sys; "
        "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True); "
        f"open({str(child)!r}, 'w').write(str(p.pid)); sys.argv = sys.argv[1:]; "
        "import runpy; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    words = (sys.executable, "-c", code, str(model_server.__file__), "{host}", "{port}", str(bench.root))
    executor = bench.executor()
    job_ = served("one", "import time; time.sleep(600)", deployment={"command": words})
    attempt = executor.submit(job_, 1, INVOCATION)
    os.kill(parent(running(bench, "one")), signal.SIGKILL)
    wait(executor, [attempt])
    assert gone(int(child.read_text()))


def test_a_server_has_its_own_secrets_and_its_log_does_not_show_them(bench: Bench, served: Served) -> None:
    bench.environ = {**bench.environ, "HUB": "hub-s3cr3t"}
    executor = bench.executor()
    script = ASK + "print(os.environ.get('SERVER_KEY'))"
    attempt = executor.submit(served("one", script, deployment={"env_vars": {"SERVER_KEY": "host:HUB"}}), 1, INVOCATION)
    wait(executor, [attempt])
    assert list(executor.logs(attempt, follow=False)) == ['{"path": "/v1/chat/completions", "key": "***"}', "None"]
    left = [path for path in (bench.root / "home").rglob("*") if path.is_file()]
    assert not [path for path in left if "hub-s3cr3t" in path.read_text()]
    assert Path(bench.root / "home" / "local").exists()
