"""One attempt from wherever it stands to its end, whatever happens on the way."""

from __future__ import annotations

import asyncio
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from nel_action.errors import EngineError, NelActionError, SecretError
from nel_action.executors.local.asyncio_utils import unless
from nel_action.executors.local.attempt import AttemptDir
from nel_action.executors.local.auxiliary import further_records, harness_network, with_further
from nel_action.executors.local.command import bind, launch, write_files
from nel_action.executors.local.docker.client import DockerRuntime
from nel_action.executors.local.docker.run import Engine
from nel_action.executors.local.interface import Exit, Running, Runtime, Step
from nel_action.executors.local.logs import last_line
from nel_action.executors.local.model_server.pool import Served, Servers
from nel_action.executors.local.model_server.serving import LOOPBACK, free_port
from nel_action.executors.local.process import ProcessRuntime
from nel_action.executors.local.record import AttemptError, Ending, JobRecord, moment
from nel_action.executors.local.secrets import all_references, mask_file, masker, read_values, resolve
from nel_action.executors.local.steps import run_steps
from nel_action.executors.local.store import Store
from nel_action.model.env_ref import runtime_names
from nel_action.model.job import JobState, Reason
from nel_action.spec.deployment import ServedDeployment

__all__ = ["Attendance", "Site"]

ADOPTED: Final = 5.0
"""Seconds in which a program that has ended says so."""

FULL_DISK_TRIES, FULL_DISK_PAUSE = 360, 10.0
"""How often, and after how many seconds, to try again to write an ending."""


@dataclass(frozen=True, slots=True)
class Site:
    """What all attempts of an agent share."""

    store: Store
    environ: Mapping[str, str]
    engine: Engine
    servers: Servers


