"""The model servers of one supervisor: started on first use, shared by jobs, watched, and always stopped."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from nel_action.errors import EngineError
from nel_action.executors.local.attempt import AttemptDir, AttemptError, JobRecord, utc_timestamp
from nel_action.executors.local.docker.engine import ENGINE_INTERVAL, AsyncEngine
from nel_action.executors.local.interface import RunningProgram
from nel_action.executors.local.logs import last_line
from nel_action.executors.local.model_server.container import ContainerServer
from nel_action.executors.local.model_server.interface import (
    ServerContext,
    ServerRuntime,
    Serving,
    server_digest,
)
from nel_action.executors.local.model_server.ports import PortOwner, is_port_taken
from nel_action.executors.local.model_server.process import ProcessServer
from nel_action.executors.local.secrets import Values, read_values
from nel_action.executors.local.store import Queue, Store
from nel_action.executors.local.subprocesses import run_steps, wait_unless
from nel_action.model.job import JobState, Reason
from nel_action.retry import Backoff
from nel_action.spec.deployment import ServedDeployment

__all__ = ["ModelServerPool", "ServerLease"]

logger = logging.getLogger(__name__)

PORT_TRIES: Final = 3
"""Ports to try; another process may take a port between its selection and the server's start."""

HEALTH_TIMEOUT: Final = 5.0
"""Seconds for one answer of the health route."""

PORT_INTERVAL: Final = 5.0
"""Seconds between checks that no other program listens on the port of a server in use."""

HEALTH_INTERVAL: Final = Backoff(initial=0.1, factor=1.5, maximum=1.0, jitter=0.0)
"""Pauses between requests to the health route."""


@dataclass(frozen=True, slots=True)
class ServerLease:
    """A job's access to a healthy model server."""

    url: str
    """URL of the route that the task uses, as the harness sees it."""
    local_url: str
    """The same as this machine sees it."""
    base_url: str
    """Base URL of the server, as the harness sees it."""
    lost: asyncio.Future[AttemptError]
    """Resolved if the server terminates unexpectedly."""


