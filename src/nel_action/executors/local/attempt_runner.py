"""Runs a single attempt to its end and records the outcome."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final, TypeVar

from nel_action.errors import EngineError, NelActionError, SecretError
from nel_action.executors.local.attempt import AttemptDir, AttemptError, ExitRecord, JobRecord, utc_timestamp
from nel_action.executors.local.claims import JobClaim, adopt_result
from nel_action.executors.local.command import (
    auxiliary_records,
    bind,
    harness_network,
    launch,
    with_auxiliary_servers,
    write_files,
)
from nel_action.executors.local.docker.engine import ENGINE_INTERVAL, AsyncEngine
from nel_action.executors.local.docker.run import DockerRuntime, stop_container
from nel_action.executors.local.gateway import (
    GatewayDied,
    GatewayServer,
    Placement,
    behind_gateway,
    container_placement,
    gateway_url,
    harness_side,
    parent_placement,
)
from nel_action.executors.local.interface import ExitStatus, Preceded, RunningProgram, Runtime, SetupStep
from nel_action.executors.local.logs import last_line
from nel_action.executors.local.model_server.interface import LOOPBACK
from nel_action.executors.local.model_server.pool import ModelServerPool, ServerLease
from nel_action.executors.local.model_server.ports import free_port
from nel_action.executors.local.process import ProcessRuntime, base_environ
from nel_action.executors.local.secrets import known_secrets, read_values, redact_file, resolve_env
from nel_action.executors.local.store import Store
from nel_action.executors.local.subprocesses import run_steps, wait_unless
from nel_action.gateway.runner import RESTARTS
from nel_action.model.job import JobState, Reason
from nel_action.redaction import Redactor
from nel_action.retry import Backoff
from nel_action.spec.deployment import ServedDeployment

__all__ = ["AttemptRunner", "SupervisorContext"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

RECOVERED_EXIT_TIMEOUT: Final = 5.0
"""Seconds in which a recovered program that has already terminated reports its exit status."""

CLAIM_INTERVAL: Final = Backoff(initial=0.1, factor=1.5, maximum=2.0)
"""Pauses between two tries to become the only attempt of a job."""

EXIT_RECORD_TIMEOUT: Final = 30.0
"""Seconds in which the supervisor of another attempt writes its exit record after the program has stopped."""

FULL_DISK_TRIES: Final = 360
"""Tries to write an exit record."""

FULL_DISK_INTERVAL: Final = Backoff(initial=10.0, factor=1.0, jitter=0.0)
"""Pauses between these tries."""


@dataclass(frozen=True, slots=True)
class SupervisorContext:
    """Objects that all attempts of a supervisor share."""

    store: Store
    environ: Mapping[str, str]
    engine: AsyncEngine
    servers: ModelServerPool
    wake: Callable[[AttemptDir], object]
    """Ensures that an attempt of this store has a supervisor."""


@dataclass(frozen=True, slots=True)
class _Addresses:
    """Where a harness reaches its model."""

    url: str
    """URL of the model's route, as a harness without a gateway sees it."""
    local_url: str
    """The same as this machine sees it."""
    base_urls: Mapping[str, str]
    """Name of an auxiliary server → its base URL, as the harness sees it."""


