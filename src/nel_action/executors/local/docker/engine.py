"""The Docker engine of this machine: connections, error messages, and running containers.

The engine is the source of truth: a container outlives its supervisor, and the next supervisor finds it by its name.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit

from nel_action.errors import EngineError
from nel_action.executors.local.interface import ExitStatus
from nel_action.retry import Backoff, poll_until

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container

__all__ = [
    "ENGINE_INTERVAL",
    "RUNNING_STATES",
    "AsyncEngine",
    "RunningContainer",
    "connect",
    "docker_client",
    "error_text",
    "started_at",
]

logger = logging.getLogger(__name__)

T = TypeVar("T")

START_HINT: Final = "start it (`sudo systemctl start docker`), set DOCKER_HOST, or use execution.runtime: process"
PERMISSION_HINT: Final = (
    "add this user to the docker group (`sudo usermod -aG docker $USER`, then log in again), or set DOCKER_HOST"
)
REMOTE_HINT: Final = (
    "results are exchanged through directories of this machine; use its own engine, or execution.runtime: process"
)

LOCAL_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "::1"})

SIGNALS: Final = (("SIGINT", 5.0), ("SIGTERM", 5.0), ("SIGKILL", 10.0))
"""Escalation of signals that terminate a container, each with the seconds that it has to react."""

RECONNECT_INTERVAL: Final = 5.0
"""Seconds before an engine that did not answer is asked again."""

ENGINE_INTERVAL: Final = Backoff(initial=0.2, factor=2.0, maximum=5.0)
"""Pauses between two questions to an engine that does not answer."""

STATUS_INTERVAL: Final = Backoff(initial=0.1, factor=1.0, jitter=0.0)
"""Pauses between two looks at a container that was sent a signal."""

MAX_THREADS: Final = 512
"""Containers that one supervisor can watch."""

RUNNING_STATES: Final = frozenset({"running", "paused", "restarting"})
"""States of a container in which its program exists."""

LOG_TIMEOUT: Final = 10.0
"""Seconds in which the rest of a log must arrive after its container has terminated."""

EXTERNAL_SIGNAL_CODES: Final = frozenset({129, 130, 137, 143})
"""Exit codes of signals that a program does not send to itself."""


def connect(environ: Mapping[str, str]) -> DockerClient:
    """Return a client of the engine that DOCKER_HOST or the current Docker context names.

    Raises:
        EngineError: the engine is not running, denies access, or is on another machine and cannot see local files.
    """
    client = _open(environ)
    host = urlsplit(client.api.base_url)
    if host.scheme not in {"http+docker", "http+unix", "npipe"} and host.hostname not in LOCAL_HOSTS:
        client.close()
        msg = f"the Docker engine is on another machine ({client.api.base_url})"
        raise EngineError(msg, hint=REMOTE_HINT)
    return client


def _open(environ: Mapping[str, str]) -> DockerClient:
    import docker
    from docker.errors import DockerException

    with warnings.catch_warnings():
        # NOTE: if nothing answers, the library leaves its socket to the garbage collector, which warns about it.
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            return docker.from_env(environment=dict(environ), version="auto")
        except (DockerException, OSError) as error:
            problem = error_text(error)
        gc.collect()
    raise _connection_error(problem, environ.get("DOCKER_HOST"))


def _connection_error(problem: str, host: str | None) -> EngineError:
    if "Permission denied" in problem:
        return EngineError("this user may not use the Docker engine", hint=PERMISSION_HINT)
    if "FileNotFoundError" in problem or "Connection refused" in problem:
        address = f"answers at {host} (DOCKER_HOST)" if host else "is running here"
        return EngineError(f"no Docker engine {address}", hint=START_HINT)
    return EngineError(f"the Docker engine does not answer: {problem}", hint=START_HINT)


@contextmanager
def docker_client(environ: Mapping[str, str]) -> Iterator[DockerClient]:
    """Connect for the duration of a block and convert the client's errors.

    Raises:
        EngineError: the engine is not available, or rejected a request.
    """
    from docker.errors import DockerException
    from requests import RequestException

    client = connect(environ)
    try:
        yield client
    except (DockerException, RequestException) as error:
        msg = f"the Docker engine reported: {error_text(error)}"
        raise EngineError(msg) from error
    finally:
        client.close()


def error_text(error: Exception) -> str:
    """Return the engine's explanation of an error in one line."""
    explanation = getattr(error, "explanation", None)
    return " ".join(str(explanation or error).split())


class AsyncEngine:
    """The engine as the supervisor uses it: connected on first use, called in threads."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        """Variables of this process."""
        self._client: DockerClient | None = None
        self._threads = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="engine")

    async def call(self, function: Callable[[DockerClient], T]) -> T:
        """Call a function with the client.

        Raises:
            EngineError: the engine is not available, or rejected a request.
        """
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._call, function)

    def _call(self, function: Callable[[DockerClient], T]) -> T:
        from docker.errors import DockerException
        from requests import RequestException

        if self._client is None:
            self._client = connect(self.environ)
        try:
            return function(self._client)
        except (DockerException, RequestException) as error:
            raise EngineError(error_text(error)) from error

    def close(self) -> None:
        """Close the connection."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._client is not None:
            self._client.close()


