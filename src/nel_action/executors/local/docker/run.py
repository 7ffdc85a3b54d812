"""A container as a program that runs: its log streamed to a file, its end read from the engine.

The engine is the truth: a container outlives the agent, and the next one finds it under its name.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from nel_action.errors import EngineError
from nel_action.executors.local.docker.engine import connect, plain
from nel_action.executors.local.interface import Exit

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container

__all__ = ["Engine", "RunningContainer", "started_at"]

T = TypeVar("T")

LADDER: Final = (("SIGINT", 5.0), ("SIGTERM", 5.0), ("SIGKILL", 10.0))
"""How to end a container: the signal, and the seconds that it has to act on it."""

AWAY: Final = 5.0
"""Seconds before an engine that did not answer is asked again."""

THREADS: Final = 512
"""Containers that one agent can watch."""

OUTSIDE: Final = frozenset({129, 130, 137, 143})
"""Exit codes of signals that a program does not send itself."""


class Engine:
    """The engine as the agent uses it: connected to when first needed, and called in threads of its own."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._client: DockerClient | None = None
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="engine")

    async def call(self, function: Callable[[DockerClient], T]) -> T:
        """Call a function with the client.

        Raises:
            EngineError: the engine is not there, or refused.
        """
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._call, function)

    def _call(self, function: Callable[[DockerClient], T]) -> T:
        from docker.errors import DockerException
        from requests import RequestException

        if self._client is None:
            self._client = connect(self._environ)
        try:
            return function(self._client)
        except (DockerException, RequestException) as error:
            raise EngineError(plain(error)) from error

    def close(self) -> None:
        """Let go of the engine."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._client is not None:
            self._client.close()


class RunningContainer:
    """One container."""

    def __init__(self, engine: Engine, name: str, log: Path) -> None:
        self._engine = engine
        self._name = name
        self._log = log
        self._closed = threading.Event()
        self._ending: asyncio.Future[Exit] | None = None

    async def wait(self) -> Exit:
        """Wait for its end; its log is complete then."""
        if self._ending is None:
            self._ending = asyncio.ensure_future(self._engine.call(self._observe))
        return await asyncio.shield(self._ending)

    def _observe(self, client: DockerClient) -> Exit:
        """Copy the log until the container has ended; again from its beginning where the engine went away."""
        while True:
            try:
                container = client.containers.get(self._name)
                self._copy_log(container)
                container.wait()
                container.reload()
                return _exit(container.attrs["State"])
            except Exception as error:
                if not _engine_is_away(error) or self._closed.wait(AWAY):
                    raise

    def _copy_log(self, container: Container) -> None:
        with self._log.open("wb") as file:
            for block in container.logs(stream=True, follow=True):
                file.write(block)
                file.flush()

    async def end(self) -> None:
        """End it; nothing where it has ended."""
        self._closed.set()
        for signal, patience in LADDER:
            if not await self._engine.call(partial(self._signal, signal=signal)):
                return
            if self._ending is not None:
                await asyncio.wait([self._ending], timeout=patience)
            else:
                await self._engine.call(partial(self._wait_for_end, patience=patience))

    def _signal(self, client: DockerClient, *, signal: str) -> bool:
        """Send a signal; False where there is nothing left to send it to."""
        from docker.errors import APIError, NotFound

        try:
            container = client.containers.get(self._name)
            if container.status not in {"running", "paused", "restarting"}:
                return False
            container.kill(signal)
        except NotFound:
            return False
        except APIError as error:
            if error.status_code == 409:  # noqa: PLR2004 it ended meanwhile
                return False
            raise
        return True

    def _wait_for_end(self, client: DockerClient, *, patience: float) -> None:
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline and client.containers.get(self._name).status == "running":
            time.sleep(0.1)


def _engine_is_away(error: Exception) -> bool:
    from docker.errors import APIError
    from requests import RequestException

    if isinstance(error, APIError):
        return error.is_server_error()
    # NOTE: urllib3's own errors come through where a stream breaks off
    return isinstance(error, RequestException | ConnectionError) or type(error).__module__.startswith("urllib3")


def _exit(state: Mapping[str, Any]) -> Exit:
    if state["Status"] != "exited":
        # NOTE: while it is being removed the engine may say 0
        msg = f"its container is {state['Status']}: somebody removes it"
        raise EngineError(msg)
    code = int(state["ExitCode"])
    oom = bool(state.get("OOMKilled")) and code != 0
    return Exit(code=code, oom=oom, outside=code in OUTSIDE and not oom, problem=state.get("Error") or None)


def started_at(state: Mapping[str, Any]) -> float:
    """Return when a container started, in seconds since 1970."""
    text = str(state["StartedAt"])
    return datetime.fromisoformat(f"{text[:19]}+00:00").timestamp() if text[:4] > "0001" else time.time()