class AttemptRunner:
    """Runs or resumes one attempt."""

    def __init__(self, attempt: AttemptDir, context: SupervisorContext) -> None:
        self.attempt = attempt
        self._context = context
        self._record: JobRecord | None = None
        self._runtime: Runtime | None = None
        self._redact: Redactor | None = None
        self._claim = JobClaim(context.store, attempt)
        self.stop: asyncio.Future[AttemptError] = asyncio.get_running_loop().create_future()
        """Resolved to abort the attempt."""

    async def run(self) -> None:
        """Run the attempt and write its exit record."""
        try:
            self._record = self.attempt.record()
            outcome = await self._run(self._record)
        except AttemptError as error:
            outcome = error.exit_record
        except (NelActionError, OSError) as error:
            outcome = ExitRecord.now(JobState.FAILED, Reason.INFRASTRUCTURE, str(error).replace("\n", "; "))
        except Exception as error:
            # NOTE: recorded as the attempt's failure, because the other attempts must continue.
            logger.exception("%s: the supervisor failed", self.attempt.name)
            outcome = ExitRecord.now(JobState.FAILED, Reason.INFRASTRUCTURE, f"the supervisor failed: {error!r}")
        try:
            await self._stop_when_possible()
            await self._finish_when_possible(self._unless_cancelled(outcome))
        finally:
            self._claim.release()

    async def _stop_when_possible(self) -> None:
        """Ensure that nothing of the attempt runs, for as long as that takes: another attempt may start afterwards."""
        if self._runtime is not None:
            await self._until_observed(self._runtime.stop)
            await GatewayServer(self.attempt).stop()
        elif self.attempt.claim.exists():
            # NOTE: the record is damaged; a container may run nevertheless.
            await self._until_observed(partial(stop_container, self.attempt, self._context.engine))

    async def _until_observed(self, observe: Callable[[], Awaitable[T]]) -> T:
        """Repeat a question to the engine until it answers; the attempt's state is unknown meanwhile.

        An engine that was never asked for the attempt's container is not waited for: nothing can run there.

        Raises:
            AttemptError: the answer is that the attempt has failed.
            EngineError: the engine does not answer, and nothing can run there.
        """
        for pause in ENGINE_INTERVAL.delays():
            try:
                answer = await observe()
            except EngineError as error:
                if not self.attempt.claim.exists() and self.attempt.start_record() is None:
                    raise
                logger.warning("%s: cannot observe its container: %s", self.attempt.name, error)
                detail = f"its container cannot be observed: {error.problems[0].message}"
                self.attempt.set_unobserved(detail)
            else:
                self.attempt.set_unobserved(None)
                return answer
            await asyncio.sleep(pause)
        raise AssertionError  # the pauses never end

    def _unless_cancelled(self, outcome: ExitRecord) -> ExitRecord:
        """Return the outcome; a failure after a request to cancel is the cancellation."""
        if outcome.state is JobState.FAILED and self.attempt.cancel_requested:
            return replace(outcome, state=JobState.CANCELLED, reason=None, detail="cancelled")
        return outcome

    async def _finish_when_possible(self, outcome: ExitRecord) -> None:
        """Write the exit record; if the disk is full, wait for space rather than lose the record."""
        for pause in islice(FULL_DISK_INTERVAL.delays(), FULL_DISK_TRIES):
            try:
                await self._finish(outcome)
            except OSError as error:
                logger.warning("%s: cannot write the exit record: %s", self.attempt.name, error)
                await asyncio.sleep(pause)
            else:
                return

    async def _run(self, record: JobRecord) -> ExitRecord:
        runtime = self._runtime = self._create_runtime(record)
        program = await self._until_observed(runtime.recover)
        if program is None:
            return await self._run_alone(runtime, record)
        try:
            if (status := await _exit_if_terminated(program)) is not None:
                return self._exit_record(status)
            return await self._run_with_servers(runtime, program, record)
        finally:
            await self._terminate(program)

    async def _run_alone(self, runtime: Runtime, record: JobRecord) -> ExitRecord:
        """Run the harness while no other attempt of the job does, or use the results of one that did."""
        waited: dict[Path, float] = {}
        for pause in CLAIM_INTERVAL.delays():
            self._raise_if_stopped()
            other = self._claim.acquire() or await runtime.predecessor()
            if other is not None:
                waited[other.path] = time.monotonic()
            elif (other := _unrecorded(waited)) is None:
                for path in waited:
                    if record.job.pinned and (outcome := adopt_result(AttemptDir(path), self.attempt)) is not None:
                        return replace(outcome, detail=f"the results are those of {path}")
                try:
                    await self._prepare(await runtime.setup())
                    return await self._run_with_servers(runtime, None, record)
                except Preceded as error:
                    other = error.attempt
            # NOTE: released, so that the attempt that is waited for can acquire it after its supervisor was killed.
            self._claim.release()
            self.attempt.set_phase(f"waiting for the same job in {other.path.parent}")
            self._context.wake(other)
            await wait_unless(asyncio.sleep(pause), self.stop)
        raise AssertionError  # the pauses never end

    async def _terminate(self, program: RunningProgram | None) -> None:
        """Terminate the program as far as possible; `_stop_when_possible` verifies it."""
        try:
            if program is not None:
                await program.terminate()
        except EngineError as error:
            logger.warning("%s: cannot terminate its container: %s", self.attempt.name, error)

    async def _run_with_servers(
        self, runtime: Runtime, program: RunningProgram | None, record: JobRecord
    ) -> ExitRecord:
        """Run the harness, or watch a recovered one, while its model servers are available."""
        adopt = program is not None
        async with AsyncExitStack() as stack:

            async def lease(server_record: JobRecord, log: Path) -> ServerLease:
                pool = self._context.servers
                context = pool.lease(self.attempt, server_record, self.stop, adopt=adopt, log=log)
                return await stack.enter_async_context(context)

            url = local_url = record.job.target.api_endpoint.url
            lost, base_urls = [], {}
            if isinstance(record.job.deployment, ServedDeployment):
                server = await lease(record, self.attempt.server_log)
                url, local_url = server.url, server.local_url
                lost.append(server.lost)
            for name, server_record in auxiliary_records(record).items():
                server = await lease(server_record, self.attempt.server_log.with_name(f"server-{name}.log"))
                base_urls[name] = server.base_url
                lost.append(server.lost)
            if url is None or local_url is None:
                raise AttemptError.failed(Reason.REJECTED, "the target has no URL")
            addresses = _Addresses(url, local_url, base_urls)
            if record.job.gateway is not None and record.settings.runtime == "docker":
                return await self._run_beside_gateway(runtime, program, record, addresses, lost)
            program = program or await self._start(runtime, record, addresses)
            return await self._watch_to_exit(program, record, *lost)

    async def _run_beside_gateway(
        self,
        runtime: Runtime,
        program: RunningProgram | None,
        record: JobRecord,
        addresses: _Addresses,
        lost: Sequence[asyncio.Future[AttemptError]],
    ) -> ExitRecord:
        """Run the container of a harness while its gateway runs; begin another pass if the gateway dies.

        Args:
            runtime: starts the container.
            program: the container that an earlier supervisor started, if any.
            record: what was submitted.
            addresses: of the model and the auxiliary servers.
            lost: resolved if a model server terminates.
        """
        gateway = GatewayServer(self.attempt)
        for _ in range(RESTARTS + 1):
            if program is None:
                gateway.prepare_pass(record)
                program = await self._start(runtime, record, addresses)
            died: asyncio.Future[AttemptError] = asyncio.ensure_future(gateway.death())
            try:
                outcome = await self._watch_to_exit(program, record, *lost, died)
                stop_status = gateway.stop_status()
                return outcome if stop_status is None else self._exit_record(ExitStatus(code=stop_status))
            except GatewayDied as error:
                await self._until_observed(runtime.stop)
                if error.status is not None:
                    return self._exit_record(ExitStatus(code=error.status))
                logger.warning("%s: its gateway died; another pass begins", self.attempt.name)
                await self._until_observed(runtime.discard)
                program = None
            finally:
                died.cancel()
        raise AttemptError.failed(Reason.INFRASTRUCTURE, f"its gateway died {RESTARTS + 1} times")

    async def _watch_to_exit(
        self, program: RunningProgram, record: JobRecord, *lost: asyncio.Future[AttemptError]
    ) -> ExitRecord:
        try:
            return self._exit_record(await self._watch(program, record, *lost))
        finally:
            await self._terminate(program)

    def _create_runtime(self, record: JobRecord) -> Runtime:
        if record.settings.runtime == "docker":
            return DockerRuntime(self.attempt, record, self._context.engine, harness_network(record))
        return ProcessRuntime(self.attempt, record, self._context.store.home, self._context.environ)

    def _raise_if_stopped(self) -> None:
        if self.stop.done():
            raise self.stop.result()

    async def _prepare(self, steps: Sequence[SetupStep]) -> None:
        await run_steps(
            steps,
            directory=self.attempt.path,
            log=self.attempt.setup_log,
            environ=self._context.environ,
            on_phase=self.attempt.set_phase,
            stops=[self.stop],
        )

    async def _start(self, runtime: Runtime, record: JobRecord, addresses: _Addresses) -> RunningProgram:
        job, variables = with_auxiliary_servers(record.job, addresses.base_urls)
        try:
            values = resolve_env(job.env, read_values(self.attempt), self._context.environ)
        except SecretError as error:
            raise AttemptError.failed(Reason.REJECTED, str(error)) from error
        self.attempt.set_phase("starting")
        logger.info("%s: starting the harness", self.attempt.name)
        shared_network = record.settings.runtime == "process" or record.settings.network == "host"
        own_port = free_port(LOOPBACK, 0) if shared_network else None
        gateway = await self._place_gateway(record, addresses, values) if job.gateway is not None else None
        bound = job if gateway is None else behind_gateway(job)
        url = addresses.url if gateway is None else gateway_url(addresses.url, gateway.address)
        command = bind(bound, runtime.paths, url, own_port=own_port)
        command = replace(command, env={**variables, **command.env})
        write_files(command, self.attempt.work)
        started = launch(command, values)
        try:
            return await runtime.start(started if gateway is None else gateway.wrap(command, started))
        except Preceded:
            await GatewayServer(self.attempt).stop()
            raise

    async def _place_gateway(self, record: JobRecord, addresses: _Addresses, values: Mapping[str, str]) -> Placement:
        """Prepare the gateway as the parent of the harness's process, or start it next to the container."""
        home = self._context.store.home
        if record.settings.runtime == "process":
            return parent_placement(self.attempt, record, addresses.local_url, home)
        host, name = await self._context.engine.call(partial(harness_side, settings=record.settings))
        environ = base_environ(self._context.environ, None)
        return await container_placement(
            self.attempt, record, addresses.local_url, home, listen=host, name=name, env={**environ, **values}
        )

    async def _watch(
        self, program: RunningProgram, record: JobRecord, *lost: asyncio.Future[AttemptError]
    ) -> ExitStatus:
        started = self.attempt.start_record()
        elapsed = time.time() - started.at if started else 0.0
        remaining = max(0.0, record.job.timeout - elapsed)
        try:
            return await wait_unless(program.wait(), self.stop, *lost, limit=remaining)
        except TimeoutError:
            detail = f"it exceeded its time limit of {record.job.timeout:g} s"
            raise AttemptError.failed(Reason.TIME_LIMIT, detail) from None

    def _exit_record(self, status: ExitStatus) -> ExitRecord:
        if status.code == 0:
            detail = "the kernel killed one of its processes: out of memory" if status.oom else None
            return replace(ExitRecord.now(JobState.SUCCEEDED, detail=detail), exit_code=0, oom=status.oom)
        output = last_line(self.attempt.client_log)
        reason, detail = Reason.HARNESS, f"exit status {status.code}{': ' if output else ''}{output}"
        if status.problem:
            reason, detail = Reason.INFRASTRUCTURE, f"the container could not run: {status.problem}"
        elif status.oom:
            reason, detail = Reason.OUT_OF_MEMORY, "the kernel killed it: out of memory"
        elif status.killed:
            reason, detail = Reason.INFRASTRUCTURE, f"another process terminated it with signal {status.code - 128}"
        return replace(ExitRecord.now(JobState.FAILED, reason, detail), exit_code=status.code, oom=status.oom)

    async def _finish(self, outcome: ExitRecord) -> None:
        """Redact the logs, delete the secrets, write the exit record, and only then remove what it was read from."""
        if self._redact is None:
            # NOTE: read once, because the secrets are deleted before the exit record is written.
            self._redact = Redactor(known_secrets(self.attempt, self._record, self._context.environ))
        redact = self._redact
        server_logs = self.attempt.logs.glob("server*.log")
        for log in (self.attempt.setup_log, self.attempt.client_log, *server_logs):
            redact_file(log, redact)
        self.attempt.secrets.unlink(missing_ok=True)
        started = self.attempt.start_record()
        self.attempt.write_exit_record(
            replace(
                outcome,
                detail=redact(outcome.detail) if outcome.detail else None,
                started=utc_timestamp(started.at) if started else outcome.started,
            )
        )
        logger.info("%s: %s%s", self.attempt.name, outcome.state, f" ({outcome.detail})" if outcome.detail else "")
        if self._runtime is not None:
            try:
                await self._runtime.discard()
            except EngineError as error:
                # NOTE: the next supervisor removes the containers of finished attempts.
                logger.warning("%s: cannot remove its container: %s", self.attempt.name, error)


def _unrecorded(waited: Mapping[Path, float]) -> AttemptDir | None:
    """Return an attempt that has just stopped, and whose supervisor may still write its exit record.

    Args:
        waited: path of each attempt that was waited for → when it was last seen to run, on the monotonic clock.
    """
    for path, seen in waited.items():
        attempt = AttemptDir(path)
        with suppress(OSError):
            if time.monotonic() - seen < EXIT_RECORD_TIMEOUT and attempt.exists() and not attempt.finished:
                return attempt
    return None


async def _exit_if_terminated(program: RunningProgram) -> ExitStatus | None:
    """Return the exit status of a recovered program if it has already terminated."""
    try:
        return await wait_unless(program.wait(), limit=RECOVERED_EXIT_TIMEOUT)
    except TimeoutError:
        return None
