"""A model server as a container, on a network that it shares with its harnesses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from nel_action.errors import EngineError
from nel_action.executors.local.attempt import AttemptError
from nel_action.executors.local.docker.engine import AsyncEngine, RunningContainer
from nel_action.executors.local.docker.images import find_local_image, pull_command
from nel_action.executors.local.docker.run import (
    HOME_LABEL,
    LABEL,
    STORE_LABEL,
    bind_mount,
    container_settings,
    security_options,
    spec_mounts,
)
from nel_action.executors.local.interface import SetupStep
from nel_action.executors.local.model_server.interface import (
    LOOPBACK,
    ServerContext,
    Serving,
    server_network,
    with_pre_cmd,
)
from nel_action.executors.local.secrets import Values
from nel_action.executors.local.store import Store
from nel_action.model.job import Reason

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container

__all__ = ["CONTAINER_MARKER", "ContainerServer"]

WORK: Final = PurePosixPath("/work")
CHECKPOINT: Final = PurePosixPath("/checkpoint")
CACHE: Final = "/cache"

CONTAINER_MARKER: Final = "container"
"""File in the server's directory: a container was created, which a later supervisor may have to remove."""

DEFAULT_PORT: Final = 8000
"""Port inside the container if the spec names none."""


@dataclass(slots=True)
class ContainerServer:
    """Runs one model server as a container, which outlives its supervisor and is found again by its name."""

    context: ServerContext
    store: Store
    engine: AsyncEngine

    @property
    def _port(self) -> int:
        return self.context.deployment.port or DEFAULT_PORT

    @property
    def _image(self) -> str:
        image = self.context.deployment.image
        if image is None:
            raise AttemptError.failed(Reason.REJECTED, "deployment.image is missing: the image of the model server")
        return image

    async def setup(self) -> Sequence[SetupStep]:
        """Return the pull of the image if it is required."""
        image, pull = self._image, self.context.record.settings.pull
        local = await self.engine.call(lambda client: find_local_image(client, image, None))
        if local is not None and pull != "always":
            return []
        if pull == "never":
            raise AttemptError.failed(Reason.IMAGE, f"{image} is not on this machine, and execution.pull is never")
        return [SetupStep(phase=f"pulling {image}", argv=pull_command(image, None), reason=Reason.IMAGE)]

    async def recover(self) -> Serving | None:
        """Return the running container of that name; remove one that has terminated."""
        container = await self.engine.call(self._find)
        if container is None:
            return None
        if container.status != "running":
            await self.discard()
            return None
        return self._serving(container)

    def _find(self, client: DockerClient) -> Container | None:
        from docker.errors import NotFound

        try:
            return client.containers.get(self.context.name)
        except NotFound:
            return None

    async def start(self, values: Values) -> Serving:
        """Create and start the container."""
        try:
            container = await self.engine.call(partial(self._start, values=values))
        except EngineError as error:
            raise AttemptError.failed(Reason.INFRASTRUCTURE, f"cannot start the model server: {error}") from error
        return self._serving(container)

    def _start(self, client: DockerClient, *, values: Values) -> Container:
        from docker.types import LogConfig

        context = self.context
        settings = container_settings(context.record.settings, self.engine.environ)
        (context.directory / CONTAINER_MARKER).touch()
        checkpoint = CHECKPOINT if context.checkpoint else None
        command = context.command(host="0.0.0.0", port=self._port, work=WORK, checkpoint=checkpoint)  # noqa: S104 only in its own network
        argv = with_pre_cmd(command.argv, context.deployment, context.work) if command.argv else []
        container = client.containers.create(
            self._image,
            argv[1:],
            **{
                **settings,
                # NOTE: argv is the complete command line; the image's own entrypoint would take it as arguments.
                **({"entrypoint": argv[:1]} if argv else {}),
                "name": context.name,
                "working_dir": str(WORK) if argv else None,
                "environment": {**settings.get("environment", {}), **command.env, **context.resolve_variables(values)},
                "labels": {**settings["labels"], **self._labels()},
                "mounts": self._mounts(),
                "security_opt": security_options(client) + settings.get("security_opt", []),
                "device_requests": self._gpus(),
                "network": self._network(client),
                "ports": {f"{self._port}/tcp": (LOOPBACK, None)},
                "log_config": LogConfig(type="json-file"),
            },
        )
        container.start()
        container.reload()
        return container

    def _network(self, client: DockerClient) -> str:
        """Return the server's network; create the invocation's own network if it does not exist."""
        name = str(server_network(self.context.record))
        if not client.networks.list(names=[f"^{name}$"]):
            client.networks.create(name, labels=self._labels())
        return name

    def _labels(self) -> dict[str, str]:
        invocation = self.context.record.invocation
        return {f"{LABEL}.invocation": invocation, f"{LABEL}.role": "server"} | {
            HOME_LABEL: self.store.identity,
            STORE_LABEL: str(self.store.root),
        }

    def _mounts(self) -> list[Any]:
        context = self.context
        mounts = [bind_mount(str(context.work), str(WORK), read_only=True)]
        if context.checkpoint is not None:
            mounts += spec_mounts(context.record, {str(context.checkpoint): f"{CHECKPOINT}:ro"}, self.engine.environ)
        if context.deployment.cache_path is not None:
            mounts += spec_mounts(context.record, {context.deployment.cache_path: CACHE}, self.engine.environ)
        return mounts + spec_mounts(context.record, context.record.settings.mounts.deployment, self.engine.environ)

    def _gpus(self) -> list[Any]:
        from docker.types import DeviceRequest

        gpus = self.context.record.settings.gpus
        if not gpus:
            return []
        return [DeviceRequest(count=-1 if gpus == "all" else gpus, capabilities=[["gpu"]])]

    def _serving(self, container: Container) -> Serving:
        published = container.ports.get(f"{self._port}/tcp") or [{}]
        local_url = f"http://{LOOPBACK}:{published[0].get('HostPort', 0)}"
        base_url = f"http://{self.context.name}:{self._port}" if self.context.for_containers else local_url
        program = RunningContainer(self.engine, self.context.name, self.context.log)
        return Serving(program=program, base_url=base_url, local_url=local_url)

    async def discard(self) -> None:
        """Remove the container."""
        await self.engine.call(self._remove)

    def _remove(self, client: DockerClient) -> None:
        container = self._find(client)
        if container is not None and container.labels.get(HOME_LABEL) == self.store.identity:
            container.remove(v=True, force=True)
