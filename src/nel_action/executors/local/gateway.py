"""The gateway of an attempt on this machine: as the parent of the harness's process, or next to its container.

Next to a container it is a process of its own session, which survives its supervisor like the container does. Its
address and process ID are in the attempt's directory, where the next supervisor finds them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from nel_action.executors.gateway import (
    COUNTERS_FILE,
    UPSTREAM_KEY,
    behind_gateway,
    config_text,
    gateway_config,
    gateway_url,
    harness_key,
)
from nel_action.executors.local.attempt import AttemptDir, AttemptError, JobRecord
from nel_action.executors.local.docker.options import parse_docker_args
from nel_action.executors.local.interface import Launch
from nel_action.executors.local.logs import last_line
from nel_action.executors.local.model_server.interface import HOST_NAME, LOOPBACK, bridge_gateway
from nel_action.executors.local.subprocesses import MARK, is_alive, kill_leftovers
from nel_action.executors.records import open_record
from nel_action.files import write_atomically
from nel_action.gateway.runner import PLACEHOLDER, STOPPED, TOKEN, move_earlier
from nel_action.harnesses.interface import Command
from nel_action.model.job import JobState, Reason
from nel_action.retry import Backoff
from nel_action.spec.execution import LocalExecution

if TYPE_CHECKING:
    from docker import DockerClient

__all__ = [
    "RECORD_ROOT",
    "GatewayDied",
    "GatewayServer",
    "Placement",
    "behind_gateway",
    "container_placement",
    "counters_file",
    "gateway_url",
    "harness_side",
    "parent_placement",
]

RECORD_ROOT: Final = "record"
"""Directory of all records below `$NEL_ACTION_HOME`."""
START_INTERVAL: Final = Backoff(initial=0.02, factor=1.3, maximum=0.5)
"""Pauses between two looks for the address of a gateway."""
WATCH_INTERVAL: Final = Backoff(initial=0.5, factor=1.0, jitter=0.0)
"""Pauses between two looks at a running gateway."""
INHERITED_BY_GATEWAY: Final = frozenset({
    *("PATH", "LANG", "TZ", "ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
    *("all_proxy", "http_proxy", "https_proxy", "no_proxy", "SSL_CERT_DIR", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"),
})  # fmt: skip
"""Variables that a gateway next to a container needs of this machine and of the job."""
OVERDUE: Final = 600.0
"""Seconds after the job's time limit in which its container has certainly stopped."""
STOP_TIMEOUT: Final = 15.0
"""Seconds in which a gateway finishes its record."""
_PROGRAM: Final = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); "
    "from nel_action.gateway.__main__ import main; sys.exit(main(sys.argv[1:]))"
)


def program() -> list[str]:
    """Return the command line of the gateway from this installation, without its subcommand."""
    # NOTE: isolated and without packages, because it starts before every harness.
    return [sys.executable, "-I", "-S", "-c", _PROGRAM, str(Path(__file__).parents[3])]


def counters_file(attempt: AttemptDir) -> Path:
    """Return the path of the counters of an attempt's gateway."""
    return attempt.logs / COUNTERS_FILE


def write_config(
    attempt: AttemptDir, record: JobRecord, url: str, home: Path, *, token_name: str | None = None
) -> Path:
    """Open the record and write the configuration of an attempt's gateway; return its path.

    Args:
        attempt: the attempt.
        record: what was submitted.
        url: of the model's route, as this machine reaches it.
        home: `$NEL_ACTION_HOME`.
        token_name: variable with the token that the harness must send; None if `gateway run` creates one.
    """
    job = record.job
    assert job.gateway is not None  # noqa: S101 the caller's condition
    config = gateway_config(
        job,
        url=url,
        record=str(open_record(home / RECORD_ROOT, job.key, job.gateway.keep_days)),
        counters=str(counters_file(attempt)),
        attempt=record.number,
        invocation=record.invocation,
    )
    config |= {"token_name": token_name} if token_name else {}
    path = attempt.path / "gateway.json"
    write_atomically(path, config_text(config).encode())
    return path


