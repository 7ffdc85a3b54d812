"""The Docker runtime: the harness as a container with the caller's user ID and no capabilities."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from nel_action.errors import EngineError
from nel_action.executors.local.attempt import AttemptDir, AttemptError, JobRecord
from nel_action.executors.local.docker.engine import RUNNING_STATES, AsyncEngine, RunningContainer, started_at
from nel_action.executors.local.docker.images import find_local_image, pull_command
from nel_action.executors.local.docker.isolation import opening_mount
from nel_action.executors.local.docker.options import parse_docker_args
from nel_action.executors.local.interface import HarnessPaths, Launch, Preceded, SetupStep
from nel_action.executors.local.store import store_identity
from nel_action.files import write_atomically
from nel_action.model.job import Reason
from nel_action.spec.execution import LocalExecution

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container

__all__ = [
    "CONTAINER_PATHS",
    "HOME_LABEL",
    "HOME_VARIABLES",
    "LABEL",
    "STORE_LABEL",
    "UNTIL_LABEL",
    "DockerRuntime",
    "bind_mount",
    "container_name",
    "container_settings",
    "is_abandoned",
    "security_options",
    "spec_mounts",
    "stop_container",
]

CONTAINER_PATHS: Final = HarnessPaths(
    artifacts=PurePosixPath("/results"), work=PurePosixPath("/work"), task=PurePosixPath("/task"), mounted=True
)
"""Mount points of an attempt's directories in a harness container."""

LABEL: Final = "nel-action"
"""Prefix of the labels of containers and networks."""

HOME_LABEL: Final = f"{LABEL}.home"
"""Label with the store's random ID; keeps stores that share an engine apart."""

UNTIL_LABEL: Final = f"{LABEL}.until"
"""Label with the time (seconds since 1970) after which no supervisor uses the container of a harness."""

STORE_LABEL: Final = f"{LABEL}.store"
"""Label with the store's path, for people."""

NEVER_STARTED: Final = 60.0
"""Seconds after which a container that was created is not started any more; its removal makes a later start fail."""

STARTING: Final = "starting"
"""Content of an attempt's claim from before its container is started."""

OVERDUE: Final = 600.0
"""Seconds after its time limit in which a supervisor has certainly stopped its container."""

HOME_VARIABLES: Final = {"HOME": "/tmp", "USER": "nel", "LOGNAME": "nel"}  # noqa: S108 inside the container
"""Many programs need these; the caller's user ID has neither a name nor a home directory in the image."""


