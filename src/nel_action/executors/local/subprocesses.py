"""Subprocesses of the supervisor: each in its own session, terminated with everything that it started."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeVar

from nel_action.executors.local import exec_shim
from nel_action.executors.local.attempt import AttemptError, StartRecord
from nel_action.executors.local.interface import SetupStep
from nel_action.executors.local.logs import last_line
from nel_action.model.job import Reason
from nel_action.retry import Backoff

__all__ = ["MARK", "Subprocess", "is_alive", "kill_leftovers", "run_steps", "wait_unless"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

MARK: Final = "NEL_ACTION_ATTEMPT"
"""Environment variable of everything that an attempt starts; its value is the attempt's directory."""

SIGNALS: Final = ((signal.SIGINT, 5.0), (signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0))
"""Escalation of signals that terminate a program, each with the seconds that it has to react."""

KILL_ROUNDS: Final = 20
"""Scans for processes that an attempt left behind; they may be starting more."""

KILL_INTERVAL: Final = Backoff(initial=0.01, factor=1.0, jitter=0.0)
"""Pauses between these scans."""

STEP_TIMEOUT: Final = 3600.0
"""Seconds for creating an environment or pulling an image."""


async def wait_unless(work: Awaitable[T], *stops: asyncio.Future[AttemptError], limit: float | None = None) -> T:
    """Wait for `work` unless one of `stops` is resolved first; `work` is cancelled then.

    Args:
        work: what to wait for.
        stops: futures whose result is the reason to stop waiting.
        limit: seconds; None for no limit.

    Raises:
        AttemptError: the result of the first resolved stop.
        TimeoutError: the limit was exceeded.
    """
    task = asyncio.ensure_future(work)
    try:
        futures: list[asyncio.Future[Any]] = [task, *stops]
        await asyncio.wait(futures, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        for stop in stops:
            if stop.done():
                raise stop.result()
        raise TimeoutError
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait([task])


@dataclass(slots=True)
class Subprocess:
    """A program that leads its own session."""

    process: asyncio.subprocess.Process
    mark: str

    @staticmethod
    async def start(
        argv: Sequence[str], *, env: Mapping[str, str], cwd: Path, log: Path, mark: Path, started: Path | None = None
    ) -> Subprocess:
        """Start a program through `exec_shim`.

        Args:
            argv: the command line.
            env: its environment.
            cwd: its working directory.
            log: file that its standard output and standard error are appended to.
            mark: directory that identifies its child processes.
            started: file that it creates exclusively before it runs; None for no claim.
        """
        shim = [sys.executable, "-I", "-S", exec_shim.__file__, str(os.getpid()), str(started or "-")]
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *shim,
                *argv,
                env={**env, MARK: str(mark)},
                cwd=cwd,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
        logger.debug("process %d: %s", process.pid, " ".join(argv))
        return Subprocess(process, str(mark))

    @property
    def pid(self) -> int:
        """Process ID, which is also the session ID."""
        return self.process.pid

    async def wait(self) -> int:
        """Wait until it has terminated; return its exit status, -n for signal n."""
        return await self.process.wait()

    async def terminate(self) -> None:
        """Terminate it and everything that it started, with increasingly strong signals."""
        for number, patience in SIGNALS:
            if self.process.returncode is not None:
                break
            logger.debug("process %d: %s", self.pid, number.name)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.process.wait(), patience)
        kill_leftovers(self.mark, None)


def kill_leftovers(mark: str, started: StartRecord | None) -> None:
    """Kill the remaining processes of an attempt, repeatedly, because they may be starting more.

    Args:
        mark: value of the variable `MARK` in their environment.
        started: start record of the attempt, if processes are also identified by its session.
    """
    for pause in islice(KILL_INTERVAL.delays(), KILL_ROUNDS):
        killed = 0
        for descriptor in _marked_processes(mark, started):
            killed += 1
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        if not killed:
            return
        time.sleep(pause)


def _marked_processes(mark: str, started: StartRecord | None) -> Iterator[int]:
    """Yield a descriptor of each living process of an attempt, identified by its environment or its session."""
    if sys.platform != "linux":
        return
    variable = f"{MARK}={mark}".encode()
    session = started.pid if started is not None and started.boot == exec_shim.boot_id() else None
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            descriptor = os.pidfd_open(int(entry.name))
            try:
                # NOTE: examined while the descriptor is open, so that the signal cannot reach a process that reuses
                # the ID.
                if _belongs(entry, variable, session, started):
                    yield descriptor
            finally:
                os.close(descriptor)


def _belongs(process: Path, variable: bytes, session: int | None, started: StartRecord | None) -> bool:
    fields = (process / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    state, process_session, ticks = fields[0], int(fields[3]), int(fields[19])
    if state in "ZX":
        return False
    if variable in (process / "environ").read_bytes().split(b"\0"):
        return True
    leader_ticks = started.ticks if started is not None else None
    if session is None or process_session != session or leader_ticks is None:
        return False
    return ticks == leader_ticks if process.name == str(session) else ticks >= leader_ticks


def is_alive(pid: int) -> bool:
    """Whether a process with that ID exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


async def run_steps(
    steps: Sequence[SetupStep],
    *,
    directory: Path,
    log: Path,
    environ: Mapping[str, str],
    on_phase: Callable[[str], None],
    stops: Sequence[asyncio.Future[AttemptError]] = (),
) -> None:
    """Run setup steps one after the other.

    Args:
        steps: the steps.
        directory: working directory, which also marks the processes.
        log: file for their output.
        environ: their environment.
        on_phase: called with the phase of each step before it runs.
        stops: futures that abort the steps when they are resolved.

    Raises:
        AttemptError: a step failed or timed out, or a stop was resolved.
    """
    for step in steps:
        on_phase(step.phase)
        logger.info("%s: %s", directory.name, step.phase)
        process = await Subprocess.start(step.argv, env=environ, cwd=directory, log=log, mark=directory)
        try:
            status = await wait_unless(process.wait(), *stops, limit=STEP_TIMEOUT)
        except TimeoutError:
            detail = f"{step.phase} did not finish within {STEP_TIMEOUT:g} s"
            raise AttemptError.failed(Reason.INFRASTRUCTURE, detail) from None
        finally:
            await process.terminate()
        if status:
            raise AttemptError.failed(step.reason, f"{step.phase} failed: {last_line(log)}")