class Placement(Protocol):
    """Where the gateway of an attempt runs, as far as the harness notices."""

    @property
    def address(self) -> str:
        """`host:port` that the harness connects to, or the placeholder for it."""

    def wrap(self, command: Command, launch: Launch) -> Launch:
        """Return the command line and environment to start instead of the harness's own.

        Args:
            command: the harness's command.
            launch: the same with all values of variables.
        """


@dataclass(frozen=True, slots=True)
class ParentPlacement:
    """The gateway as the parent of the harness's process."""

    attempt: AttemptDir
    record: JobRecord
    config: Path
    address: str = PLACEHOLDER

    def wrap(self, command: Command, launch: Launch) -> Launch:
        """Return `gateway run … -- ARGV`; the key is in the gateway's environment only."""
        key = harness_key(self.record.job, command, launch.env)
        options = ["--config", str(self.config)]
        for name in key.tokens:
            options += ["--token-env", name]
        for name, text in command.files.items():
            if PLACEHOLDER in text:
                options += ["--file", str(self.attempt.work / name)]
        if _starts_over(self.record):
            options += ["--clear", str(self.attempt.artifacts), "--earlier", str(self.attempt.path / "earlier")]
        return Launch(argv=(*program(), "run", *options, "--", *launch.argv), env={**key.env, **key.upstream})


def parent_placement(attempt: AttemptDir, record: JobRecord, url: str, home: Path) -> ParentPlacement:
    """Prepare the gateway of a process.

    Args:
        attempt: the attempt.
        record: what was submitted.
        url: of the model's route, as this machine reaches it.
        home: `$NEL_ACTION_HOME`.
    """
    return ParentPlacement(attempt, record, write_config(attempt, record, url, home))


@dataclass(frozen=True, slots=True)
class ContainerPlacement:
    """A gateway that runs next to the harness's container."""

    record: JobRecord
    address: str
    token: str

    def wrap(self, command: Command, launch: Launch) -> Launch:
        """Return the harness's own command line; its environment contains the token instead of the key."""
        key = harness_key(self.record.job, command, launch.env)
        env = {**key.env, **dict.fromkeys(key.tokens, self.token)}
        host = self.address.rpartition(":")[0]
        for name in ("NO_PROXY", "no_proxy"):
            hosts = [item for item in env.get(name, "").split(",") if item]
            env[name] = ",".join(dict.fromkeys([*hosts, "127.0.0.1", "localhost", host]))
        return Launch(argv=launch.argv, env=env)


async def container_placement(
    attempt: AttemptDir, record: JobRecord, url: str, home: Path, *, listen: str, name: str, env: Mapping[str, str]
) -> ContainerPlacement:
    """Start the gateway of a container.

    Args:
        attempt: the attempt.
        record: what was submitted.
        url: of the model's route, as this machine reaches it.
        home: `$NEL_ACTION_HOME`.
        listen: address to listen on.
        name: host name of this machine as the container sees it.
        env: variables of the job with their values, and those of this machine.

    Raises:
        AttemptError: it does not start.
    """
    key_name = record.job.target.api_endpoint.api_key_name
    token = secrets.token_urlsafe(24)
    own = {name: value for name, value in env.items() if name in INHERITED_BY_GATEWAY}
    if key_name:
        own |= {UPSTREAM_KEY: env[key_name], TOKEN: token}
    config = write_config(attempt, record, url, home, token_name=TOKEN if key_name else None)
    seconds = record.job.timeout + OVERDUE
    address = await GatewayServer(attempt).start(config, host=listen, env=own, seconds=seconds)
    return ContainerPlacement(record, f"{name}:{address.rpartition(':')[2]}", token)


def harness_side(client: DockerClient, *, settings: LocalExecution) -> tuple[str, str]:
    """Return the address of this machine that containers reach, and its name in a container.

    Raises:
        AttemptError: containers of this engine do not reach this machine.
    """
    if (settings.network or parse_docker_args(settings.extra_docker_args).get("network")) == "host":
        return LOOPBACK, LOOPBACK
    return bridge_gateway(client), HOST_NAME


