"""The process that works an invocation's queue: it outlives whoever submitted, and ends when nothing is left.

    python -m nel_action.executors.local.supervisor HOME INVOCATION LOCK

LOCK is the descriptor of the queue's lock, inherited from whoever started it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from nel_action.errors import EngineError, ExecutorError
from nel_action.executors.local.attempt import AttemptDir
from nel_action.executors.local.attempt_runner import Attendance, Site
from nel_action.executors.local.auxiliary import server_digests
from nel_action.executors.local.docker.run import Engine
from nel_action.executors.local.garbage_collection import clean_containers, clean_files, clean_old, clean_processes
from nel_action.executors.local.model_server.container import CONTAINER
from nel_action.executors.local.model_server.pool import Servers
from nel_action.executors.local.queue import Queue
from nel_action.executors.local.record import AttemptError, Ending, JobRecord
from nel_action.executors.local.store import Store
from nel_action.executors.local.supervisor_processes import try_lock
from nel_action.model.job import JobState, Reason

__all__ = ["Agent", "main"]

TICK: Final = 0.1
"""Seconds between two looks for news; the end of a program is noticed at once."""


class Agent:
    """Works one queue."""

    def __init__(self, store: Store, queue: Queue, environ: Mapping[str, str]) -> None:
        self._queue = queue
        engine = Engine(environ)
        self._site = Site(store, environ, engine, Servers(store, queue, engine, environ, self._wanted))
        self._containers = any(queue.servers.glob(f"*/{CONTAINER}"))
        self._waiting: dict[str, tuple[AttemptDir, JobRecord]] = {}
        self._active: dict[str, tuple[Attendance, asyncio.Task[None]]] = {}
        self._done: set[str] = set()
        self._stopped: AttemptError | None = None

    async def work(self) -> None:
        """Run what is there and what comes, until nothing is left."""
        clean_files(self._site.store)
        with suppress(ExecutorError, OSError):
            clean_old(self._site.store, self._queue)
        clean_processes(self._queue)
        try:
            await self._work()
        finally:
            await self._leave()

    async def _leave(self) -> None:
        """Take everything down that is ours, and what others left."""
        await self._site.servers.close()
        if self._containers:
            try:
                await self._site.engine.call(partial(clean_containers, store=self._site.store, queue=self._queue))
            except EngineError as error:
                print(f"cannot look for containers that were left: {error}", file=sys.stderr)  # noqa: T201
        self._site.engine.close()

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        loop.add_signal_handler(signal.SIGTERM, self._stop)
        seen = -1
        while True:
            if (news := self._queue.news()) != seen:
                seen = news
                self._look()
            self._begin()
            if not self._active:
                return
            await asyncio.wait(
                [task for _, task in self._active.values()], timeout=TICK, return_when=asyncio.FIRST_COMPLETED
            )
            self._reap()

    def _stop(self) -> None:
        """Somebody ends the agent itself: its jobs fail for that reason, and can be run again."""
        self._stopped = AttemptError.failed(Reason.INFRASTRUCTURE, "the local agent was told to end")
        for attendance, _ in self._active.values():
            _set(attendance, self._stopped)

    def _look(self) -> None:
        """See which attempts are new, and which are to be ended."""
        for attempt in self._queue.unfinished():
            if attempt.name not in self._done | self._waiting.keys() | self._active.keys():
                self._admit(attempt)
            if attempt.cancelled:
                self._cancel(attempt)

    def _admit(self, attempt: AttemptDir) -> None:
        try:
            record = attempt.record()
        except ExecutorError as error:
            attempt.end(Ending.of(JobState.FAILED, Reason.INFRASTRUCTURE, str(error).replace("\n", "; ")))
            return
        self._containers |= "docker" in {record.settings.runtime, getattr(record.job.deployment, "runtime", None)}
        if record.invocation == self._queue.invocation:
            self._waiting[attempt.name] = attempt, record
        else:
            self._queue.withdraw(attempt.name)

    def _cancel(self, attempt: AttemptDir) -> None:
        if attempt.name in self._active:
            _set(self._active[attempt.name][0], AttemptError(JobState.CANCELLED, detail="cancelled"))

    def _begin(self) -> None:
        """Start what fits; what is cancelled or already runs takes no slot from the others."""
        order = sorted(self._waiting.values(), key=lambda entry: (entry[1].job.index, entry[0].name))
        for attempt, record in order:
            free = len(self._active) < _slots(record, len(order) + len(self._active))
            if free or self._stopped or attempt.cancelled or attempt.started() is not None:
                del self._waiting[attempt.name]
                self._attend(attempt)

    def _attend(self, attempt: AttemptDir) -> None:
        attendance = Attendance(attempt, self._site)
        if self._stopped:
            _set(attendance, self._stopped)
        elif attempt.cancelled:
            _set(attendance, AttemptError(JobState.CANCELLED, detail="cancelled before it ran"))
        self._active[attempt.name] = attendance, asyncio.create_task(attendance.run())

    def _wanted(self, digest: str) -> bool:
        """Whether a job still waits for that server."""
        waiting = [record for attempt, record in self._waiting.values() if not attempt.cancelled]
        return not self._stopped and any(digest in server_digests(record) for record in waiting)

    def _reap(self) -> None:
        for name, (_, task) in list(self._active.items()):
            if task.done():
                del self._active[name]
                self._done.add(name)
                task.result()


def _set(attendance: Attendance, why: AttemptError) -> None:
    if not attendance.stop.done():
        attendance.stop.set_result(why)


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
    """Work the queue; look once more after letting go of the lock."""
    store, lock = Store(Path(sys.argv[1])), int(sys.argv[3])
    queue = store.queue(sys.argv[2])
    os.set_inheritable(lock, False)  # noqa: FBT003 the function's only form
    held: int | None = lock
    while held is not None:
        asyncio.run(Agent(store, queue, dict(os.environ)).work())
        os.close(held)
        held = try_lock(queue) if queue.needs_an_agent() else None


if __name__ == "__main__":
    main()
