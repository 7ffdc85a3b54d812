"""The supervisor: a detached process per invocation that runs its attempts and exits when none is left.

    python -m nel_action.executors.local.supervisor HOME INVOCATION LOCK

LOCK is the inherited descriptor of the queue's lock. The process that holds the lock is the supervisor or is about to
start it. After releasing the lock, a holder checks the queue once more, so that an attempt which was added meanwhile,
by a process that found the lock taken, is not left without a supervisor.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final

from nel_action.errors import EngineError, ExecutorError
from nel_action.executors.local.attempt import AttemptDir, AttemptError, ExitRecord, JobRecord
from nel_action.executors.local.attempt_runner import AttemptRunner, SupervisorContext
from nel_action.executors.local.command import server_digests
from nel_action.executors.local.docker.engine import ENGINE_INTERVAL, AsyncEngine
from nel_action.executors.local.garbage_collection import (
    kill_server_processes,
    remove_containers,
    remove_expired,
    remove_partial,
)
from nel_action.executors.local.gateway import RECORD_ROOT
from nel_action.executors.local.logs import tail
from nel_action.executors.local.model_server.container import CONTAINER_MARKER
from nel_action.executors.local.model_server.pool import ModelServerPool
from nel_action.executors.local.process import INHERITED
from nel_action.executors.local.secrets import known_secrets
from nel_action.executors.local.store import Queue, Store
from nel_action.executors.records import remove_expired_records
from nel_action.executors.virtualenvs import is_installer_variable
from nel_action.log import log_to_file
from nel_action.model.job import JobState, Reason
from nel_action.redaction import MutableRedactor
from nel_action.spec.deployment import ServedDeployment

__all__ = ["MODULE", "Supervisor", "ensure_supervisor", "last_error", "main", "supervisor_environ"]

MODULE: Final = "nel_action.executors.local.supervisor"
"""Name of this module, which runs as `__main__`."""

logger = logging.getLogger(MODULE)

POLL_INTERVAL: Final = 0.1
"""Seconds between two checks for notifications; the exit of a program is noticed at once."""

DETACH: Final = "import os, sys; os.fork() and os._exit(0); os.execv(sys.argv[1], sys.argv[1:])"
"""Makes the init process the parent of the supervisor, so that the caller need not wait for it."""

INHERITED_PREFIXES: Final = ("DOCKER_", "NEL_ACTION_", "COVERAGE_")
"""Prefixes of variables that the supervisor inherits in addition to those of jobs and of the installer."""

NOT_INHERITED: Final = frozenset({"NEL_ACTION_ATTEMPT"})
"""Variables that the supervisor must not inherit in spite of their prefix."""

CLEANUP_TRIES: Final = 720
"""Tries to remove containers, about an hour."""

LOG_TAIL: Final = 8192
"""Bytes of the log that are searched for the last error."""


def ensure_supervisor(store: Store, queue: Queue, environ: Mapping[str, str]) -> bool:
    """Start the supervisor of a queue if the queue needs one and has none; return whether it was started.

    Args:
        store: the store.
        queue: the queue.
        environ: environment of the supervisor.

    Raises:
        ExecutorError: it cannot be started.
    """
    queue.notify()
    while queue.needs_supervisor():
        if (lock := queue.try_lock()) is None:
            return False
        try:
            if queue.needs_supervisor():
                _spawn(store, queue, environ, lock)
                return True
        finally:
            os.close(lock)
    return False


def _spawn(store: Store, queue: Queue, environ: Mapping[str, str], lock: int) -> None:
    """Start the supervisor; it inherits the lock, which is therefore never free in between."""
    # NOTE: -P and -I prevent files of the current directory from being imported in place of installed modules.
    detach = [sys.executable, "-I", "-S", "-c", DETACH]
    isolation = "-I" if sys.flags.isolated else "-P"
    argv = [sys.executable, isolation, "-m", MODULE, str(store.home), queue.invocation, str(lock)]
    try:
        with open(queue.log, "ab", opener=_private) as log:
            # NOTE: earlier versions created the file with the default mode.
            os.fchmod(log.fileno(), 0o600)
            subprocess.run(
                [*detach, *argv],
                check=True,
                env=supervisor_environ(environ),
                cwd=store.root,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=[lock],
            )
    except (OSError, subprocess.CalledProcessError) as error:
        msg = f"cannot start the supervisor of {queue.invocation}: {error}"
        raise ExecutorError(msg) from error
    logger.info("started the supervisor of %s; its log is %s", queue.invocation, queue.log)


def supervisor_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that the supervisor inherits; it outlives its caller, whose other variables may be secrets.

    The values that jobs refer to are passed in a file that only their owner can read.
    """
    return {
        name: value
        for name, value in environ.items()
        if name not in NOT_INHERITED
        and (
            name in INHERITED
            or is_installer_variable(name)
            or name.startswith(("LC_", *INHERITED_PREFIXES))
            or (name == "PYTHONPATH" and not sys.flags.isolated)
        )
    }


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def last_error(queue: Queue) -> str:
    """Return the last line of the supervisor's log unless it is a routine message; empty if there is none."""
    lines = tail(queue.log, LOG_TAIL).splitlines()
    line = lines[-1].strip() if lines else ""
    return "" if any(f" {level} nel_action" in line for level in ("INFO", "DEBUG")) else line