class ModelServer:
    """One model server of the pool."""

    def __init__(self, context: ServerContext, runtime: ServerRuntime) -> None:
        self.context = context
        self.users = 0
        """Number of jobs that use it."""
        self.phase = "starting the server"
        """What it does, for people."""
        self.ready: asyncio.Task[Serving]
        """Finishes when the server is healthy; fails with AttemptError if it never will be."""
        self.lost: asyncio.Future[AttemptError] = asyncio.get_running_loop().create_future()
        """Resolved when the server has terminated by itself."""
        self._runtime = runtime
        self._serving: Serving | None = None
        self._watches: list[asyncio.Task[None]] = []

    @property
    def broken(self) -> bool:
        """Whether it can no longer be used."""
        return self.lost.done() or self.failure() is not None

    def failure(self) -> AttemptError | None:
        """Return why it never became healthy; None if it did or still may."""
        if not self.ready.done() or self.ready.cancelled():
            return None
        error = self.ready.exception()
        return error if isinstance(error, AttemptError) else None

    def route(self, serving: Serving, record: JobRecord) -> str:
        """Return the URL for the requests of a job."""
        return serving.base_url + self.context.kind.route(self.context.deployment, record.job.task.endpoint_type)

    def begin(self, values: Values, *, adopt: bool) -> None:
        """Begin to start it; with `adopt`, only take over a running one."""
        self.ready = asyncio.create_task(self._begin(values, adopt=adopt))

    async def _begin(self, values: Values, *, adopt: bool) -> Serving:
        try:
            return await self._start(values, adopt=adopt)
        except EngineError as error:
            raise AttemptError.failed(Reason.INFRASTRUCTURE, f"cannot start the model server: {error}") from error
        except OSError as error:
            detail = f"cannot start the model server: {error.strerror or error}"
            raise AttemptError.failed(Reason.INFRASTRUCTURE, detail) from error

    async def _start(self, values: Values, *, adopt: bool) -> Serving:
        recovered = await self._recover(wait=adopt)
        if recovered is not None:
            logger.info("%s: taking over the running server", self.context.name)
            return await self._until_healthy(recovered)
        if adopt:
            raise AttemptError.failed(Reason.INFRASTRUCTURE, "its model server was lost with its supervisor")
        self.context.work.mkdir(parents=True, exist_ok=True)
        await run_steps(
            await self._runtime.setup(),
            directory=self.context.directory,
            log=self.context.log,
            environ=self.context.environ,
            on_phase=lambda _phase: None,
        )
        for _ in range(PORT_TRIES - 1):
            serving = await self._runtime.start(values)
            try:
                return await self._until_healthy(serving)
            except AttemptError as error:
                if not isinstance(error, _PortTakenError) and not (self.lost.done() and _is_address_taken(serving)):
                    raise
                logger.info("%s: %s; trying another port", self.context.name, error)
                await serving.program.terminate()
                await asyncio.wait([*self._watches])
                self.lost = asyncio.get_running_loop().create_future()
        return await self._until_healthy(await self._runtime.start(values))

    async def _recover(self, *, wait: bool) -> Serving | None:
        """Return the server that an earlier supervisor left running; with `wait`, wait for an engine that is away."""
        for pause in ENGINE_INTERVAL.delays():
            try:
                return await self._runtime.recover()
            except EngineError as error:
                if not wait:
                    raise
                logger.warning("%s: cannot observe its container: %s", self.context.name, error)
            await asyncio.sleep(pause)
        raise AssertionError  # the pauses never end

    async def _until_healthy(self, serving: Serving) -> Serving:
        """Wait until the health route answers, while watching that the server runs."""
        self._serving = serving
        self._watches = [asyncio.create_task(self._watch_exit(serving.program))]
        timeout = self.context.record.settings.endpoint_readiness_timeout
        url = serving.local_url + self.context.deployment.endpoints.health
        try:
            await wait_unless(_healthy(url, serving), self.lost, limit=timeout)
        except TimeoutError:
            output = last_line(self.context.log)
            detail = f"the server was not healthy after {timeout:g} s{': ' if output else ''}{output}"
            raise AttemptError.failed(Reason.ENDPOINT, detail) from None
        logger.info("%s: healthy at %s", self.context.name, serving.local_url)
        if serving.port_owner is not None:
            self._watches.append(asyncio.create_task(self._watch_port(serving)))
        return serving

    async def _watch_exit(self, program: RunningProgram) -> None:
        try:
            outcome = f"exited with status {(await program.wait()).code}"
        except EngineError as error:
            outcome = f"can no longer be observed: {error}"
        output = last_line(self.context.log)
        detail = f"the model server {outcome}{': ' if output else ''}{output}"
        self._lose(detail)

    async def _watch_port(self, serving: Serving) -> None:
        """Give the server up if another program listens on its port, since requests may reach that one."""
        while not self.lost.done():
            await asyncio.wait([self.lost], timeout=PORT_INTERVAL)
            if not self.lost.done() and await _owner(serving) is PortOwner.FOREIGN:
                self._lose(f"another program listens on the port of the model server ({serving.local_url})")

    def _lose(self, detail: str) -> None:
        if not self.lost.done():
            logger.info("%s: %s", self.context.name, detail)
            self.lost.set_result(AttemptError.failed(Reason.ENDPOINT, detail))

    async def close(self) -> None:
        """Terminate it and remove what remains of it."""
        if not self.ready.done():
            self.ready.cancel()
        await asyncio.wait([self.ready])
        try:
            if self._serving is not None:
                await self._serving.program.terminate()
            await self._runtime.discard()
        except EngineError as error:
            # NOTE: the next supervisor removes it.
            logger.warning("%s: cannot stop the model server: %s", self.context.name, error)
            return
        shutil.rmtree(self.context.directory, ignore_errors=True)


class _PortTakenError(AttemptError):
    """Another program listens on the port that the server was started for."""


async def _healthy(url: str, serving: Serving) -> None:
    """Return once the health route answers with status 200 and no other program can have answered.

    Raises:
        _PortTakenError: another program listens on the port.
    """
    for pause in HEALTH_INTERVAL.delays():
        owner = await _owner(serving)
        if owner is PortOwner.FOREIGN:
            detail = f"another program listens at {serving.local_url}"
            raise _PortTakenError(JobState.FAILED, Reason.ENDPOINT, detail)
        if owner is not PortOwner.FREE and await asyncio.to_thread(_answers, url):
            return
        await asyncio.sleep(pause)


async def _owner(serving: Serving) -> PortOwner:
    """Return who listens on the server's port; another program only if it does so twice."""
    if serving.port_owner is None:
        return PortOwner.UNKNOWN
    owner = await asyncio.to_thread(serving.port_owner)
    if owner is PortOwner.FOREIGN:
        # NOTE: a process that is just starting may not be recognised yet.
        await asyncio.sleep(0.5)
        owner = await asyncio.to_thread(serving.port_owner)
    return owner


def _answers(url: str) -> bool:
    import urllib.request
    from http.client import HTTPException

    # NOTE: proxies of the environment do not apply to this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=HEALTH_TIMEOUT) as response:
            return int(response.status) == 200  # noqa: PLR2004 the only status that means healthy
    except (OSError, HTTPException):
        return False


