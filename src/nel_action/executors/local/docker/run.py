"""The Docker runtime: the harness as a container with the caller's user ID and no capabilities.

Also translates `execution.extra_docker_args`. Only options of `docker run` that keep a job isolated from this machine
are accepted; any other option is rejected by name.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final, NoReturn

from nel_action.errors import EngineError, UsageError
from nel_action.executors.local.attempt import AttemptDir, AttemptError, JobRecord
from nel_action.executors.local.docker.engine import RUNNING_STATES, AsyncEngine, RunningContainer, started_at
from nel_action.executors.local.docker.images import find_local_image, pull_command
from nel_action.executors.local.interface import HarnessPaths, Launch, SetupStep
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
    "DockerRuntime",
    "bind_mount",
    "container_name",
    "container_settings",
    "opens_machine",
    "parse_docker_args",
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

STORE_LABEL: Final = f"{LABEL}.store"
"""Label with the store's path, for people."""

HOME_VARIABLES: Final = {"HOME": "/tmp", "USER": "nel", "LOGNAME": "nel"}  # noqa: S108 inside the container
"""Many programs need these; the caller's user ID has neither a name nor a home directory in the image."""

KEY: Final = "execution.extra_docker_args"

ENGINE_SOCKETS: Final = (
    "/var/run/docker.sock",
    "/run/docker.sock",
    "/run/containerd/containerd.sock",
    "/run/podman/podman.sock",
    "/run/crio/crio.sock",
)
"""A program that can write to one of them controls the machine."""

SINGLE: Final[Mapping[str, tuple[str, Callable[[str], Any]]]] = {
    "--cpus": ("nano_cpus", lambda text: int(float(text) * 1e9)),
    "--cpuset-cpus": ("cpuset_cpus", str),
    "--entrypoint": ("entrypoint", str),
    "--hostname": ("hostname", str),
    "--ipc": ("ipc_mode", str),
    "--memory": ("mem_limit", str),
    "--network": ("network", str),
    "--pids-limit": ("pids_limit", int),
    "--platform": ("platform", str),
    "--runtime": ("runtime", str),
    "--shm-size": ("shm_size", str),
    "--user": ("user", str),
}
"""Option → argument of the engine's client, and how to parse the value."""

REPEATED: Final[Mapping[str, tuple[str, str | None]]] = {
    "--add-host": ("extra_hosts", ":"),
    "--device": ("devices", None),
    "--dns": ("dns", None),
    "--env": ("environment", "="),
    "--label": ("labels", "="),
    "--tmpfs": ("tmpfs", ":"),
    "--ulimit": ("ulimits", None),
    "--volume": ("volumes", None),
}
"""Repeatable option → argument of the engine's client, and the separator between a name and its value."""

SHORT: Final = {"--env": "-e", "--hostname": "-h", "--label": "-l", "--memory": "-m", "--user": "-u", "--volume": "-v"}

SWITCHES: Final = {"--read-only": ("read_only", True), "--rm": ("", True), "--init": ("", True)}
"""Options without a value; those without a name describe the default behaviour."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        msg = f"{KEY}: {message}"
        raise UsageError(msg)


def parse_docker_args(text: str) -> dict[str, Any]:
    """Parse options of `docker run` into arguments of the engine's client (`{"mem_limit": "8g"}`).

    Raises:
        UsageError: an option is unknown, not allowed, or has an invalid value; the message names it.
    """
    try:
        argv = shlex.split(text)
    except ValueError as error:
        msg = f"{KEY}: {error}"
        raise UsageError(msg) from error
    options, unknown = _parser().parse_known_args(argv)
    if options.ipc_mode == "host":
        msg = f"{KEY}: --ipc host would give the job the memory that programs of this machine share"
        raise UsageError(msg, hint="write --ipc private, and set execution.shm_size")
    if unknown and unknown[0].partition("=")[0] == "--gpus":
        msg = f"{KEY}: --gpus has no effect: a harness uses the model through its endpoint"
        raise UsageError(msg, hint="set execution.gpus for the containers of the deployment")
    if unknown:
        msg = f"{KEY}: the option {unknown[0]!r} is not supported"
        raise UsageError(msg, hint=f"supported are: {', '.join(sorted([*SINGLE, *REPEATED, *SWITCHES]))}")
    given = {name: value for name, value in vars(options).items() if value not in (None, False, []) and name}
    return {name: _structured(name, value) for name, value in given.items()}


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(add_help=False, allow_abbrev=False)
    for option, (name, parse) in SINGLE.items():
        parser.add_argument(*_spellings(option), dest=name, type=parse)
    for option, (name, _) in REPEATED.items():
        parser.add_argument(*_spellings(option), dest=name, action="append")
    for option, (name, _) in SWITCHES.items():
        parser.add_argument(option, dest=name, action="store_true")
    return parser


def _spellings(option: str) -> list[str]:
    if option == "--network":
        return [option, "--net"]
    return [option, SHORT[option]] if option in SHORT else [option]


def _structured(name: str, value: Any) -> Any:  # noqa: ANN401 any type that the engine's client takes
    """Convert the values of repeatable options to the types that the engine's client takes."""
    separator = next((separator for argument, separator in REPEATED.values() if argument == name), None)
    if separator is not None:
        return dict(_pair(name, text, separator) for text in value)
    match name:
        case "volumes":
            return [_volume(text) for text in value]
        case "ulimits":
            return [_ulimit(text) for text in value]
        case _:
            return value