def _starts_over(record: JobRecord) -> bool:
    from nel_action.harnesses.registry import harness

    return harness(record.job.harness).starts_over


class GatewayDied(AttemptError):  # noqa: N818 a state, which begins another pass
    """The gateway next to a container terminated; the harness cannot continue."""

    def __init__(self, status: int | None) -> None:
        super().__init__(JobState.FAILED, Reason.INFRASTRUCTURE, "its gateway terminated")
        self.status = status
        """Exit status that represents why it stopped the harness; None if it died."""


@dataclass(frozen=True, slots=True)
class GatewayServer:
    """The gateway of an attempt whose harness runs in a container."""

    attempt: AttemptDir

    @property
    def _address_file(self) -> Path:
        return self.attempt.path / "gateway.address"

    @property
    def _mark(self) -> str:
        """Value of the variable `MARK` that identifies its process."""
        return str(self.attempt.path / "gateway")

    async def start(self, config: Path, *, host: str, env: Mapping[str, str], seconds: float) -> str:
        """Start it and return the address that it listens on.

        Args:
            config: file with its configuration.
            host: address to listen on.
            env: its environment, with the target's key and the token.
            seconds: time after which it is not needed any more.

        Raises:
            AttemptError: it terminated; its log says why.
        """
        await self.stop()
        self._address_file.unlink(missing_ok=True)
        log = self.attempt.logs / "gateway.log"
        argv = [*program(), "serve", "--config", str(config), "--address-file", str(self._address_file)]
        argv += ["--host", host, "--seconds", f"{seconds:.0f}"]
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *argv,
                env={**env, MARK: self._mark},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
        for pause in START_INTERVAL.delays():
            if (location := self._location()) is not None:
                return location[0]
            if process.returncode is not None:
                detail = f"the gateway terminated with status {process.returncode}: {last_line(log)}"
                raise AttemptError.failed(Reason.INFRASTRUCTURE, detail)
            await asyncio.sleep(pause)
        raise AssertionError  # the pauses never end

    def _location(self) -> tuple[str, int] | None:
        """Return address and process ID as the process wrote them."""
        try:
            address, pid = self._address_file.read_text(encoding="ascii").split()
            return address, int(pid)
        except (FileNotFoundError, ValueError):
            return None

    def _pid(self) -> int | None:
        """Return the ID of the running process; None if it died."""
        location = self._location()
        if location is None:
            return None
        if not Path("/proc/self/environ").exists():
            return location[1] if is_alive(location[1]) else None
        with contextlib.suppress(OSError):
            environ = Path(f"/proc/{location[1]}/environ").read_bytes().split(b"\0")
            return location[1] if f"{MARK}={self._mark}".encode() in environ else None
        return None

    async def death(self) -> GatewayDied:
        """Return when the process does not run, with the reason."""
        await self._died()
        return GatewayDied(self.stop_status())

    async def _died(self) -> None:
        for pause in WATCH_INTERVAL.delays():
            if self._pid() is None:
                return
            await asyncio.sleep(pause)

    def stop_status(self) -> int | None:
        """Return the exit status that represents why it stopped the harness; None if it did not."""
        try:
            stopped = json.loads(counters_file(self.attempt).read_bytes()).get("stopped")
        except (OSError, ValueError):
            return None
        return STOPPED.get(stopped["reason"]) if stopped else None

    async def stop(self) -> None:
        """Stop the process if it runs; it finishes its record first."""
        pid = self._pid()
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._died(), STOP_TIMEOUT)
        kill_leftovers(self._mark, None)

    def prepare_pass(self, record: JobRecord) -> None:
        """Move the files of an interrupted pass away if the harness begins again."""
        if _starts_over(record):
            move_earlier([str(self.attempt.artifacts)], str(self.attempt.path / "earlier"))
