"""The supervisor process: when it is started, and what its log contains."""

from __future__ import annotations

import os
import signal
import stat
from pathlib import Path

import pytest
from tests.support.local_jobs import INVOCATION, Bench, job, key, started_pid, stop_supervisors, supervisor_pid, wait
from tests.support.processes import gone

from nel_action.executors.interface import Maintaining, Supervising, poll_attempts
from nel_action.executors.local.store import Queue, Store
from nel_action.executors.local.supervisor import ensure_supervisor, last_error, supervisor_environ
from nel_action.model.job import JobState

pytestmark = pytest.mark.slow

SLEEP = "import time; time.sleep(600)"


def queue(bench: Bench) -> Queue:
    return Store(bench.root / "home").queue(INVOCATION)


def kill_supervisor(bench: Bench) -> None:
    pid = supervisor_pid(bench.root / "home", INVOCATION)
    os.kill(pid, signal.SIGKILL)
    assert gone(pid)


def snapshot(root: Path) -> dict[str, int]:
    """Return the modification time of every file and directory."""
    return {str(path): path.stat().st_mtime_ns for path in root.rglob("*")}


def test_find_and_poll_change_nothing(bench: Bench) -> None:
    executor = bench.executor()
    attempt = executor.submit(job("one", SLEEP), 1, INVOCATION)
    started_pid(bench, "one")
    kill_supervisor(bench)
    before = snapshot(bench.root / "home")
    assert executor.find([key("one")]) == {key("one"): attempt}
    assert executor.poll([attempt])[key("one")].state is JobState.RUNNING
    assert snapshot(bench.root / "home") == before


def test_reconcile_restarts_a_killed_supervisor_and_reports_running_jobs_as_unknown(bench: Bench) -> None:
    executor = bench.executor()
    assert isinstance(executor, Maintaining)
    attempt = executor.submit(job("one", SLEEP), 1, INVOCATION)
    started_pid(bench, "one")
    kill_supervisor(bench)
    status = poll_attempts(executor, [attempt])[key("one")]
    assert status.state is JobState.UNKNOWN
    assert status.detail == "its supervisor had stopped and was restarted"
    assert wait(executor, [attempt])[key("one")].state is JobState.FAILED


def test_a_job_that_dies_with_its_supervisor_after_a_request_to_cancel_is_cancelled(bench: Bench) -> None:
    executor = bench.executor()
    attempt = executor.submit(job("one", SLEEP), 1, INVOCATION)
    started_pid(bench, "one")
    pid = supervisor_pid(bench.root / "home", INVOCATION)
    os.kill(pid, signal.SIGSTOP)
    Store(bench.root / "home").at(key("one"), 1).request_cancel()
    os.kill(pid, signal.SIGKILL)
    assert wait(executor, [attempt])[key("one")].state is JobState.CANCELLED


def test_sweep_resets_the_age_of_an_attempt(bench: Bench) -> None:
    bench.run(job("one", "pass"))
    directory = Store(bench.root / "home").at(key("one"), 1).path
    os.utime(directory, (0, 0))
    bench.executor().sweep([key("two")])
    assert directory.stat().st_mtime == 0
    bench.executor().sweep([key("one")])
    assert directory.stat().st_mtime > 0


def test_ensure_supervisor_starts_none_for_a_finished_queue(bench: Bench) -> None:
    bench.run(job("one", "pass"))
    stop_supervisors(bench.root / "home")
    assert not ensure_supervisor(Store(bench.root / "home"), queue(bench), bench.environ)


def test_the_log_is_private_and_redacted(bench: Bench) -> None:
    bench.environ = {**bench.environ, "MY_KEY": "t0p-s3cret"}
    executor = bench.executor()
    script = "import os, sys; sys.exit(os.environ['KEY'])"
    attempt = executor.submit(job("one", script, env={"KEY": "host:MY_KEY"}), 1, INVOCATION)
    assert wait(executor, [attempt])[key("one")].detail == "exit status 1: ***"
    assert isinstance(executor, Supervising)
    path = executor.supervisor_log(INVOCATION)
    stop_supervisors(bench.root / "home")
    text = path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert f"{key('one')}-1: failed (exit status 1: ***)" in text
    assert "t0p-s3cret" not in text


def test_an_existing_log_becomes_private(bench: Bench) -> None:
    log = queue(bench).create().log
    log.touch(mode=0o644)
    bench.run(job("one", "pass"))
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_last_error_ignores_routine_messages(bench: Bench) -> None:
    log = queue(bench).create().log
    assert last_error(queue(bench)) == ""
    log.write_text("Traceback (most recent call last):\nModuleNotFoundError: No module named 'x'\n")
    assert last_error(queue(bench)) == "ModuleNotFoundError: No module named 'x'"
    log.write_text("2026-01-01 00:00:00,000 INFO nel_action.executors.local.supervisor: process 1 runs it\n")
    assert last_error(queue(bench)) == ""
    log.write_text("2026-01-01 00:00:00,000 WARNING nel_action.executors.local.supervisor: cannot do it\n")
    assert last_error(queue(bench)).endswith("cannot do it")


def test_supervisor_inherits_a_fixed_list_of_variables() -> None:
    secrets = {"GITHUB_TOKEN": "a", "INPUT_GITHUB_TOKEN": "b", "ACTIONS_RUNTIME_TOKEN": "c", "OTHER": "d"}
    kept = {"PATH": "/bin", "HOME": "/root", "DOCKER_HOST": "unix:///x", "UV_OFFLINE": "1", "LC_ALL": "C"}
    assert supervisor_environ(secrets | kept | {"NEL_ACTION_ATTEMPT": "x", "RUNNER_TRACKING_ID": "y"}) == kept


def test_running_supervisor_has_no_other_variable_of_its_caller(bench: Bench) -> None:
    bench.environ = {**bench.environ, "SOME_TOKEN": "t0p-s3cret"}
    bench.executor().submit(job("one", SLEEP), 1, INVOCATION)
    started_pid(bench, "one")
    pid = supervisor_pid(bench.root / "home", INVOCATION)
    assert b"t0p-s3cret" not in Path(f"/proc/{pid}/environ").read_bytes()
