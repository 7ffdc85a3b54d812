"""One endpoint: its spec, its server's process, and why it is not ready."""

from __future__ import annotations

import re
import socket
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from leptonai.api.v2.types.deployment import LeptonDeployment, LeptonDeploymentState
from leptonai.api.v2.types.readiness import ReplicaReadinessReason
from leptonai.api.v2.types.termination import ReplicaTermination
from tests.doubles.lepton.clock import Clock
from tests.doubles.lepton.container import Container
from tests.doubles.lepton.gateway import Gateway
from tests.doubles.lepton.logs import Line, Log
from tests.doubles.lepton.running import Workload, start
from tests.doubles.lepton.settings import Settings

__all__ = ["Endpoint"]

State = LeptonDeploymentState
Reason = ReplicaReadinessReason
DEFAULT_PORT = 40000


@dataclass(slots=True)
class Endpoint:
    """An endpoint that the platform knows."""

    model: LeptonDeployment
    raw: dict[str, object] | None
    """The body as the newer routes have it."""
    folder: Path
    gateway: Gateway
    looks: int
    state: LeptonDeploymentState = State.Starting
    reason: ReplicaReadinessReason = Reason.InProgress
    message: str = ""
    log: Log = field(default_factory=Log)
    container: Container | None = None
    runs: int = 0
    since: float = 0
    """When its process was started."""
    asleep: bool = False
    """Scaled to zero by the platform."""
    terminations: list[ReplicaTermination] = field(default_factory=list)

    @property
    def name(self) -> str:
        assert self.model.metadata
        assert self.model.metadata.name
        return str(self.model.metadata.name)

    @property
    def running(self) -> bool:
        """Whether a process of it lives."""
        return self.container is not None and self.container.exit_code is None

    @property
    def wanted(self) -> int:
        """How many replicas there should be."""
        requirement = self.model.spec.resource_requirement if self.model.spec else None
        least = requirement.min_replicas if requirement else None
        return 0 if self.asleep else 1 if least is None else least

    @property
    def ready(self) -> bool:
        return self.state is State.Ready

    @property
    def replica(self) -> str:
        return f"{self.name}-{self.runs}"

    @property
    def shape(self) -> str | None:
        assert self.model.spec
        return self.model.spec.resource_requirement.resource_shape if self.model.spec.resource_requirement else None

    def to(self, state: LeptonDeploymentState, reason: ReplicaReadinessReason, message: str = "") -> None:
        self.state, self.reason, self.message = state, reason, message
        self.gateway.open = state is State.Ready

    def launch(self, settings: Settings, clock: Clock) -> None:
        """Start the server on a free port, which takes the place of the declared one wherever the command says it."""
        assert self.model.spec
        assert self.model.spec.container
        self.runs, self.since = self.runs + 1, clock.now()
        spec, container = self.model.spec, self.model.spec.container
        declared = container.ports[0].container_port if container.ports else DEFAULT_PORT
        self.gateway.port = _free_port()
        place = re.compile(rf"(?<!\d){declared}(?!\d)")
        replica = self.replica
        self.container = start(
            settings,
            Workload(
                image=container.image,
                command=[place.sub(str(self.gateway.port), word) for word in container.command or []],
                envs=spec.envs,
                mounts=spec.mounts,
                given={"LEPTON_DEPLOYMENT_NAME": self.name, "LEPTON_WORKSPACE_ID": settings.workspace},
            ),
            self.folder / f"run-{self.runs}",
            line=lambda text: self.log.add(Line(clock.nanos(), text, replica, replica)),
            ended=lambda: None,
        )
        self.to(State.Starting, Reason.InProgress)

    def listens(self) -> bool:
        """Whether the server accepts connections."""
        try:
            with closing(socket.create_connection(("127.0.0.1", self.gateway.port), timeout=1)):
                return True
        except OSError:
            return False

    def end(self) -> None:
        """End the server, at once."""
        if self.container:
            self.container.kill()
            self.container.wait()
            self.container = None


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