class Supervisor:
    """Runs the attempts of one queue."""

    def __init__(self, store: Store, queue: Queue, environ: Mapping[str, str]) -> None:
        self._queue = queue
        engine = AsyncEngine(environ)
        pool = ModelServerPool(store, queue, engine, environ, self._is_awaited)
        self._context = SupervisorContext(store, environ, engine, pool, self._wake)
        self._uses_containers = any(queue.servers.glob(f"*/{CONTAINER_MARKER}"))
        self._pending: dict[str, tuple[AttemptDir, JobRecord]] = {}
        self._active: dict[str, tuple[AttemptRunner, asyncio.Task[None]]] = {}
        self._done: set[str] = set()
        self._stopped: AttemptError | None = None
        self.redactor = MutableRedactor()
        """Redacts the secrets of all attempts."""

    async def run(self) -> None:
        """Run the existing attempts and those that are added, until none is left."""
        store = self._context.store
        remove_partial(store)
        with suppress(ExecutorError, OSError):
            remove_expired(store, self._queue)
            active = {attempt.key for attempt in store.all() if not attempt.finished}
            remove_expired_records(store.home / RECORD_ROOT, active=active)
        kill_server_processes(self._queue)
        try:
            await self._run()
        finally:
            await self._close()

    async def _close(self) -> None:
        """Stop the model servers, and remove containers that are no longer used."""
        await self._context.servers.close()
        if not self._uses_containers or await self._remove_containers():
            # NOTE: kept otherwise, so that the next command starts a supervisor that removes the servers.
            shutil.rmtree(self._queue.servers, ignore_errors=True)
        self._context.engine.close()

    async def _remove_containers(self) -> bool:
        """Remove containers that are no longer used; wait for the engine if a model server may run, for an hour."""
        remove = partial(remove_containers, store=self._context.store, queue=self._queue)
        for pause in islice(ENGINE_INTERVAL.delays(), CLEANUP_TRIES):
            try:
                await self._context.engine.call(remove)
            except EngineError as error:
                logger.warning("cannot remove unused containers: %s", error)
            else:
                return True
            if self._stopped or self._queue.unfinished() or not any(self._queue.servers.glob(f"*/{CONTAINER_MARKER}")):
                break
            await asyncio.sleep(pause)
        return False

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        loop.add_signal_handler(signal.SIGTERM, self._stop)
        handled = -1
        while True:
            if (notification := self._queue.notification()) != handled:
                handled = notification
                self._scan()
            self._start_pending()
            if not self._active:
                return
            await asyncio.wait(
                [task for _, task in self._active.values()], timeout=POLL_INTERVAL, return_when=asyncio.FIRST_COMPLETED
            )
            self._reap()

    def _stop(self) -> None:
        """Handle SIGTERM: make all attempts fail; they can be submitted again."""
        logger.warning("received SIGTERM; stopping all attempts")
        self._stopped = AttemptError.failed(Reason.INFRASTRUCTURE, "its supervisor received SIGTERM")
        for runner, _ in self._active.values():
            _abort(runner, self._stopped)

    def _scan(self) -> None:
        """Find new attempts and requests to cancel."""
        for attempt in self._queue.unfinished():
            if attempt.name not in self._done | self._pending.keys() | self._active.keys():
                self._admit(attempt)
            if attempt.cancel_requested:
                self._cancel(attempt)

    def _admit(self, attempt: AttemptDir) -> None:
        try:
            record = attempt.record()
        except ExecutorError as error:
            if attempt.claim.exists():
                self._uses_containers = True
                self._start(attempt)
                return
            detail = str(error).replace("\n", "; ")
            attempt.write_exit_record(ExitRecord.now(JobState.FAILED, Reason.INFRASTRUCTURE, detail))
            return
        self._uses_containers |= _uses_containers(record)
        if record.invocation == self._queue.invocation:
            self._pending[attempt.name] = attempt, record
            self.redactor.add(known_secrets(attempt, record, self._context.environ))
        else:
            self._queue.remove(attempt.name)

    def _cancel(self, attempt: AttemptDir) -> None:
        if attempt.name in self._active:
            _abort(self._active[attempt.name][0], AttemptError(JobState.CANCELLED, detail="cancelled"))

    def _start_pending(self) -> None:
        """Start as many attempts as may run; those that are cancelled or already running need no free slot."""
        order = sorted(self._pending.values(), key=lambda entry: (entry[1].job.index, entry[0].name))
        for attempt, record in order:
            free = len(self._active) < _slots(record, len(order) + len(self._active))
            running = attempt.claim.exists() or attempt.start_record() is not None
            if free or self._stopped or attempt.cancel_requested or running:
                del self._pending[attempt.name]
                self._start(attempt)

    def _start(self, attempt: AttemptDir) -> None:
        runner = AttemptRunner(attempt, self._context)
        if self._stopped:
            _abort(runner, self._stopped)
        elif attempt.cancel_requested:
            _abort(runner, AttemptError(JobState.CANCELLED, detail="cancelled before it ran"))
        self._active[attempt.name] = runner, asyncio.create_task(runner.run())

    def _wake(self, attempt: AttemptDir) -> None:
        """Ensure that an attempt of another queue of this store has a supervisor."""
        store = self._context.store
        with suppress(ExecutorError):
            if attempt.path.parent == store.root and attempt.exists():
                ensure_supervisor(store, store.queue(attempt.record().invocation), self._context.environ)

    def _is_awaited(self, digest: str) -> bool:
        """Whether a pending job needs the model server with that digest."""
        pending = [record for attempt, record in self._pending.values() if not attempt.cancel_requested]
        return not self._stopped and any(digest in server_digests(record) for record in pending)

    def _reap(self) -> None:
        for name, (_, task) in list(self._active.items()):
            if task.done():
                del self._active[name]
                self._done.add(name)
                task.result()


