"""What the suite needs to know of an executor, and jobs for it."""

from __future__ import annotations

import fcntl
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nel_action.executors.interface import Executor, ExecutorContext, poll_attempts
from nel_action.executors.registry import open_executor
from nel_action.model.env_ref import parse_references
from nel_action.model.job import Attempt, JobState, JobStatus, Key
from nel_action.model.task import EndpointType, HarnessTask, Params
from nel_action.planning.jobs import Context, Job, Plan
from nel_action.spec.deployment import NoDeployment
from nel_action.spec.execution import ExecutionBase
from nel_action.spec.model import Spec
from nel_action.spec.target import ApiEndpoint, Target
from nel_action.testing.expect import eventually

__all__ = ["INVOCATION", "ExecutorBench"]

INVOCATION = "0123456789abcdef"

TARGET = Target(api_endpoint=ApiEndpoint(url="http://127.0.0.1:9/v1/chat/completions", model_id="tiny"))


@dataclass(kw_only=True)
class ExecutorBench:
    """One test's place to work; a pytest fixture `bench` returns a fresh one for each test."""

    execution: Mapping[str, Any] | ExecutionBase
    """The `execution` of a spec, as somebody would write it."""
    home: Path
    """A folder of the test's own: `$NEL_ACTION_HOME`."""
    scratch: Path
    """A folder that jobs and the test see under the same path, and that jobs may write to."""
    environ: Mapping[str, str] = field(default_factory=dict)
    """What executors find in their environment."""
    image: str | None = None
    """The harness image of all jobs, where the executor needs one."""
    patience: float = 60
    """Seconds after which a wait has failed."""
    shortest_limit: float = 1
    """The shortest time limit, in seconds, that the backend keeps."""
    opener: Callable[[ExecutionBase, ExecutorContext], Executor] = open_executor
    """How an executor is opened; the default goes by the entry point, as nel-action does."""
    cut_off: Callable[[], AbstractContextManager[object]] | None = None
    """Keeps the backend from answering for as long as the context lasts."""
    lose_answer: Callable[[], object] | None = None
    """Makes the backend do what it is asked next, and its answer to a submission get lost."""
    queueing: Callable[[], AbstractContextManager[object]] | None = None
    """Keeps jobs waiting for as long as the context lasts; for a backend that takes a name twice, where callers have to
    agree on one job before any starts."""
    round_trips: Callable[[], int] | None = None
    """How often the backend has been asked so far."""

    def open(self) -> Executor:
        """Return an executor that knows nothing, as another process on another machine would have it."""
        workspace = ExecutorContext(home=self.home, environ=self.environ, base_dir=self.home)
        return self.opener(self.spec().execution, workspace)

    def spec(self) -> Spec:
        """Return a spec with this execution."""
        return Spec.model_validate({"target": TARGET, "execution": self.execution})

    def plan(self, *jobs: Job) -> Plan:
        """Return a plan of these jobs."""
        return Plan(spec=self.spec(), context=Context(), jobs=jobs)

    def job(self, script: str, *words: str, **fields: Any) -> Job:  # noqa: ANN401 whatever a job has
        """Return a job that runs a POSIX shell script under the contract of the `command` harness.

        `words` are its `$1`, `$2`, …; `{output_dir}` in it is where artifacts go.
        """
        name = fields.pop("name", "Suite_task.1-shot")
        task = HarnessTask(
            name=name,
            display=name,
            endpoint_type=EndpointType.CHAT,
            params=Params(),
            command=("sh", "-c", script, "sh", *words),
        )
        plain: dict[str, Any] = {
            "key": Key(f"nel-{secrets.token_hex(8)}"),
            "pinned": True,
            "index": 0,
            "name": name,
            "task": task,
            "harness": "command",
            "model": "tiny",
            "target": TARGET,
            "deployment": NoDeployment(),
            "image": self.image,
            "timeout": 600.0,
        }
        fields["env"] = parse_references(fields.get("env", {}))
        return Job(**(plain | fields))

    def counted(self, job_script: str, **fields: Any) -> tuple[Job, Path]:  # noqa: ANN401
        """Return a job that first adds a line to a file, and that file."""
        began = self.scratch / f"began-{secrets.token_hex(4)}"
        return self.job(f'echo began >> "$1"\n{job_script}', str(began), **fields), began

    def held(self, **fields: Any) -> tuple[Job, Path]:  # noqa: ANN401
        """Return a job that runs until it is ended, and a file that it keeps locked for as long as it lives."""
        lock = self.scratch / f"held-{secrets.token_hex(4)}"
        script = 'exec 9> "$1"; flock 9; echo up; echo up > "$1.up"; sleep 600; echo never'
        return self.job(script, str(lock), **fields), lock

    def until_held(self, lock: Path) -> None:
        """Wait until the job that holds this file runs."""
        eventually(lock.with_name(f"{lock.name}.up").exists, bool, limit=self.patience, message="the job did not run")

    def until_let_go(self, lock: Path) -> None:
        """Wait until nothing of the job that held this file lives."""
        eventually(lambda: _free(lock), bool, limit=self.patience, message="the job's process still lives")

    def until_final(self, executor: Executor, *attempts: Attempt) -> Sequence[JobStatus]:
        """Poll until all of them have ended; return how."""
        seen = eventually(
            lambda: poll_attempts(executor, attempts),
            lambda statuses: all(status.state.final for status in statuses.values()),
            limit=self.patience,
            message="not all jobs ended",
        )
        return [seen[attempt.key] for attempt in attempts]

    def until_running(self, executor: Executor, attempt: Attempt) -> JobStatus:
        """Poll until it runs."""
        return eventually(
            lambda: poll_attempts(executor, [attempt])[attempt.key],
            lambda status: status.state is JobState.RUNNING,
            limit=self.patience,
            message="the job was not seen running",
        )


def _free(lock: Path) -> bool:
    with lock.open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