class Attendance:
    """Sees one attempt through."""

    def __init__(self, attempt: AttemptDir, site: Site) -> None:
        self.attempt = attempt
        self._site = site
        self._runtime: Runtime | None = None
        self.stop: asyncio.Future[AttemptError] = asyncio.get_running_loop().create_future()
        """Set to end it early."""

    async def run(self) -> None:
        """Run it, and write down how it ended."""
        try:
            ending = await self._run(self.attempt.record())
        except AttemptError as error:
            ending = error.ending
        except (NelActionError, OSError) as error:
            ending = Ending.of(JobState.FAILED, Reason.INFRASTRUCTURE, str(error).replace("\n", "; "))
        except Exception as error:  # noqa: BLE001 recorded as the attempt's failure: the others must go on
            traceback.print_exc(file=sys.stderr)
            ending = Ending.of(JobState.FAILED, Reason.INFRASTRUCTURE, f"the agent failed: {error!r}")
        await self._finish_when_possible(ending)

    async def _finish_when_possible(self, ending: Ending) -> None:
        """Write the ending; on a full disk, wait for room rather than lose it."""
        for _ in range(FULL_DISK_TRIES):
            try:
                await self._finish(ending)
            except OSError as error:
                print(f"{self.attempt.name}: cannot write its ending: {error}", file=sys.stderr)  # noqa: T201
                await asyncio.sleep(FULL_DISK_PAUSE)
            else:
                return

    async def _run(self, record: JobRecord) -> Ending:
        runtime = self._runtime = self._choose(record)
        running = await runtime.recover()
        try:
            if running is None:
                self._refuse_when_stopped()
                await self._prepare(await runtime.setup())
            elif (exited := await _already(running)) is not None:
                return self._conclude(exited)
            return await self._run_with_server(runtime, running, record)
        finally:
            if running is not None:
                await running.end()

    async def _run_with_server(self, runtime: Runtime, running: Running | None, record: JobRecord) -> Ending:
        """Run it, or see it to its end, while its servers live."""
        async with AsyncExitStack() as stack:

            async def have(needs: JobRecord, log: Path) -> Served:
                adopt = running is not None
                use = self._site.servers.use(self.attempt, needs, self.stop, adopt=adopt, log=log)
                return await stack.enter_async_context(use)

            url, lost, bases = record.job.target.api_endpoint.url, [], {}
            if isinstance(record.job.deployment, ServedDeployment):
                served = await have(record, self.attempt.server_log)
                url = served.url
                lost.append(served.lost)
            for name, needs in further_records(record).items():
                served = await have(needs, self.attempt.server_log.with_name(f"server-{name}.log"))
                bases[name] = served.base
                lost.append(served.lost)
            running = running or await self._start(runtime, record, url, bases)
            return await self._see_to_its_end(running, record, *lost)

    async def _see_to_its_end(self, running: Running, record: JobRecord, *lost: asyncio.Future[AttemptError]) -> Ending:
        try:
            return self._conclude(await self._watch(running, record, *lost))
        finally:
            await running.end()

    def _choose(self, record: JobRecord) -> Runtime:
        if record.settings.runtime == "docker":
            network = harness_network(record)
            return DockerRuntime(self.attempt, record, self._site.engine, network)
        return ProcessRuntime(self.attempt, record, self._site.store.home, self._site.environ)

    def _refuse_when_stopped(self) -> None:
        if self.stop.done():
            raise self.stop.result()

    async def _prepare(self, steps: Sequence[Step]) -> None:
        await run_steps(
            steps,
            folder=self.attempt.path,
            log=self.attempt.setup_log,
            environ=self._site.environ,
            say=self.attempt.set_phase,
            stops=[self.stop],
        )

    async def _start(self, runtime: Runtime, record: JobRecord, url: str | None, bases: Mapping[str, str]) -> Running:
        job, told = with_further(record.job, bases)
        if url is None:
            raise AttemptError.failed(Reason.REJECTED, "the target has no URL")
        shared = record.settings.runtime == "process" or record.settings.network == "host"
        command = bind(job, runtime.places, url, own_port=free_port(LOOPBACK, 0) if shared else None)
        write_files(command, self.attempt.work)
        try:
            values = resolve(job.env, read_values(self.attempt), self._site.environ)
        except SecretError as error:
            raise AttemptError.failed(Reason.REJECTED, str(error)) from error
        self.attempt.set_phase("starting")
        return await runtime.start(launch(replace(command, env={**told, **command.env}), values))

    async def _watch(self, running: Running, record: JobRecord, *lost: asyncio.Future[AttemptError]) -> Exit:
        started = self.attempt.started()
        spent = time.time() - started.at if started else 0.0
        try:
            return await unless(running.wait(), self.stop, *lost, limit=max(0.0, record.job.timeout - spent))
        except TimeoutError:
            detail = f"took longer than {record.job.timeout:g} s"
            raise AttemptError.failed(Reason.TIME_LIMIT, detail) from None

    def _conclude(self, exited: Exit) -> Ending:
        if exited.code == 0:
            return replace(Ending.of(JobState.SUCCEEDED), exit_code=0)
        said = last_line(self.attempt.client_log)
        reason, detail = Reason.HARNESS, f"exit status {exited.code}{': ' if said else ''}{said}"
        if exited.problem:
            reason, detail = Reason.INFRASTRUCTURE, f"the container did not run: {exited.problem}"
        elif exited.oom:
            reason, detail = Reason.OUT_OF_MEMORY, "the kernel ended it for want of memory"
        elif exited.outside:
            reason, detail = Reason.INFRASTRUCTURE, f"ended from outside by signal {exited.code - 128}"
        return replace(Ending.of(JobState.FAILED, reason, detail), exit_code=exited.code, oom=exited.oom)

    async def _finish(self, ending: Ending) -> None:
        """Hide secrets in the logs, forget them, write the ending, and only then remove what it was read from."""
        mask = masker(self._values())
        servers = self.attempt.server_log.parent.glob("server*.log")
        for log in (self.attempt.setup_log, self.attempt.client_log, *servers):
            mask_file(log, mask)
        self.attempt.secrets.unlink(missing_ok=True)
        started = self.attempt.started()
        self.attempt.end(
            replace(
                ending,
                detail=mask(ending.detail) if ending.detail else None,
                started=moment(started.at) if started else None,
            )
        )
        if self._runtime is not None:
            try:
                await self._runtime.discard()
            except EngineError as error:
                # NOTE: the next agent removes what belongs to ended attempts
                print(f"{self.attempt.name}: cannot remove what is left: {error}", file=sys.stderr)  # noqa: T201

    def _values(self) -> list[str]:
        values = list(read_values(self.attempt).values())
        try:
            references = all_references(self.attempt.record().job)
        except NelActionError:
            return values
        names = runtime_names(references)
        return values + [self._site.environ[name] for name in names if name in self._site.environ]


async def _already(running: Running) -> Exit | None:
    """Return how it ended, where it had ended before we came."""
    try:
        return await unless(running.wait(), limit=ADOPTED)
    except TimeoutError:
        return None
