"""An endpoint: its spec, the process of its server, and its readiness."""

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
from tests.doubles.lepton.settings import Settings
from tests.doubles.lepton.workload import Workload, start

__all__ = ["Endpoint"]

State = LeptonDeploymentState
Reason = ReplicaReadinessReason
DEFAULT_PORT = 40000


@dataclass(slots=True)
class Endpoint:
    """An endpoint of the workspace."""

    model: LeptonDeployment
    raw: dict[str, object] | None
    """The request body of the newer API."""
    directory: Path
    gateway: Gateway
    remaining_requests: int
    """Number of requests until the state changes."""
    state: LeptonDeploymentState = State.Starting
    reason: ReplicaReadinessReason = Reason.InProgress
    message: str = ""
    log: Log = field(default_factory=Log)
    container: Container | None = None
    runs: int = 0
    since: float = 0
    """When its process was started, in seconds since 1970."""
    asleep: bool = False
    """Whether the platform has scaled it to zero."""
    terminations: list[ReplicaTermination] = field(default_factory=list)

    @property
    def name(self) -> str:
        assert self.model.metadata
        assert self.model.metadata.name
        return str(self.model.metadata.name)

    @property
    def running(self) -> bool:
        """Whether its process runs."""
        return self.container is not None and self.container.exit_code is None

    @property
    def desired_replicas(self) -> int:
        """Number of replicas that the platform tries to run."""
        requirement = self.model.spec.resource_requirement if self.model.spec else None
        min_replicas = requirement.min_replicas if requirement else None
        return 0 if self.asleep else 1 if min_replicas is None else min_replicas

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

    def set_state(self, state: LeptonDeploymentState, reason: ReplicaReadinessReason, message: str = "") -> None:
        """Change the state and its reason; the gateway is open only while the endpoint is ready."""
        self.state, self.reason, self.message = state, reason, message
        self.gateway.open = state is State.Ready

    def launch(self, settings: Settings, clock: Clock) -> None:
        """Start the server; a free port replaces the declared one in its command."""
        assert self.model.spec
        assert self.model.spec.container
        self.runs, self.since = self.runs + 1, clock.now()
        spec, container = self.model.spec, self.model.spec.container
        declared = container.ports[0].container_port if container.ports else DEFAULT_PORT
        self.gateway.port = _free_port()
        port_pattern = re.compile(rf"(?<!\d){declared}(?!\d)")
        replica = self.replica
        self.container = start(
            settings,
            Workload(
                image=container.image,
                command=[port_pattern.sub(str(self.gateway.port), argument) for argument in container.command or []],
                envs=spec.envs,
                mounts=spec.mounts,
                platform_envs={"LEPTON_DEPLOYMENT_NAME": self.name, "LEPTON_WORKSPACE_ID": settings.workspace},
            ),
            self.directory / f"run-{self.runs}",
            on_line=lambda text: self.log.add(Line(clock.nanos(), text, replica, replica)),
            on_exit=lambda: None,
        )
        self.set_state(State.Starting, Reason.InProgress)

    def listens(self) -> bool:
        """Whether the server accepts connections."""
        try:
            with closing(socket.create_connection(("127.0.0.1", self.gateway.port), timeout=1)):
                return True
        except OSError:
            return False

    def kill(self) -> None:
        """Kill the server and wait until it has exited."""
        if self.container:
            self.container.kill()
            self.container.wait()
            self.container = None


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
