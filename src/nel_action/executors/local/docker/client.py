"""The runtime with containers: the harness in its image, as the calling user, with nothing it does not need."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from nel_action.errors import EngineError
from nel_action.executors.local.attempt import AttemptDir
from nel_action.executors.local.docker.arguments import parse
from nel_action.executors.local.docker.images import local_image, pull_command
from nel_action.executors.local.docker.run import Engine, RunningContainer, started_at
from nel_action.executors.local.interface import Launch, Places, Step
from nel_action.executors.local.record import AttemptError, JobRecord
from nel_action.files import write_atomically
from nel_action.model.job import Reason
from nel_action.spec.execution import LocalExecution

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container

__all__ = ["LABEL_STORE", "PLACES", "DockerRuntime", "container_settings", "labels"]

PLACES: Final = Places(
    artifacts=PurePosixPath("/results"), work=PurePosixPath("/work"), task=PurePosixPath("/task"), mounted=True
)
"""Where a harness in a container finds its directories."""

LABEL: Final = "nel-action"
LABEL_STORE: Final = f"{LABEL}.store"
"""Says whose container it is: two homes on one engine do not touch each other's."""

HOME: Final = {"HOME": "/tmp", "USER": "nel", "LOGNAME": "nel"}  # noqa: S108 the container's own
"""The caller's user has neither a name nor a home in the image, and many programs ask for both."""


def labels(record: JobRecord, store: str) -> dict[str, str]:
    """Return a harness container's labels."""
    return {
        f"{LABEL}.key": record.job.key,
        f"{LABEL}.attempt": str(record.number),
        f"{LABEL}.invocation": record.invocation,
        LABEL_STORE: store,
    }


def container_settings(settings: LocalExecution) -> dict[str, Any]:
    """Return what the spec's `execution` says of every container, as arguments of the engine's client."""
    from docker.types import Ulimit

    given = parse(settings.extra_docker_args)
    if "ulimits" in given:
        given["ulimits"] = [Ulimit(**limit) for limit in given["ulimits"]]
    given.pop("gpus", None)
    base = {"shm_size": settings.shm_size, "init": True, "labels": {}}
    return base | given


def mounts(record: JobRecord, binds: Mapping[str, str]) -> list[Any]:
    """Return the binds that the spec asks for; a folder that is missing is an error, never made."""
    return [bind(str(record.base_dir / folder), place) for folder, place in binds.items()]


def bind(source: str, place: str, *, read_only: bool = False) -> Any:  # noqa: ANN401 the client's own untyped dict
    """Return one bind; `place` may end in `:ro`."""
    from docker.types import Mount

    path, _, mode = place.partition(":")
    return Mount(target=path, source=source, type="bind", read_only=read_only or mode == "ro")


