"""The server runtime protocol: how one model server runs on this machine, as a container or as a process."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final, Protocol

from nel_action.errors import SecretError
from nel_action.executors.local.attempt import AttemptError, JobRecord
from nel_action.executors.local.interface import RunningProgram, SetupStep
from nel_action.executors.local.model_server.ports import PortOwner
from nel_action.executors.local.secrets import Values, resolve_env
from nel_action.model.job import Reason
from nel_action.model_servers.interface import ServeBinding, ServeCommand, ServerType
from nel_action.spec.deployment import ServedDeployment

if TYPE_CHECKING:
    from docker import DockerClient

__all__ = [
    "HOST_NAME",
    "LOOPBACK",
    "ServerContext",
    "ServerRuntime",
    "Serving",
    "bridge_gateway",
    "server_digest",
    "server_kind",
    "server_network",
    "with_pre_cmd",
]

LOOPBACK: Final = "127.0.0.1"

HOST_NAME: Final = "host.docker.internal"
"""Name of this machine inside containers."""

PRE_CMD_SCRIPT: Final = 'set -e; . ./pre_cmd.sh; exec "$@"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """A running model server and its addresses."""

    program: RunningProgram
    base_url: str
    """Base URL as the harness sees it (`http://nel-…:8000`)."""
    local_url: str
    """Base URL as this process sees it."""
    port_owner: Callable[[], PortOwner] | None = None
    """Returns who listens on the server's port; None where the port can be no other program's."""


class ServerRuntime(Protocol):
    """Runs one model server."""

    async def setup(self) -> Sequence[SetupStep]:
        """Return the steps that are still required before `start`."""

    async def recover(self) -> Serving | None:
        """Return the server that an earlier supervisor left running; remove it if it is not usable."""

    async def start(self, values: Values) -> Serving:
        """Start the server; it may not be healthy yet."""

    async def discard(self) -> None:
        """Remove what remains of the server after it has terminated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerContext:
    """What a model server of an invocation is created from, and where its files are."""

    name: str
    directory: Path
    record: JobRecord
    """Of the first job that needs the server."""
    deployment: ServedDeployment
    environ: Mapping[str, str]

    @property
    def kind(self) -> ServerType:
        """Implementation of this kind of server."""
        return server_kind(self.deployment)

    @property
    def work(self) -> Path:
        """Working directory of the server."""
        return self.directory / "work"

    @property
    def log(self) -> Path:
        """Output of the server."""
        return self.directory / "server.log"

    @property
    def started_file(self) -> Path:
        """Start record of the server's process."""
        return self.directory / "started"

    @property
    def checkpoint(self) -> Path | None:
        """Path of the model on this machine."""
        path = self.deployment.checkpoint_path
        return self.record.base_dir / path if path else None

    @property
    def for_containers(self) -> bool:
        """Whether harnesses reach the server through a container network."""
        return self.record.settings.runtime == "docker" and self.record.settings.network != "host"

    def command(self, *, host: str, port: int, work: PurePosixPath, checkpoint: PurePosixPath | None) -> ServeCommand:
        """Build the server's command line and write its files.

        Args:
            host: address to listen on.
            port: port to listen on.
            work: working directory as the server sees it.
            checkpoint: path of the model as the server sees it.
        """
        binding = ServeBinding(host=host, port=port, work_dir=work, checkpoint=checkpoint)
        command = self.kind.command(self.deployment, binding)
        self.work.mkdir(parents=True, exist_ok=True)
        for name, text in command.files.items():
            (self.work / name).parent.mkdir(parents=True, exist_ok=True)
            (self.work / name).write_text(text, encoding="utf-8")
        return command

    def resolve_variables(self, values: Values) -> dict[str, str]:
        """Return the variables of the server with their values.

        Raises:
            AttemptError: a value is missing.
        """
        try:
            return resolve_env(self.deployment.env_vars, values, self.environ)
        except SecretError as error:
            raise AttemptError.failed(Reason.REJECTED, str(error)) from error


def server_kind(deployment: ServedDeployment) -> ServerType:
    """Return the implementation of a deployment's kind of server."""
    from nel_action.model_servers.registry import server_type

    return server_type(deployment.type)


def server_network(record: JobRecord) -> str | None:
    """Return the network of the job's model server; None if it has no server in a container."""
    deployment, network = record.job.deployment, record.settings.network
    if not isinstance(deployment, ServedDeployment):
        return None
    if (deployment.runtime or record.settings.runtime) != "docker":
        return None
    return network if network not in {None, "bridge", "host", "none"} else f"nel-{record.invocation}"


def with_pre_cmd(argv: Sequence[str], deployment: ServedDeployment, work: Path) -> list[str]:
    """Run the deployment's `pre_cmd` in the shell that then executes the server.

    Args:
        argv: command line of the server.
        deployment: the deployment.
        work: working directory of the server, where the script is written.
    """
    if not deployment.pre_cmd:
        return list(argv)
    (work / "pre_cmd.sh").write_text(f"{deployment.pre_cmd}\n", encoding="utf-8")
    return ["bash", "-c", PRE_CMD_SCRIPT, "server", *argv]


def server_digest(record: JobRecord) -> str:
    """Return the identity of a job's model server; jobs with the same digest share one server."""
    deployment = record.job.deployment.model_dump(mode="json")
    text = json.dumps([deployment, record.job.target.api_endpoint.model_id], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def bridge_gateway(client: DockerClient) -> str:
    """Return this machine's address on the default bridge; the loopback if the engine runs in a virtual machine."""
    bridge = client.networks.get("bridge")
    configs = (bridge.attrs.get("IPAM") or {}).get("Config") or []
    gateway = next((address for config in configs if (address := _gateway(config))), LOOPBACK)
    with socket.socket() as probe:
        try:
            probe.bind((gateway, 0))
        except OSError:
            return LOOPBACK
    return gateway


def _gateway(config: Mapping[str, str]) -> str | None:
    """Return the gateway of an IPv4 subnet; the engine may omit it if it is the first address."""
    subnet = ipaddress.ip_network(config.get("Subnet", "::/128"))
    if subnet.version != 4:  # noqa: PLR2004 the version
        return None
    return config.get("Gateway") or str(next(subnet.hosts()))
