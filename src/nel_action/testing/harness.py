"""The bench: what the suite must know about an executor, and the jobs that it submits."""

from __future__ import annotations

import fcntl
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

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
from nel_action.testing.expect import eventually, expect

__all__ = ["INVOCATION", "ExecutorBench", "count_starts"]

INVOCATION: Final = "0123456789abcdef"

TARGET: Final = Target(api_endpoint=ApiEndpoint(url="http://127.0.0.1:9/v1/chat/completions", model_id="tiny"))


@dataclass(kw_only=True)
class ExecutorBench:
    """The environment of one test; a pytest fixture `bench` returns a new one for each test."""

    execution: Mapping[str, Any] | ExecutionBase
    """The `execution` section of a spec."""
    home: Path
    """An empty directory: `$NEL_ACTION_HOME`."""
    scratch: Path
    """A directory that jobs and the test reach under the same path, and that jobs may write to."""
    environ: Mapping[str, str] = field(default_factory=dict)
    """Environment variables of the executor."""
    image: str | None = None
    """Container image of all jobs, where the executor needs one."""
    timeout: float = 60
    """Seconds after which waiting fails the test."""
    min_time_limit: float = 1
    """The shortest time limit of a job, in seconds, that the backend enforces."""
    factory: Callable[[ExecutionBase, ExecutorContext], Executor] = open_executor
    """Constructs the executor; the default uses the entry points, as nel-action does."""
    disconnect: Callable[[], AbstractContextManager[object]] | None = None
    """Returns a context in which the backend does not respond."""
    lose_response: Callable[[], object] | None = None
    """Makes the backend process the next submission and lose the response."""
    hold_jobs: Callable[[], AbstractContextManager[object]] | None = None
    """Returns a context in which jobs stay pending; for a backend that may accept one name twice, where concurrent
    callers need time to agree on one job."""
    count_requests: Callable[[], int] | None = None
    """Returns the number of requests that the backend has received."""

    def open(self) -> Executor:
        """Return a new executor without any state, as a process on another machine would have it."""
        context = ExecutorContext(home=self.home, environ=self.environ, base_dir=self.home)
        return self.factory(self.spec().execution, context)

    def spec(self) -> Spec:
        """Return a spec with this execution."""
        return Spec.model_validate({"target": TARGET, "execution": self.execution})

    def plan(self, *jobs: Job) -> Plan:
        """Return a plan of these jobs."""
        return Plan(spec=self.spec(), context=Context(), jobs=jobs)

    def job(self, script: str, *arguments: str, **fields: Any) -> Job:  # noqa: ANN401 - fields of a job
        """Return a job that runs a POSIX shell script with the `command` harness.

        Args:
            script: the script; `{output_dir}` in it is replaced by the directory of the artifacts.
            *arguments: the script's `$1`, `$2`, ….
            **fields: fields of the job.
        """
        name = fields.pop("name", "Suite_task.1-shot")
        task = HarnessTask(
            name=name,
            display=name,
            endpoint_type=EndpointType.CHAT,
            params=Params(),
            command=("sh", "-c", script, "sh", *arguments),
        )
        defaults: dict[str, Any] = {
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
        return Job(**(defaults | fields))

    def counting_job(self, script: str, **fields: Any) -> tuple[Job, Path]:  # noqa: ANN401 - fields of a job
        """Return a job that appends a line to a file when it starts, and the file; see `count_starts`."""
        starts = self.scratch / f"starts-{secrets.token_hex(4)}"
        return self.job(f'echo started >> "$1"\n{script}', str(starts), **fields), starts

    def blocking_job(self, **fields: Any) -> tuple[Job, Path]:  # noqa: ANN401 - fields of a job
        """Return a job that runs until it is stopped, and a file that it locks while it runs."""
        lock = self.scratch / f"lock-{secrets.token_hex(4)}"
        script = 'exec 9> "$1"; flock 9; echo up; echo up > "$1.up"; sleep 600; echo never'
        return self.job(script, str(lock), **fields), lock

    def wait_until_locked(self, lock: Path) -> None:
        """Wait until a blocking job runs."""
        up = lock.with_name(f"{lock.name}.up")
        eventually(up.exists, bool, timeout=self.timeout, message="the job did not start")

    def wait_until_unlocked(self, lock: Path) -> None:
        """Wait until no process of a blocking job runs."""
        eventually(lambda: _unlocked(lock), bool, timeout=self.timeout, message="the job's process did not stop")

    def wait_until_final(self, executor: Executor, *attempts: Attempt) -> Sequence[JobStatus]:
        """Poll until all attempts have finished; return their statuses in the same order."""
        statuses = eventually(
            lambda: poll_attempts(executor, attempts),
            lambda statuses: all(status.state.final for status in statuses.values()),
            timeout=self.timeout,
            message="not all jobs finished",
        )
        omitted = [attempt.key for attempt in attempts if attempt.key not in statuses]
        expect(not omitted, f"polling omitted {omitted}")
        return [statuses[attempt.key] for attempt in attempts]

    def wait_until_running(self, executor: Executor, attempt: Attempt) -> JobStatus:
        """Poll until an attempt is running; return its status."""
        return eventually(
            lambda: poll_attempts(executor, [attempt])[attempt.key],
            lambda status: status.state is JobState.RUNNING,
            timeout=self.timeout,
            message="the job was not observed running",
        )


def count_starts(file: Path) -> int:
    """Return how often a counting job has started."""
    return len(file.read_text().splitlines()) if file.exists() else 0


def _unlocked(lock: Path) -> bool:
    with lock.open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