def _abort(runner: AttemptRunner, error: AttemptError) -> None:
    if not runner.stop.done():
        runner.stop.set_result(error)


def _uses_containers(record: JobRecord) -> bool:
    """Whether the harness or a model server of a job runs in a container."""
    servers = [record.job.deployment, *record.job.auxiliary.values()]
    runtimes = {server.runtime for server in servers if isinstance(server, ServedDeployment)}
    return "docker" in {record.settings.runtime, *runtimes}


def _slots(record: JobRecord, jobs: int) -> int:
    """Return how many jobs may run at once."""
    match record.settings.mode:
        case "parallel":
            return max(1, jobs)
        case "sequential":
            return 1
        case None:
            return record.settings.parallelism


def main() -> None:
    """Run the queue; check it once more after releasing the lock."""
    store, lock = Store(Path(sys.argv[1])), int(sys.argv[3])
    queue = store.queue(sys.argv[2])
    os.set_inheritable(lock, False)  # noqa: FBT003 the function's only form
    held: int | None = lock
    while held is not None:
        supervisor = Supervisor(store, queue, dict(os.environ))
        handler = log_to_file(queue.log, redact=supervisor.redactor)
        logger.info("process %d runs invocation %s", os.getpid(), queue.invocation)
        asyncio.run(supervisor.run())
        logger.info("process %d: no attempt is left", os.getpid())
        logging.getLogger("nel_action").removeHandler(handler)
        handler.close()
        os.close(held)
        held = queue.try_lock() if queue.unfinished() else None


if __name__ == "__main__":
    main()
