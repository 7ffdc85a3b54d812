"""One server from its start to its end: is it healthy, is it still there?"""

from __future__ import annotations

import asyncio
import shutil
import sys
import urllib.request
from http.client import HTTPException
from typing import Final
from urllib.parse import urlsplit

from nel_action.errors import EngineError
from nel_action.executors.local.asyncio_utils import unless
from nel_action.executors.local.interface import Running
from nel_action.executors.local.logs import last_line
from nel_action.executors.local.model_server.serving import ServerHost, ServerSite, Serving, taken
from nel_action.executors.local.record import AttemptError, JobRecord
from nel_action.executors.local.secrets import Values
from nel_action.executors.local.steps import run_steps
from nel_action.model.job import Reason

__all__ = ["LiveServer"]

TRIES: Final = 3
"""Ports to try, where somebody else takes one between our choice and the server's start."""

ANSWER: Final = 5.0
"""Seconds for one answer of the health route."""

SOON, LATER = 0.1, 1.0
"""Seconds before the health route is asked again, at first and in the end."""


class LiveServer:
    """One server of the pool."""

    def __init__(self, site: ServerSite, host: ServerHost) -> None:
        self.site = site
        self.users = 0
        """Jobs that use it."""
        self.phase = "starting the server"
        """What it does, in words."""
        self.ready: asyncio.Task[Serving]
        """Done when it is healthy; fails with AttemptError where it will never be."""
        self.lost: asyncio.Future[AttemptError] = asyncio.get_running_loop().create_future()
        """Set when it has ended by itself."""
        self._host = host
        self._serving: Serving | None = None
        self._watch: asyncio.Task[None] | None = None

    @property
    def broken(self) -> bool:
        """Whether it cannot be used any more."""
        return self.lost.done() or self.failure() is not None

    def failure(self) -> AttemptError | None:
        """Return why it never became healthy; None where it did, or still may."""
        if not self.ready.done() or self.ready.cancelled():
            return None
        error = self.ready.exception()
        return error if isinstance(error, AttemptError) else None

    def route(self, serving: Serving, record: JobRecord) -> str:
        """Return the URL that the job's requests go to."""
        return serving.base + self.site.kind.route(self.site.deployment, record.job.task.endpoint_type)

    def begin(self, values: Values, *, adopt: bool) -> None:
        """Begin to start it, or to take over one that runs."""
        self.ready = asyncio.create_task(self._begin(values, adopt=adopt))

    async def _begin(self, values: Values, *, adopt: bool) -> Serving:
        try:
            return await self._start(values, adopt=adopt)
        except EngineError as error:
            raise AttemptError.failed(Reason.INFRASTRUCTURE, f"the server did not start: {error}") from error
        except OSError as error:
            detail = f"the server did not start: {error.strerror or error}"
            raise AttemptError.failed(Reason.INFRASTRUCTURE, detail) from error

    async def _start(self, values: Values, *, adopt: bool) -> Serving:
        found = await self._host.recover()
        if found is not None:
            return await self._until_healthy(found)
        if adopt:
            raise AttemptError.failed(Reason.INFRASTRUCTURE, "its server was lost with its supervisor")
        self.site.work.mkdir(parents=True, exist_ok=True)
        steps = await self._host.setup()
        await run_steps(
            steps, folder=self.site.folder, log=self.site.log, environ=self.site.environ, say=lambda _phase: None
        )
        for _ in range(TRIES - 1):
            serving = await self._host.start(values)
            try:
                return await self._until_healthy(serving)
            except AttemptError:
                if not self.lost.done() or not _somebody_elses(serving):
                    raise
                self.lost = asyncio.get_running_loop().create_future()
        return await self._until_healthy(await self._host.start(values))

    async def _until_healthy(self, serving: Serving) -> Serving:
        """Wait until it answers, while watching that it lives; end it where it never does."""
        self._serving = serving
        self._watch = asyncio.create_task(self._notice_end(serving.running))
        limit = self.site.record.settings.endpoint_readiness_timeout
        url = serving.health + self.site.deployment.endpoints.health
        try:
            await unless(_healthy(url), self.lost, limit=limit)
        except TimeoutError:
            said = last_line(self.site.log)
            detail = f"the server was not healthy after {limit:g} s{': ' if said else ''}{said}"
            raise AttemptError.failed(Reason.ENDPOINT, detail) from None
        return serving

    async def _notice_end(self, running: Running) -> None:
        try:
            code = f"with exit status {(await running.wait()).code}"
        except EngineError as error:
            code = f"out of sight: {error}"
        said = last_line(self.site.log)
        detail = f"the server ended {code}{': ' if said else ''}{said}"
        self.lost.set_result(AttemptError.failed(Reason.ENDPOINT, detail))

    async def close(self) -> None:
        """End it, and remove what is left of it."""
        if not self.ready.done():
            self.ready.cancel()
        await asyncio.wait([self.ready])
        try:
            if self._serving is not None:
                await self._serving.running.end()
            await self._host.discard()
        except EngineError as error:
            # NOTE: the next agent removes what this one could not
            print(f"{self.site.name}: cannot be taken down: {error}", file=sys.stderr)  # noqa: T201
            return
        shutil.rmtree(self.site.folder, ignore_errors=True)


async def _healthy(url: str) -> None:
    """Ask until the answer is 200."""
    pause = SOON
    while not await asyncio.to_thread(_answers, url):
        await asyncio.sleep(pause)
        pause = min(LATER, pause * 1.5)


def _answers(url: str) -> bool:
    # NOTE: a proxy of the environment is for the world outside, not for this machine
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=ANSWER) as answer:
            return int(answer.status) == 200  # noqa: PLR2004 the one good answer
    except (OSError, HTTPException):
        return False


def _somebody_elses(serving: Serving) -> bool:
    """Whether the port is taken though our server has ended."""
    place = urlsplit(serving.health)
    return place.hostname is not None and place.port is not None and taken(place.hostname, place.port)
