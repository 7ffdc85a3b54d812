"""Jobs for the local executor: real programs, run by the `command` harness."""

from __future__ import annotations

import hashlib
import os
import secrets
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nel_action.executors.interface import Executor, ExecutorContext, poll_attempts
from nel_action.executors.local.executor import LocalExecutor
from nel_action.executors.local.store import Store
from nel_action.executors.local.supervisor import MODULE
from nel_action.model.env_ref import parse_references
from nel_action.model.job import Attempt, JobStatus, Key
from nel_action.model.task import EndpointType, HarnessTask, Params
from nel_action.planning.jobs import Job
from nel_action.spec.deployment import NoDeployment
from nel_action.spec.execution import LocalExecution
from nel_action.spec.target import ApiEndpoint, Target

__all__ = ["INVOCATION", "Bench", "job", "key", "started_pid", "stop_supervisors", "supervisor_pid", "wait"]

INVOCATION = "0123456789abcdef"

TIMEOUT = 60.0
"""Seconds until a test that waits fails."""

SALT = os.environ.setdefault("TEST_SALT", secrets.token_hex(8))
"""Distinguishes the containers of concurrent test runs; inherited by subprocesses of a test."""


def key(name: str) -> Key:
    """Return a well-formed key that is unique to the current test."""
    test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]
    return Key(f"nel-{hashlib.sha256(f'{SALT} {test} {name}'.encode()).hexdigest()[:16]}")


def job(name: str, script: str, *, index: int = 0, **fields: Any) -> Job:  # noqa: ANN401
    """Return a job that runs a Python script.

    Args:
        name: name of the job, from which its key is derived.
        script: argument of `python -c`.
        index: position in the plan.
        fields: other fields of the job; `python`, `command` and `task_dir` replace those of the task.
    """
    python = fields.pop("python", sys.executable)
    task = HarnessTask(
        name=name,
        display=name,
        endpoint_type=EndpointType.CHAT,
        params=Params(),
        command=fields.pop("command", (python, "-c", script)),
        task_dir=fields.pop("task_dir", None),
    )
    target = Target(api_endpoint=ApiEndpoint(url="http://127.0.0.1:9/v1/chat/completions", model_id="tiny"))
    defaults: dict[str, Any] = {
        "key": key(name),
        "pinned": True,
        "index": index,
        "name": name,
        "task": task,
        "harness": "command",
        "model": "tiny",
        "target": target,
        "deployment": NoDeployment(),
        "timeout": 60.0,
    }
    fields["env"] = parse_references(fields.get("env", {}))
    return Job(**(defaults | fields))


@dataclass
class Bench:
    """A temporary `$NEL_ACTION_HOME`, and executors that use it."""

    root: Path
    environ: Mapping[str, str]
    settings: dict[str, Any] = field(default_factory=lambda: {"runtime": "process"})

    def executor(self, **settings: object) -> LocalExecutor:
        """Return a new executor, as another process would construct it."""
        context = ExecutorContext(home=self.root / "home", environ=self.environ, base_dir=self.root)
        return LocalExecutor(LocalExecution.model_validate(self.settings | settings), context)

    def run(self, *jobs: Job, **settings: object) -> dict[Key, JobStatus]:
        """Submit jobs and wait until they have finished."""
        executor = self.executor(**settings)
        return wait(executor, [executor.submit(item, 1, INVOCATION) for item in jobs])


def wait(executor: Executor, attempts: Iterable[Attempt], timeout: float = TIMEOUT) -> dict[Key, JobStatus]:
    """Poll until all attempts have finished; return their statuses."""
    attempts, deadline = list(attempts), time.monotonic() + timeout
    while True:
        statuses = dict(poll_attempts(executor, attempts))
        if all(status.state.final for status in statuses.values()):
            return statuses
        assert time.monotonic() < deadline, statuses
        time.sleep(0.05)


def started_pid(bench: Bench, name: str) -> int:
    """Wait until a job's process has started; return its ID."""
    attempt = Store(bench.root / "home").at(key(name), 1)
    deadline = time.monotonic() + 30
    while (started := attempt.start_record()) is None or started.pid is None:
        assert time.monotonic() < deadline, attempt.exit_record()
        time.sleep(0.02)
    return started.pid


def stop_supervisors(home: Path) -> None:
    """Cancel all unfinished jobs and wait until every supervisor has exited."""
    store = Store(home)
    for attempt in store.all():
        if not attempt.finished:
            attempt.request_cancel()
    deadline = time.monotonic() + 30
    for queue in store.queues():
        queue.notify()
        while (lock := queue.try_lock()) is None:
            assert time.monotonic() < deadline, queue.log.read_text()
            time.sleep(0.05)
        os.close(lock)


def supervisor_pid(home: Path, invocation: str) -> int:
    """Return the process ID of an invocation's supervisor."""
    arguments = [MODULE.encode(), str(home).encode(), invocation.encode()]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            argv = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if all(argument in argv for argument in arguments):
            return int(process.name)
    msg = f"{invocation} has no supervisor"
    raise AssertionError(msg)
