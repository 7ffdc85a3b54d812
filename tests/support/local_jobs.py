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
from nel_action.executors.local.supervisor_processes import AGENT, try_lock
from nel_action.model.env_ref import parse_references
from nel_action.model.job import Attempt, JobStatus, Key
from nel_action.model.task import EndpointType, HarnessTask, Params
from nel_action.planning.jobs import Job
from nel_action.spec.deployment import NoDeployment
from nel_action.spec.execution import LocalExecution
from nel_action.spec.target import ApiEndpoint, Target

__all__ = ["INVOCATION", "Bench", "agent_pid", "end_agents", "job", "key", "wait"]

INVOCATION = "0123456789abcdef"

PATIENCE = 60.0
"""Seconds after which a test that waits has failed."""


SALT = os.environ.setdefault("TEST_SALT", secrets.token_hex(8))
"""Keeps the containers of two runs of the tests apart; a test's own processes inherit it."""


def key(name: str) -> Key:
    """Return a well-formed key, another one in each test."""
    test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]
    return Key(f"nel-{hashlib.sha256(f'{SALT} {test} {name}'.encode()).hexdigest()[:16]}")


def job(name: str, script: str, *, index: int = 0, **fields: Any) -> Job:  # noqa: ANN401
    """Return a job that runs a Python script (`-c`)."""
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
    """A home of its own, and executors on it."""

    root: Path
    environ: Mapping[str, str]
    settings: dict[str, Any] = field(default_factory=lambda: {"runtime": "process"})

    def executor(self, **settings: object) -> LocalExecutor:
        """Return an executor such as another process would build."""
        workspace = ExecutorContext(home=self.root / "home", environ=self.environ, base_dir=self.root)
        return LocalExecutor(LocalExecution.model_validate(self.settings | settings), workspace)

    def run(self, *jobs: Job, **settings: object) -> dict[Key, JobStatus]:
        """Submit jobs and wait for their ends."""
        executor = self.executor(**settings)
        return wait(executor, [executor.submit(each, 1, INVOCATION) for each in jobs])


def wait(executor: Executor, attempts: Iterable[Attempt], patience: float = PATIENCE) -> dict[Key, JobStatus]:
    """Poll until all have ended."""
    attempts, deadline = list(attempts), time.monotonic() + patience
    while True:
        seen = dict(poll_attempts(executor, attempts))
        if all(status.state.final for status in seen.values()):
            return seen
        assert time.monotonic() < deadline, seen
        time.sleep(0.05)


def end_agents(home: Path) -> None:
    """Cancel what a test left, and see that no agent is left either."""
    store = Store(home)
    for attempt in store.all():
        if not attempt.ended:
            attempt.request_cancel()
    deadline = time.monotonic() + 30
    for folder in (store.root / "agents").glob("*"):
        queue = store.queue(folder.name)
        queue.wake()
        while (lock := try_lock(queue)) is None:
            assert time.monotonic() < deadline, queue.log.read_text()
            time.sleep(0.05)
        os.close(lock)


def agent_pid(home: Path, invocation: str) -> int:
    """Return the process id of an invocation's agent."""
    words = [AGENT.encode(), str(home).encode(), invocation.encode()]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if all(word in command for word in words):
            return int(process.name)
    msg = f"no agent works {invocation}"
    raise AssertionError(msg)