@dataclass(slots=True)
class DockerRuntime:
    """One attempt as a container."""

    attempt: AttemptDir
    record: JobRecord
    engine: Engine
    network: str | None = None
    """The network that it shares with its server."""

    @property
    def places(self) -> Places:
        """The mount points."""
        return PLACES

    @property
    def _image(self) -> tuple[str, str | None]:
        job = self.record.job
        if job.image is None:
            raise AttemptError.failed(Reason.REJECTED, "the task has no image; name one as its container")
        return job.image, job.image_digest

    async def setup(self) -> Sequence[Step]:
        """Return the pulling of the image, where it is not here."""
        reference, digest = self._image
        here = await self.engine.call(lambda client: local_image(client, reference, digest))
        pull = self.record.settings.pull
        if here is not None and (pull != "always" or digest is not None):
            return []
        if pull == "never":
            raise AttemptError.failed(Reason.IMAGE, f"{reference} is not on this machine, and execution.pull is never")
        return [Step(phase=f"pulling {reference}", argv=pull_command(reference, digest), reason=Reason.IMAGE)]

    async def recover(self) -> RunningContainer | None:
        """Find the container that an earlier agent made."""
        container = await self.engine.call(self._find)
        if container is None:
            if self.attempt.started() is not None:
                raise AttemptError.failed(Reason.INFRASTRUCTURE, "its container was removed while it ran")
            return None
        if container.labels.get(LABEL_STORE) != str(self.attempt.path.parent):
            detail = f"another container is called {self.attempt.name}; `docker rm` it if nobody needs it"
            raise AttemptError.failed(Reason.REJECTED, detail)
        if container.status == "created":
            await self.engine.call(lambda _: container.remove())
            return None
        self._note(container)
        return self._running()

    def _find(self, client: DockerClient) -> Container | None:
        from docker.errors import NotFound

        try:
            return client.containers.get(self.attempt.name)
        except NotFound:
            return None

    async def start(self, launch: Launch) -> RunningContainer:
        """Create and start it; the engine lets only one have the name."""
        try:
            container = await self.engine.call(partial(self._create, launch=launch))
            await self.engine.call(lambda _: container.start())
        except EngineError as error:
            raise AttemptError.failed(Reason.INFRASTRUCTURE, _advised(str(error))) from error
        await self.engine.call(lambda _: container.reload())
        self._note(container)
        return self._running()

    def _create(self, client: DockerClient, *, launch: Launch) -> Container:
        reference, digest = self._image
        image = local_image(client, reference, digest)
        if image is None:
            raise AttemptError.failed(Reason.IMAGE, f"{reference} is not what its digest says")
        settings = container_settings(self.record.settings) | self._limits()
        return client.containers.create(
            image,
            list(launch.argv),
            **{
                **settings,
                "name": self.attempt.name,
                "user": settings.get("user", caller(client)),
                "security_opt": security(client),
                "working_dir": str(PLACES.work),
                "environment": {**HOME, **settings.get("environment", {}), **launch.env},
                "labels": {**settings["labels"], **labels(self.record, str(self.attempt.path.parent))},
                "mounts": self._mounts(),
                "cap_drop": ["ALL"],
                **self._network(settings),
            },
        )

    def _limits(self) -> dict[str, Any]:
        settings = self.record.settings
        limits: dict[str, Any] = {}
        if settings.memory is not None:
            # NOTE: without the second the engine would allow as much again in swap
            limits = {"mem_limit": settings.memory, "memswap_limit": settings.memory}
        if settings.cpus is not None:
            limits["nano_cpus"] = int(settings.cpus * 1e9)
        return limits

    def _network(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        network = self.record.settings.network or settings.get("network") or self.network
        if network in {"host", "none"}:
            return {"network_mode": network, "network": None}
        hosts = {"host.docker.internal": "host-gateway"} | settings.get("extra_hosts", {})
        return {"network": network, "extra_hosts": hosts}

    def _mounts(self) -> list[Any]:
        attempt, job = self.attempt, self.record.job
        binds = [bind(str(attempt.artifacts), str(PLACES.artifacts)), bind(str(attempt.work), str(PLACES.work))]
        if job.task.task_dir is not None:
            binds.append(bind(str(attempt.path / "task"), str(PLACES.task), read_only=True))
        if job.dataset is not None:
            binds.append(bind(job.dataset[0], job.dataset[1], read_only=True))
        return binds + mounts(self.record, self.record.settings.mounts.evaluation)

    def _note(self, container: Container) -> None:
        """Write down that it started, and when the engine says it did."""
        fields = {"at": started_at(container.attrs["State"]), "container": container.id}
        write_atomically(self.attempt.started_file, json.dumps(fields).encode())

    def _running(self) -> RunningContainer:
        return RunningContainer(self.engine, self.attempt.name, self.attempt.client_log)

    async def discard(self) -> None:
        """Remove the container, whose ending is written down."""
        await self.engine.call(self._remove)

    def _remove(self, client: DockerClient) -> None:
        from docker.errors import NotFound

        try:
            container = client.containers.get(self.attempt.name)
            if container.labels.get(LABEL_STORE) == str(self.attempt.path.parent):
                container.remove(v=True, force=True)
        except NotFound:
            return


def caller(client: DockerClient) -> str:
    """Return the caller as the container knows him: a rootless engine shows him as its root."""
    rootless = any("rootless" in option for option in client.info().get("SecurityOptions") or [])
    return "0:0" if rootless else f"{os.getuid()}:{os.getgid()}"


def security(client: DockerClient) -> list[str]:
    """Let nobody gain rights; where SELinux guards this machine's folders, let the container at those it mounts."""
    guarded = any("selinux" in option for option in client.info().get("SecurityOptions") or [])
    return ["no-new-privileges", "label=disable"] if guarded else ["no-new-privileges"]


def _advised(message: str) -> str:
    if "bind source path does not exist" in message:
        return f"{message} (the engine does not see this folder: if nel-action runs in a container, mount it there too)"
    if "could not select device driver" in message:
        return f"{message} (GPUs need the NVIDIA container toolkit)"
    return message
