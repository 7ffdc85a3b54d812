"""One job: what the platform shows of it, and the process behind it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from leptonai.api.v2.types.job import LeptonJob, LeptonJobState, LeptonJobStatus, LeptonJobStatusDetails
from tests.doubles.lepton.clock import Clock
from tests.doubles.lepton.container import Container
from tests.doubles.lepton.logs import Line, Log
from tests.doubles.lepton.running import Workload, start
from tests.doubles.lepton.settings import Settings

__all__ = ["ENDED", "Record"]

State = LeptonJobState
ENDED = frozenset({State.Completed, State.Failed, State.Stopped, State.Archived, State.Deleted})


@dataclass(slots=True)
class Record:
    """A job that the platform knows."""

    job: LeptonJob
    folder: Path
    looks: int
    """So many looks until the next state."""
    log: Log = field(default_factory=Log)
    container: Container | None = None
    events: list[tuple[str, str]] = field(default_factory=list)
    runs: int = 0
    replica_failures: int = 0
    job_failures: int = 0
    ended_at: float = 0
    """When its last process ended."""
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
        """Whether a process of it lives."""
        return self.container is not None and self.container.exit_code is None

    def to(self, state: LeptonJobState, looks: int = 0) -> None:
        """Change the state and what is counted with it."""
        alive = int(state is State.Running)
        self.status.state, self.looks = state, looks
        self.status.active = self.status.ready = alive
        self.events.append(("Normal", state.value))

    @property
    def run_name(self) -> str:
        """The present try's name in the history."""
        return f"{self.id}-{len(self.status.job_history)}"

    @property
    def replica(self) -> str:
        return f"{self.run_name}-0"

    def launch(self, settings: Settings, clock: Clock) -> None:
        """Start the process."""
        self.runs += 1
        given = {"LEPTON_JOB_NAME": self.id, "LEPTON_WORKSPACE_ID": settings.workspace}
        spec = self.job.spec
        replica, run = self.replica, self.run_name
        self.container = start(
            settings,
            Workload(
                image=spec.container.image,
                command=spec.container.command or [],
                envs=spec.envs,
                mounts=spec.mounts,
                given=given,
            ),
            self.folder / f"run-{self.runs}",
            line=lambda text: self.log.add(Line(clock.nanos(), text, replica, run)),
            ended=lambda: self._stamp(clock.now()),
        )
        self.to(State.Running)

    def _stamp(self, now: float) -> None:
        self.ended_at = now

    def remember(self, state: LeptonJobState) -> None:
        """Put the try that ended into the history, and forget its counts."""
        past = LeptonJobStatusDetails.model_validate(self.status.model_dump(exclude={"job_history"}))
        past.job_name, past.state = self.run_name, state
        self.status.job_history.append(past)
        self.container = None

    def finish(self, state: LeptonJobState, now: float) -> None:
        """Nothing more will happen to it."""
        self.to(state)
        self.status.succeeded = int(state is State.Completed)
        self.status.failed = int(state is State.Failed)
        self.status.completion_time = int(now * 1000)
        self.finished = now
        self.log.finish()
