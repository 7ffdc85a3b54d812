"""A job: its status and its process."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from leptonai.api.v2.types.job import LeptonJob, LeptonJobState, LeptonJobStatus, LeptonJobStatusDetails
from tests.doubles.lepton.clock import Clock
from tests.doubles.lepton.container import Container
from tests.doubles.lepton.logs import Line, Log
from tests.doubles.lepton.settings import Settings
from tests.doubles.lepton.workload import Workload, start

__all__ = ["FINISHED", "Record"]

State = LeptonJobState
FINISHED = frozenset({State.Completed, State.Failed, State.Stopped, State.Archived, State.Deleted})


@dataclass(slots=True)
class Record:
    """A job of the workspace."""

    job: LeptonJob
    directory: Path
    remaining_requests: int
    """Number of requests until the state changes."""
    log: Log = field(default_factory=Log)
    container: Container | None = None
    events: list[tuple[str, str]] = field(default_factory=list)
    runs: int = 0
    replica_failures: int = 0
    job_failures: int = 0
    exited_at: float = 0
    """When its last process exited, in seconds since 1970."""
    finished: float | None = None
    archived: bool = False

    @property
    def id(self) -> str:
        assert self.job.metadata.id_
        return str(self.job.metadata.id_)

    @property
    def status(self) -> LeptonJobStatus:
        assert self.job.status
        return self.job.status

    @property
    def state(self) -> LeptonJobState:
        assert self.status.state
        return self.status.state

    @property
    def running(self) -> bool:
        """Whether its process runs."""
        return self.container is not None and self.container.exit_code is None

    def set_state(self, state: LeptonJobState, requests: int = 0) -> None:
        """Change the state and the counts that depend on it; the state lasts for `requests` requests."""
        running = int(state is State.Running)
        self.status.state, self.remaining_requests = state, requests
        self.status.active = self.status.ready = running
        self.events.append(("Normal", state.value))

    @property
    def run_name(self) -> str:
        """Name of the current run in the history."""
        return f"{self.id}-{len(self.status.job_history)}"

    @property
    def replica(self) -> str:
        return f"{self.run_name}-0"

    def launch(self, settings: Settings, clock: Clock) -> None:
        """Start the process."""
        self.runs += 1
        platform_envs = {"LEPTON_JOB_NAME": self.id, "LEPTON_WORKSPACE_ID": settings.workspace}
        spec = self.job.spec
        replica, run = self.replica, self.run_name
        self.container = start(
            settings,
            Workload(
                image=spec.container.image,
                command=spec.container.command or [],
                envs=spec.envs,
                mounts=spec.mounts,
                platform_envs=platform_envs,
            ),
            self.directory / f"run-{self.runs}",
            on_line=lambda text: self.log.add(Line(clock.nanos(), text, replica, run)),
            on_exit=lambda: self._record_exit(clock.now()),
        )
        self.set_state(State.Running)

    def _record_exit(self, now: float) -> None:
        self.exited_at = now

    def archive_run(self, state: LeptonJobState) -> None:
        """Append the finished run to the history."""
        past = LeptonJobStatusDetails.model_validate(self.status.model_dump(exclude={"job_history"}))
        past.job_name, past.state = self.run_name, state
        self.status.job_history.append(past)
        self.container = None

    def finish(self, state: LeptonJobState, now: float) -> None:
        """Set the final state."""
        self.set_state(state)
        self.status.succeeded = int(state is State.Completed)
        self.status.failed = int(state is State.Failed)
        self.status.completion_time = int(now * 1000)
        self.finished = now
        self.log.finish()
