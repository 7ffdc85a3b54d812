"""The servers of one agent: started when a job first needs one, shared, watched, and always taken down."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from nel_action.executors.local.asyncio_utils import unless
from nel_action.executors.local.attempt import AttemptDir
from nel_action.executors.local.docker.run import Engine
from nel_action.executors.local.model_server.base import LiveServer
from nel_action.executors.local.model_server.container import ContainerServer
from nel_action.executors.local.model_server.process import ProcessServer
from nel_action.executors.local.model_server.serving import ServerSite, server_digest
from nel_action.executors.local.queue import Queue
from nel_action.executors.local.record import AttemptError, JobRecord, moment
from nel_action.executors.local.secrets import Values, read_values
from nel_action.executors.local.store import Store
from nel_action.spec.deployment import ServedDeployment

__all__ = ["Served", "Servers"]


@dataclass(frozen=True, slots=True)
class Served:
    """Where a job's model answers, and what tells that it does no more."""

    url: str
    """The route, as the harness sees it."""
    base: str
    """The server alone, as the harness sees it."""
    lost: asyncio.Future[AttemptError]


class Servers:
    """All servers of an invocation's agent."""

    def __init__(
        self,
        store: Store,
        queue: Queue,
        engine: Engine,
        environ: Mapping[str, str],
        wanted: Callable[[str], bool],
    ) -> None:
        self._store = store
        self._queue = queue
        self._engine = engine
        self._environ = environ
        self._wanted = wanted
        """Whether a job still waits for the server of that digest."""
        self._live: dict[str, LiveServer] = {}
        self._closing: dict[str, asyncio.Task[None]] = {}
        self._failed: dict[str, tuple[str, AttemptError]] = {}

    @asynccontextmanager
    async def use(
        self, attempt: AttemptDir, record: JobRecord, stop: asyncio.Future[AttemptError], *, adopt: bool, log: Path
    ) -> AsyncIterator[Served]:
        """Have the job's server for as long as the block takes; with `adopt`, only one that runs already.

        What it says is shown in `log` while it grows.

        Raises:
            AttemptError: there is no such server, it did not become healthy, or `stop` came first.
        """
        digest = server_digest(record)
        live = await self._obtain(digest, record, read_values(attempt), adopt=adopt)
        live.users += 1
        try:
            attempt.set_phase(live.phase)
            serving = await unless(asyncio.shield(live.ready), stop)
            _link(live, log)
            yield Served(live.route(serving, record), serving.base, live.lost)
        finally:
            _link(live, log)
            live.users -= 1
            self._note_failure(digest, live)
            if not live.users and (live.broken or not self._wanted(digest)):
                self._release(digest, live)

    async def _obtain(self, digest: str, record: JobRecord, values: Values, *, adopt: bool) -> LiveServer:
        if digest in self._failed and record.submitted <= self._failed[digest][0]:
            # NOTE: it never became healthy for this job's fellows, and nothing has changed since
            raise self._failed[digest][1]
        known = self._live.get(digest)
        if known is not None and known.broken:
            self._release(digest, known)
        if (closing := self._closing.get(digest)) is not None:
            await asyncio.shield(closing)
        if digest not in self._live:
            self._live[digest] = self._make(digest, record)
            self._live[digest].begin(values, adopt=adopt)
        return self._live[digest]

    def _make(self, digest: str, record: JobRecord) -> LiveServer:
        deployment = record.job.deployment
        if not isinstance(deployment, ServedDeployment):
            raise TypeError(deployment)
        site = ServerSite(
            name=f"nel-server-{record.invocation}-{digest}",
            folder=self._queue.servers / digest,
            record=record,
            deployment=deployment,
            environ=self._environ,
        )
        runtime = deployment.runtime or record.settings.runtime
        if runtime == "docker":
            return LiveServer(site, ContainerServer(site, str(self._store.root), self._engine))
        return LiveServer(site, ProcessServer(site, self._store.home, self._engine))

    def _note_failure(self, digest: str, live: LiveServer) -> None:
        if (failure := live.failure()) is not None:
            self._failed[digest] = moment(), failure

    def _release(self, digest: str, live: LiveServer) -> None:
        """Take a server down, beside whatever else goes on."""
        if self._live.get(digest) is live:
            del self._live[digest]
            self._closing[digest] = asyncio.create_task(live.close())
            self._closing[digest].add_done_callback(lambda _: self._closing.pop(digest, None))

    async def close(self) -> None:
        """Take all down."""
        for digest, live in list(self._live.items()):
            self._release(digest, live)
        if self._closing:
            await asyncio.wait(list(self._closing.values()))
        shutil.rmtree(self._queue.servers, ignore_errors=True)


def _link(live: LiveServer, log: Path) -> None:
    """Show the server's log among the job's, while it grows."""
    if live.site.log.exists() and not log.exists():
        os.link(live.site.log, log)