def _pair(name: str, text: str, separator: str) -> tuple[str, str]:
    left, separated, right = text.partition(separator)
    if not separated and name == "environment":
        msg = f"{KEY}: --env {text} copies a value from this machine"
        raise UsageError(msg, hint=f"write env_vars: {{{text}: host:{text}}}, which keeps the value secret")
    return left, right


def _volume(text: str) -> str:
    parts: Sequence[str] = text.split(":")
    if len(parts) not in {2, 3} or not parts[0].startswith("/") or not parts[1].startswith("/"):
        msg = f"{KEY}: --volume {text} is not SOURCE:TARGET[:ro] with absolute paths"
        raise UsageError(msg)
    if opens_machine(parts[0]):
        msg = f"{KEY}: --volume {text} would give the job control of this machine"
        raise UsageError(msg)
    return text


def opens_machine(source: str) -> bool:
    """Return whether a mount of this path gives a job control of the machine: the root, or the engine's socket."""
    path = Path(os.path.realpath(source))
    sockets = (Path(os.path.realpath(socket)) for socket in (*ENGINE_SOCKETS, _engine_socket()) if socket)
    names = {Path(socket).name for socket in ENGINE_SOCKETS}
    named = path.name in names or "docker.sock" in source or any((path / name).exists() for name in names)
    return named or path == Path("/") or any(socket.is_relative_to(path) for socket in sockets)


def _engine_socket() -> str:
    host = os.environ.get("DOCKER_HOST", "")
    return host.removeprefix("unix://") if host.startswith("unix://") else ""


def _ulimit(text: str) -> dict[str, Any]:
    name, _, limits = text.partition("=")
    soft, _, hard = limits.partition(":")
    try:
        return {"name": name, "soft": int(soft), "hard": int(hard or soft)}
    except ValueError:
        msg = f"{KEY}: --ulimit {text} is not NAME=SOFT[:HARD]"
        raise UsageError(msg) from None


def container_settings(settings: LocalExecution) -> dict[str, Any]:
    """Return the arguments of the engine's client that apply to every container of a spec."""
    from docker.types import Ulimit

    arguments = parse_docker_args(settings.extra_docker_args)
    if "ulimits" in arguments:
        arguments["ulimits"] = [Ulimit(**limit) for limit in arguments["ulimits"]]
    return {"shm_size": settings.shm_size, "init": True, "labels": {}} | arguments


def spec_mounts(record: JobRecord, binds: Mapping[str, str]) -> list[Any]:
    """Return the mounts that a spec asks for; a missing directory is an error of the engine and is not created."""
    return [bind_mount(str(record.base_dir / source), target) for source, target in binds.items()]


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
            return None
        self._record_start(container)
        return self._running()

    @property
    def _name(self) -> str:
        return container_name(self.attempt)

    def _find(self, client: DockerClient) -> Container | None:
        return _find_container(self.attempt, client)

    async def start(self, launch: Launch) -> RunningContainer:
        """Create and start the container; its name is unique, so that only one process succeeds."""
        self.attempt.claim.touch()
        try:
            container = await self.engine.call(partial(self._create, launch=launch))
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
        settings = container_settings(self.record.settings) | self._limits()
        return client.containers.create(
            image,
            list(launch.argv),
            **{
                **settings,
                "name": self._name,
                # NOTE: the engine's own default may be a driver that cannot be read.
                "log_config": LogConfig(type="json-file"),
                "user": settings.get("user", _caller(client)),
                "security_opt": security_options(client),
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
            mounts.append(bind_mount(job.dataset[0], job.dataset[1], read_only=True))
        return mounts + spec_mounts(self.record, self.record.settings.mounts.evaluation)

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