def container_settings(settings: LocalExecution, environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the arguments of the engine's client that apply to every container of a spec."""
    from docker.types import Ulimit

    arguments = parse_docker_args(settings.extra_docker_args, environ)
    if "ulimits" in arguments:
        arguments["ulimits"] = [Ulimit(**limit) for limit in arguments["ulimits"]]
    return {"shm_size": settings.shm_size, "init": True, "labels": {}} | arguments


def spec_mounts(record: JobRecord, binds: Mapping[str, str], environ: Mapping[str, str]) -> list[Any]:
    """Return the mounts that a spec asks for; a missing directory is an error of the engine and is not created.

    Args:
        record: the job.
        binds: path on this machine, relative to the spec → path in the container.
        environ: variables of this process.
    """
    return [bind_mount(_safe(record.base_dir / source, environ), target) for source, target in binds.items()]


def _safe(source: Path, environ: Mapping[str, str]) -> str:
    """Return the path without links.

    Raises:
        AttemptError: it opens this machine; links may have changed since the spec was checked.
    """
    if (opening := opening_mount(str(source), environ)) is not None:
        raise AttemptError.failed(Reason.REJECTED, f"a mount of {source} would give the job {opening.reason}")
    with suppress(OSError):
        return os.path.realpath(source)
    return str(source)


def bind_mount(source: str, target: str, *, read_only: bool = False) -> Any:  # noqa: ANN401 untyped in the client
    """Return a bind mount.

    Args:
        source: path on this machine.
        target: path in the container; may end in `:ro`.
        read_only: mount it read-only in any case.
    """
    from docker.types import Mount

    path, _, mode = target.partition(":")
    return Mount(target=path, source=source, type="bind", read_only=read_only or mode == "ro")


@dataclass(slots=True)
class DockerRuntime:
    """Runs one attempt as a container."""

    attempt: AttemptDir
    record: JobRecord
    engine: AsyncEngine
    network: str | None = None
    """Network shared with the model servers."""

    @property
    def paths(self) -> HarnessPaths:
        """Mount points of the attempt's directories."""
        return CONTAINER_PATHS

    @property
    def _image(self) -> tuple[str, str | None]:
        job = self.record.job
        if job.image is None:
            raise AttemptError.failed(Reason.REJECTED, "the task has no image; name one with container:")
        return job.image, job.image_digest

    async def setup(self) -> Sequence[SetupStep]:
        """Return the pull of the image if it is required."""
        reference, digest = self._image
        local = await self.engine.call(lambda client: find_local_image(client, reference, digest))
        pull = self.record.settings.pull
        if local is not None and (pull != "always" or digest is not None):
            return []
        if pull == "never":
            raise AttemptError.failed(Reason.IMAGE, f"{reference} is not on this machine, and execution.pull is never")
        return [SetupStep(phase=f"pulling {reference}", argv=pull_command(reference, digest), reason=Reason.IMAGE)]

    async def recover(self) -> RunningContainer | None:
        """Return the container that an earlier supervisor started."""
        container = await self.engine.call(self._find)
        if container is None:
            if self.attempt.start_record() is not None:
                raise AttemptError.failed(Reason.INFRASTRUCTURE, "its container was removed while it ran")
            return None
        if not _is_own(self.attempt, container) or not self.attempt.claim.exists():
            store = container.labels.get(STORE_LABEL, "a program other than nel-action")
            detail = (
                f"the container {self._name} exists and belongs to {store}, not to this attempt; "
                f"it is left alone: run again with --fresh, which uses another name"
            )
            raise AttemptError.failed(Reason.REJECTED, detail)
        if container.status == "created":
            await self.engine.call(lambda _: container.remove())
            if self.attempt.claim.read_text(encoding="utf-8") != STARTING:
                return None
            # NOTE: the program may have run for a moment, and written results; it does not run again in this attempt.
            msg = "the engine or the supervisor stopped while the container was started"
            raise AttemptError.failed(Reason.INFRASTRUCTURE, msg)
        self._record_start(container)
        return self._running()

    @property
    def _name(self) -> str:
        return container_name(self.attempt)

    def _find(self, client: DockerClient) -> Container | None:
        return _find_container(self.attempt, client)

    async def predecessor(self) -> AttemptDir | None:
        """Return an attempt of the same job, perhaps of another store, whose container runs."""
        try:
            return await self.engine.call(partial(find_rival, attempt=self.attempt))
        except EngineError:
            # NOTE: the preparation reports what is wrong with the engine, and nothing starts without asking again.
            return None

    async def start(self, launch: Launch) -> RunningContainer:
        """Create the container and start it unless the same job runs; its name is unique to this attempt."""
        self.attempt.claim.touch()
        try:
            container = await self.engine.call(partial(self._create, launch=launch))
            if (rival := await self.engine.call(partial(find_rival, attempt=self.attempt, own=container))) is not None:
                await self.engine.call(lambda _: container.remove(v=True))
                raise Preceded(rival)
            self.attempt.claim.write_text(STARTING, encoding="utf-8")
            await self.engine.call(lambda _: container.start())
        except EngineError as error:
            raise AttemptError.failed(Reason.INFRASTRUCTURE, _with_advice(str(error))) from error
        await self.engine.call(lambda _: container.reload())
        self._record_start(container)
        return self._running()

    def _create(self, client: DockerClient, *, launch: Launch) -> Container:
        from docker.types import LogConfig

        reference, digest = self._image
        image = find_local_image(client, reference, digest)
        if image is None:
            raise AttemptError.failed(Reason.IMAGE, f"{reference} does not have the digest {digest}")
        settings = container_settings(self.record.settings, self.engine.environ) | self._limits()
        return client.containers.create(
            image,
            list(launch.argv),
            **{
                **settings,
                "name": self._name,
                # NOTE: the engine's own default may be a driver that cannot be read.
                "log_config": LogConfig(type="json-file"),
                "user": settings.get("user", _caller(client)),
                "security_opt": security_options(client) + settings.get("security_opt", []),
                "working_dir": str(CONTAINER_PATHS.work),
                "environment": {**HOME_VARIABLES, **settings.get("environment", {}), **launch.env},
                "labels": {**settings["labels"], **self._labels()},
                "mounts": self._mounts(),
                "cap_drop": ["ALL"],
                **self._network(settings),
            },
        )

    def _labels(self) -> dict[str, str]:
        return {
            f"{LABEL}.key": self.record.job.key,
            f"{LABEL}.attempt": str(self.record.number),
            f"{LABEL}.invocation": self.record.invocation,
            UNTIL_LABEL: str(int(time.time() + self.record.job.timeout + OVERDUE)),
            HOME_LABEL: store_identity(self.attempt.path.parent),
            STORE_LABEL: str(self.attempt.path.parent),
        }

    def _limits(self) -> dict[str, Any]:
        settings = self.record.settings
        limits: dict[str, Any] = {}
        if settings.memory is not None:
            # NOTE: without memswap_limit the engine allows the same amount again in swap.
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
        attempt, job, paths = self.attempt, self.record.job, CONTAINER_PATHS
        mounts = [
            bind_mount(str(attempt.artifacts), str(paths.artifacts)),
            bind_mount(str(attempt.work), str(paths.work)),
        ]
        if job.task.task_dir is not None:
            mounts.append(bind_mount(str(attempt.path / "task"), str(paths.task), read_only=True))
        if job.dataset is not None:
            path = _safe(Path(job.dataset[0]), self.engine.environ)
            mounts.append(bind_mount(path, job.dataset[1], read_only=True))
        return mounts + spec_mounts(self.record, self.record.settings.mounts.evaluation, self.engine.environ)

    def _record_start(self, container: Container) -> None:
        """Write the start record with the time that the engine reports."""
        fields = {"at": started_at(container.attrs["State"]), "container": container.id}
        write_atomically(self.attempt.started_file, json.dumps(fields).encode())

    def _running(self) -> RunningContainer:
        return RunningContainer(self.engine, self._name, self.attempt.client_log)

    async def stop(self) -> None:
        """Terminate the container if it runs, and verify that it has stopped."""
        await stop_container(self.attempt, self.engine)

    async def discard(self) -> None:
        """Remove the container."""
        await self.engine.call(self._remove)

    def _remove(self, client: DockerClient) -> None:
        from docker.errors import NotFound

        container = self._find(client)
        if container is not None and _is_own(self.attempt, container) and self.attempt.claim.exists():
            with suppress(NotFound):
                container.remove(v=True, force=True)


def find_rival(client: DockerClient, attempt: AttemptDir, own: Container | None = None) -> AttemptDir | None:
    """Return another attempt of the same job on this engine, of any store, that must end first.

    Each attempt creates its container before it looks, so that of two at least one finds the other; the older of two
    containers that were not started yet is started. Containers that no supervisor uses any more are removed.

    Args:
        client: the engine.
        attempt: the attempt that is about to start.
        own: its container, created but not started; None if it has none yet.
    """
    from docker.errors import APIError

    same: dict[str, str | list[str] | bool] = {"label": f"{LABEL}.key={attempt.key}"}
    for other in client.containers.list(all=True, filters=same, ignore_removed=True):
        waits = other.status == "created" and own is not None and _age(other) < _age(own)
        if other.name == container_name(attempt) or not (waits or other.status in RUNNING_STATES):
            continue
        store, number = (other.labels.get(label, "") for label in (STORE_LABEL, f"{LABEL}.attempt"))
        rival = AttemptDir(Path(store) / f"{attempt.key}-{number}")
        # NOTE: a finished attempt never starts what an engine created for it before it stopped answering.
        if is_abandoned(other) or (other.status == "created" and _is_finished(rival)):
            with suppress(APIError):
                other.remove(v=True, force=other.status != "created")
            continue
        return rival
    return None


def _is_finished(attempt: AttemptDir) -> bool:
    """Whether an attempt of any store has finished; False if that is not known here."""
    try:
        return attempt.finished
    except OSError:
        return False


def _age(container: Container) -> tuple[str, str]:
    """Return what orders containers by their creation."""
    return str(container.attrs["Created"]), str(container.id)


def is_abandoned(container: Container) -> bool:
    """Whether no supervisor can use the container of a harness any more: overdue, or never started."""
    if container.status == "created":
        return time.time() - started_at({"StartedAt": container.attrs["Created"]}) > NEVER_STARTED
    until = container.labels.get(UNTIL_LABEL, "")
    return until.isdecimal() and time.time() > int(until)


def container_name(attempt: AttemptDir) -> str:
    """Return the name of an attempt's container: unique on the engine, also if another store has the same job."""
    return f"{attempt.name}-{store_identity(attempt.path.parent)[:8]}"


async def stop_container(attempt: AttemptDir, engine: AsyncEngine) -> None:
    """Terminate an attempt's container if it runs, and verify that it has stopped.

    Raises:
        EngineError: it is not known whether it has stopped.
    """
    if attempt.claim.exists() and await engine.call(partial(_runs, attempt)):
        await RunningContainer(engine, container_name(attempt), attempt.client_log).terminate()
        if await engine.call(partial(_runs, attempt)):
            msg = f"the container {container_name(attempt)} still runs after SIGKILL"
            raise EngineError(msg)


def _runs(attempt: AttemptDir, client: DockerClient) -> bool:
    container = _find_container(attempt, client)
    return container is not None and container.status in RUNNING_STATES and _is_own(attempt, container)


def _find_container(attempt: AttemptDir, client: DockerClient) -> Container | None:
    from docker.errors import NotFound

    try:
        return client.containers.get(container_name(attempt))
    except NotFound:
        return None


def _is_own(attempt: AttemptDir, container: Container) -> bool:
    return bool(container.labels.get(HOME_LABEL) == store_identity(attempt.path.parent))


def _caller(client: DockerClient) -> str:
    """Return the caller's user and group ID; a rootless engine maps the caller to root."""
    rootless = any("rootless" in option for option in client.info().get("SecurityOptions") or [])
    return "0:0" if rootless else f"{os.getuid()}:{os.getgid()}"


def security_options(client: DockerClient) -> list[str]:
    """Forbid new privileges; with SELinux, disable labels so that the container can access mounted directories."""
    selinux = any("selinux" in option for option in client.info().get("SecurityOptions") or [])
    return ["no-new-privileges", "label=disable"] if selinux else ["no-new-privileges"]


def _with_advice(message: str) -> str:
    if "bind source path does not exist" in message:
        return f"{message} (the engine cannot see it; if nel-action runs in a container, mount it there too)"
    if "could not select device driver" in message:
        return f"{message} (GPUs require the NVIDIA container toolkit)"
    return message
