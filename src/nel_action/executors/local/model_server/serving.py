"""What serves the model: the same server as a process or as a container, reachable from where the harness runs."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final, Protocol

from nel_action.errors import SecretError
from nel_action.executors.local.interface import Running, Step
from nel_action.executors.local.record import AttemptError, JobRecord
from nel_action.executors.local.secrets import Values, resolve
from nel_action.model.job import Reason
from nel_action.model_servers.interface import ServeBinding, ServeCommand, Server
from nel_action.spec.deployment import ServedDeployment

if TYPE_CHECKING:
    from docker import DockerClient

__all__ = [
    "HOST_NAME",
    "LOOPBACK",
    "ServerHost",
    "ServerSite",
    "Serving",
    "bridge_gateway",
    "free_port",
    "server_digest",
    "server_kind",
    "server_network",
    "taken",
    "with_pre_cmd",
]

LOOPBACK: Final = "127.0.0.1"

HOST_NAME: Final = "host.docker.internal"
"""This machine, as its containers know it."""

WITH_PRE_CMD: Final = 'set -e; . ./pre_cmd.sh; exec "$@"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """A server that runs, and where it answers."""

    running: Running
    base: str
    """As the harness sees it (`http://nel-…:8000`)."""
    health: str
    """Base URL as this process sees it."""


class ServerHost(Protocol):
    """One way to run a server."""

    async def setup(self) -> Sequence[Step]:
        """Return what must be done first."""

    async def recover(self) -> Serving | None:
        """Return the server where an earlier agent left it running; remove what else is left of it."""

    async def start(self, values: Values) -> Serving:
        """Start it; it is not healthy yet."""

    async def discard(self) -> None:
        """Remove what is left of it after its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSite:
    """One server of an invocation: its folder and what it is made from."""

    name: str
    folder: Path
    record: JobRecord
    """Of the first job that needs it."""
    deployment: ServedDeployment
    environ: Mapping[str, str]

    @property
    def kind(self) -> Server:
        """What knows this kind of server."""
        return server_kind(self.deployment)

    @property
    def work(self) -> Path:
        """Its working directory."""
        return self.folder / "work"

    @property
    def log(self) -> Path:
        """What it says."""
        return self.folder / "server.log"

    @property
    def checkpoint(self) -> Path | None:
        """The model on this machine."""
        path = self.deployment.checkpoint_path
        return self.record.base_dir / path if path else None

    @property
    def for_containers(self) -> bool:
        """Whether harnesses reach it over a container network."""
        return self.record.settings.runtime == "docker" and self.record.settings.network != "host"

    def command(self, *, host: str, port: int, work: PurePosixPath, checkpoint: PurePosixPath | None) -> ServeCommand:
        """Build the command line and write its files."""
        binding = ServeBinding(host=host, port=port, work_dir=work, checkpoint=checkpoint)
        command = self.kind.command(self.deployment, binding)
        self.work.mkdir(parents=True, exist_ok=True)
        for name, text in command.files.items():
            (self.work / name).parent.mkdir(parents=True, exist_ok=True)
            (self.work / name).write_text(text, encoding="utf-8")
        return command

    def resolve_variables(self, values: Values) -> dict[str, str]:
        """Return the values of the server's own variables."""
        try:
            return resolve(self.deployment.env_vars, values, self.environ)
        except SecretError as error:
            raise AttemptError.failed(Reason.REJECTED, str(error)) from error


def server_kind(deployment: ServedDeployment) -> Server:
    """Return what knows that kind of server."""
    from nel_action.model_servers.registry import server

    return server(deployment.type)


def server_network(record: JobRecord) -> str | None:
    """Return the network that the job's server in a container is on; None where it has none."""
    deployment, asked = record.job.deployment, record.settings.network
    if not isinstance(deployment, ServedDeployment):
        return None
    if (deployment.runtime or record.settings.runtime) != "docker":
        return None
    return asked if asked not in {None, "bridge", "host", "none"} else f"nel-{record.invocation}"


def with_pre_cmd(argv: Sequence[str], deployment: ServedDeployment, work: Path) -> list[str]:
    """Run the deployment's `pre_cmd` first, in the shell that becomes the server."""
    if not deployment.pre_cmd:
        return list(argv)
    (work / "pre_cmd.sh").write_text(f"{deployment.pre_cmd}\n", encoding="utf-8")
    return ["bash", "-c", WITH_PRE_CMD, "server", *argv]


def server_digest(record: JobRecord) -> str:
    """Return what tells one server from another: jobs of the same digest share one."""
    deployment = record.job.deployment.model_dump(mode="json")
    text = json.dumps([deployment, record.job.target.api_endpoint.model_id], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def free_port(host: str, wanted: int) -> int:
    """Return that port of the address, or any free one where it is taken or 0."""
    if wanted and not taken(host, wanted):
        return wanted
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def taken(host: str, port: int) -> bool:
    """Whether somebody listens on that port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False


def bridge_gateway(client: DockerClient) -> str:
    """Return this machine's address on the default bridge; the loopback where the engine has a machine of its own."""
    bridge = client.networks.get("bridge")
    configs = (bridge.attrs.get("IPAM") or {}).get("Config") or []
    gateway = next((found for config in configs if (found := _gateway(config))), LOOPBACK)
    with socket.socket() as probe:
        try:
            probe.bind((gateway, 0))
        except OSError:
            return LOOPBACK
    return gateway


def _gateway(config: Mapping[str, str]) -> str | None:
    """Return the gateway of an IPv4 subnet; the engine may leave the usual one, the first address, unsaid."""
    subnet = ipaddress.ip_network(config.get("Subnet", "::/128"))
    if subnet.version != 4:  # noqa: PLR2004 the version
        return None
    return config.get("Gateway") or str(next(subnet.hosts()))