def _is_address_taken(serving: Serving) -> bool:
    """Whether another process uses the port of a server that has terminated."""
    address = urlsplit(serving.local_url)
    return address.hostname is not None and address.port is not None and is_port_taken(address.hostname, address.port)


class ModelServerPool:
    """All model servers of an invocation."""

    def __init__(
        self,
        store: Store,
        queue: Queue,
        engine: AsyncEngine,
        environ: Mapping[str, str],
        is_awaited: Callable[[str], bool],
    ) -> None:
        """Create an empty pool.

        Args:
            store: the store.
            queue: the invocation's queue.
            engine: the Docker engine.
            environ: environment of the supervisor.
            is_awaited: returns whether a pending job needs the server with that digest.
        """
        self._store = store
        self._queue = queue
        self._engine = engine
        self._environ = environ
        self._is_awaited = is_awaited
        self._servers: dict[str, ModelServer] = {}
        self._closing: dict[str, asyncio.Task[None]] = {}
        self._failures: dict[str, tuple[str, AttemptError]] = {}
        """By digest: when a server failed to become healthy, and why."""

    @asynccontextmanager
    async def lease(
        self, attempt: AttemptDir, record: JobRecord, stop: asyncio.Future[AttemptError], *, adopt: bool, log: Path
    ) -> AsyncIterator[ServerLease]:
        """Provide the job's model server for the duration of a block.

        Args:
            attempt: the attempt that uses the server.
            record: its record; the server is the record's deployment.
            stop: aborts the wait for the server when it is resolved.
            adopt: only accept a server that is already running.
            log: becomes a hard link to the server's log, which grows while the server runs.

        Raises:
            AttemptError: there is no such server, it did not become healthy, or `stop` was resolved.
        """
        digest = server_digest(record)
        server = await self._obtain(digest, record, read_values(attempt), adopt=adopt)
        server.users += 1
        try:
            attempt.set_phase(server.phase)
            serving = await wait_unless(asyncio.shield(server.ready), stop)
            _link_log(server, log)
            local = replace(serving, base_url=serving.local_url)
            urls = server.route(serving, record), server.route(local, record)
            yield ServerLease(*urls, base_url=serving.base_url, lost=server.lost)
        finally:
            _link_log(server, log)
            server.users -= 1
            self._record_failure(digest, server)
            if not server.users and (server.broken or not self._is_awaited(digest)):
                self._release(digest, server)

    async def _obtain(self, digest: str, record: JobRecord, values: Values, *, adopt: bool) -> ModelServer:
        if digest in self._failures and record.submitted <= self._failures[digest][0]:
            # NOTE: it did not become healthy for another job, and nothing has changed since this one was submitted.
            raise self._failures[digest][1]
        server = self._servers.get(digest)
        if server is not None and server.broken:
            self._release(digest, server)
        if (closing := self._closing.get(digest)) is not None:
            await asyncio.shield(closing)
        if digest not in self._servers:
            self._servers[digest] = self._create(digest, record)
            self._servers[digest].begin(values, adopt=adopt)
        return self._servers[digest]

    def _create(self, digest: str, record: JobRecord) -> ModelServer:
        deployment = record.job.deployment
        if not isinstance(deployment, ServedDeployment):
            raise TypeError(deployment)
        context = ServerContext(
            name=f"nel-server-{record.invocation}-{digest}",
            directory=self._queue.servers / digest,
            record=record,
            deployment=deployment,
            environ=self._environ,
        )
        logger.info("%s: starting the model server", context.name)
        if (deployment.runtime or record.settings.runtime) == "docker":
            return ModelServer(context, ContainerServer(context, self._store, self._engine))
        return ModelServer(context, ProcessServer(context, self._store.home, self._engine))

    def _record_failure(self, digest: str, server: ModelServer) -> None:
        if (failure := server.failure()) is not None:
            self._failures[digest] = utc_timestamp(), failure

    def _release(self, digest: str, server: ModelServer) -> None:
        """Stop a server in the background."""
        if self._servers.get(digest) is server:
            del self._servers[digest]
            self._closing[digest] = asyncio.create_task(server.close())
            self._closing[digest].add_done_callback(lambda _: self._closing.pop(digest, None))

    async def close(self) -> None:
        """Stop all servers."""
        for digest, server in list(self._servers.items()):
            self._release(digest, server)
        if self._closing:
            await asyncio.wait(list(self._closing.values()))


def _link_log(server: ModelServer, log: Path) -> None:
    """Add the server's log to the job's logs."""
    if server.context.log.exists() and not log.exists():
        os.link(server.context.log, log)
