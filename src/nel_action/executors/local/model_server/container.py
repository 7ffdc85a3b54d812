"""A server as a container, on a network that it shares with its harnesses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from nel_action.errors import EngineError
from nel_action.executors.local.docker.client import LABEL, LABEL_STORE, bind, container_settings, mounts, security
from nel_action.executors.local.docker.images import local_image, pull_command
from nel_action.executors.local.docker.run import Engine, RunningContainer
from nel_action.executors.local.interface import Step
from nel_action.executors.local.model_server.serving import LOOPBACK, ServerSite, Serving, server_network, with_pre_cmd
from nel_action.executors.local.record import AttemptError
from nel_action.executors.local.secrets import Values
from nel_action.model.job import Reason

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container

__all__ = ["CONTAINER", "ContainerServer"]

WORK: Final = PurePosixPath("/work")
CHECKPOINT: Final = PurePosixPath("/checkpoint")
CACHE: Final = "/cache"

CONTAINER: Final = "container"
"""In the server's folder: there was a container, which an agent that takes over may have to remove."""

DEFAULT_PORT: Final = 8000
"""Inside the container, where 0 would have to be looked up."""


@dataclass(slots=True)
class ContainerServer:
    """One server as a container; it outlives its agent, and the next one finds it by its name."""

    site: ServerSite
    store: str
    """The store's folder, which says whose container it is."""
    engine: Engine

    @property
    def _port(self) -> int:
        return self.site.deployment.port or DEFAULT_PORT

    @property
    def _image(self) -> str:
        image = self.site.deployment.image
        if image is None:
            raise AttemptError.failed(Reason.REJECTED, "deployment.image is missing: the server's image")
        return image

    async def setup(self) -> Sequence[Step]:
        """Return the pulling of the image, where it is not here."""
        image, pull = self._image, self.site.record.settings.pull
        here = await self.engine.call(lambda client: local_image(client, image, None))
        if here is not None and pull != "always":
            return []
        if pull == "never":
            raise AttemptError.failed(Reason.IMAGE, f"{image} is not on this machine, and execution.pull is never")
        return [Step(phase=f"pulling {image}", argv=pull_command(image, None), reason=Reason.IMAGE)]

    async def recover(self) -> Serving | None:
        """Return the running container of that name; remove one that has ended."""
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
            return client.containers.get(self.site.name)
        except NotFound:
            return None

    async def start(self, values: Values) -> Serving:
        """Create and start it."""
        try:
            container = await self.engine.call(partial(self._start, values=values))
        except EngineError as error:
            raise AttemptError.failed(Reason.INFRASTRUCTURE, f"the server did not start: {error}") from error
        return self._serving(container)

    def _start(self, client: DockerClient, *, values: Values) -> Container:
        settings = container_settings(self.site.record.settings)
        (self.site.folder / CONTAINER).touch()
        checkpoint = CHECKPOINT if self.site.checkpoint else None
        command = self.site.command(host="0.0.0.0", port=self._port, work=WORK, checkpoint=checkpoint)  # noqa: S104 only in its own network
        argv = with_pre_cmd(command.argv, self.site.deployment, self.site.work) if command.argv else []
        container = client.containers.create(
            self._image,
            argv[1:],
            **{
                **settings,
                # NOTE: the words are the whole command line; an image's own entrypoint would take them as arguments
                **({"entrypoint": argv[:1]} if argv else {}),
                "name": self.site.name,
                "working_dir": str(WORK) if argv else None,
                "environment": {
                    **settings.get("environment", {}),
                    **command.env,
                    **self.site.resolve_variables(values),
                },
                "labels": {**settings["labels"], **self._labels()},
                "mounts": self._mounts(),
                "security_opt": security(client),
                "device_requests": self._gpus(),
                "network": self._network(client),
                "ports": {f"{self._port}/tcp": (LOOPBACK, None)},
            },
        )
        container.start()
        container.reload()
        return container

    def _network(self, client: DockerClient) -> str:
        """Return the server's network; create the invocation's own where it is not there."""
        name = str(server_network(self.site.record))
        if not client.networks.list(names=[f"^{name}$"]):
            client.networks.create(name, labels=self._labels())
        return name

    def _labels(self) -> dict[str, str]:
        invocation = self.site.record.invocation
        return {f"{LABEL}.invocation": invocation, f"{LABEL}.role": "server", LABEL_STORE: self.store}

    def _mounts(self) -> list[Any]:
        binds = [bind(str(self.site.work), str(WORK), read_only=True)]
        if self.site.checkpoint is not None:
            binds.append(bind(str(self.site.checkpoint), str(CHECKPOINT), read_only=True))
        if self.site.deployment.cache_path is not None:
            binds.append(bind(str(self.site.record.base_dir / self.site.deployment.cache_path), CACHE))
        return binds + mounts(self.site.record, self.site.record.settings.mounts.deployment)

    def _gpus(self) -> list[Any]:
        from docker.types import DeviceRequest

        gpus = self.site.record.settings.gpus
        if not gpus:
            return []
        return [DeviceRequest(count=-1 if gpus == "all" else gpus, capabilities=[["gpu"]])]

    def _serving(self, container: Container) -> Serving:
        published = container.ports.get(f"{self._port}/tcp") or [{}]
        health = f"http://{LOOPBACK}:{published[0].get('HostPort', 0)}"
        base = f"http://{self.site.name}:{self._port}" if self.site.for_containers else health
        running = RunningContainer(self.engine, self.site.name, self.site.log)
        return Serving(running=running, base=base, health=health)

    async def discard(self) -> None:
        """Remove the container."""
        await self.engine.call(self._remove)

    def _remove(self, client: DockerClient) -> None:
        container = self._find(client)
        if container is not None and container.labels.get(LABEL_STORE) == self.store:
            container.remove(v=True, force=True)