class RunningContainer:
    """A container as a `RunningProgram`: its log is copied to a file, its exit status is read from the engine."""

    def __init__(self, engine: AsyncEngine, name: str, log: Path) -> None:
        self._engine = engine
        self._name = name
        self._log = log
        self._terminating = threading.Event()
        self._exit: asyncio.Future[ExitStatus] | None = None

    async def wait(self) -> ExitStatus:
        """Wait until it has terminated; its log is complete then."""
        if self._exit is None:
            self._exit = asyncio.ensure_future(self._engine.call(self._observe))
        return await asyncio.shield(self._exit)

    def _observe(self, client: DockerClient) -> ExitStatus:
        from docker.errors import NotFound

        """Wait until the container has terminated, whatever its log does; start over if the engine was unavailable."""
        while True:
            try:
                container = client.containers.get(self._name)
                with self._copied_log(container):
                    container.wait()
                container.reload()
                return _exit_status(container.attrs["State"])
            except NotFound as error:
                msg = "its container was removed by another process"
                raise EngineError(msg) from error
            except Exception as error:
                if not _is_unavailable(error) or self._terminating.wait(RECONNECT_INTERVAL):
                    raise
                logger.warning("%s: the engine is not available: %s", self._name, error)

    @contextmanager
    def _copied_log(self, container: Container) -> Iterator[None]:
        """Copy the log in another thread during the block, and wait for its rest afterwards."""
        streams: list[Any] = []
        copier = threading.Thread(target=self._copy_log, args=(container, streams), daemon=True)
        copier.start()
        try:
            yield
            copier.join(LOG_TIMEOUT)
        finally:
            if copier.is_alive():
                logger.warning("%s: its log is incomplete: the engine does not finish it", self._name)
                for stream in streams:
                    stream.close()
                copier.join(1.0)

    def _copy_log(self, container: Container, streams: list[Any]) -> None:
        try:
            with self._log.open("wb") as file:
                streams.append(container.logs(stream=True, follow=True))
                for block in streams[0]:
                    file.write(block)
                    file.flush()
        except Exception as error:  # noqa: BLE001 the end of the container is observed independently
            logger.warning("%s: its log is incomplete: %s", self._name, error_text(error))

    async def terminate(self) -> None:
        """Terminate it with increasingly strong signals; does nothing if it has terminated."""
        self._terminating.set()
        for signal, patience in SIGNALS:
            if not await self._engine.call(partial(self._send, signal=signal)):
                return
            logger.debug("%s: sent %s", self._name, signal)
            if self._exit is not None:
                await asyncio.wait([self._exit], timeout=patience)
            else:
                await self._engine.call(partial(self._wait_until_stopped, patience=patience))

    def _send(self, client: DockerClient, *, signal: str) -> bool:
        """Send a signal; return False if the container is not running."""
        from docker.errors import APIError, NotFound

        try:
            container = client.containers.get(self._name)
            if container.status not in RUNNING_STATES:
                return False
            container.kill(signal)
        except NotFound:
            return False
        except APIError as error:
            if error.status_code == 409:  # noqa: PLR2004 it terminated in the meantime
                return False
            raise
        return True

    def _wait_until_stopped(self, client: DockerClient, *, patience: float) -> None:
        poll_until(
            lambda: client.containers.get(self._name).status != "running" or None,
            deadline=time.monotonic() + patience,
            backoff=STATUS_INTERVAL,
        )


def _is_unavailable(error: Exception) -> bool:
    from docker.errors import APIError
    from requests import RequestException

    if isinstance(error, APIError):
        return error.is_server_error()
    # NOTE: urllib3's own errors are raised when a stream is interrupted.
    return isinstance(error, RequestException | ConnectionError) or type(error).__module__.startswith("urllib3")


def _exit_status(state: Mapping[str, Any]) -> ExitStatus:
    if state["Status"] != "exited":
        # NOTE: while a container is being removed, the engine may report exit code 0.
        msg = f"its container is {state['Status']}: another process is removing it"
        raise EngineError(msg)
    code = int(state["ExitCode"])
    oom = bool(state.get("OOMKilled"))
    killed = code in EXTERNAL_SIGNAL_CODES and not oom
    return ExitStatus(code=code, oom=oom, killed=killed, problem=state.get("Error") or None)


def started_at(state: Mapping[str, Any]) -> float:
    """Return the start time of a container from its state, in seconds since 1970."""
    text = str(state["StartedAt"])
    return datetime.fromisoformat(f"{text[:19]}+00:00").timestamp() if text[:4] > "0001" else time.time()
