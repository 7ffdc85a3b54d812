"""Child processes of the agent: started in a session of their own, ended by a ladder, none left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nel_action.executors.local import exec_shim as child
from nel_action.executors.local.attempt import Started

__all__ = ["MARK", "Child", "alive", "leftovers", "sweep"]

MARK: Final = "NEL_ACTION_ATTEMPT"
"""Variable in the environment of everything that an attempt starts; its value is the attempt's directory."""

LADDER: Final = ((signal.SIGINT, 5.0), (signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0))
"""How to end a program: the signal, and the seconds that it has to act on it."""


@dataclass(slots=True)
class Child:
    """A program that runs as the leader of its own session."""

    process: asyncio.subprocess.Process
    mark: str

    @staticmethod
    async def start(
        argv: Sequence[str], *, env: Mapping[str, str], cwd: Path, log: Path, mark: Path, started: Path | None = None
    ) -> Child:
        """Start it, with both its outputs appended to `log`; `started` is claimed by it before it runs."""
        words = [sys.executable, "-I", "-S", child.__file__, str(os.getpid()), str(started or "-"), *argv]
        with log.open("ab") as out:
            process = await asyncio.create_subprocess_exec(
                *words,
                env={**env, MARK: str(mark)},
                cwd=cwd,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
        return Child(process, str(mark))

    @property
    def pid(self) -> int:
        """Its process id, which is its session's too."""
        return self.process.pid

    async def wait(self) -> int:
        """Wait for its end; return its status, -n for signal n."""
        return await self.process.wait()

    async def end(self) -> None:
        """End it and everything that it started: interrupt, wait, terminate, wait, kill."""
        for number, patience in LADDER:
            if self.process.returncode is not None:
                break
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.process.wait(), patience)
        sweep(self.mark, None)


def sweep(mark: str, started: Started | None, *, rounds: int = 20) -> None:
    """Kill what an attempt left behind; again, while there is something, as it may be starting more."""
    for _ in range(rounds):
        found = 0
        for descriptor in leftovers(mark, started):
            found += 1
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        if not found:
            return
        time.sleep(0.01)


def leftovers(mark: str, started: Started | None) -> Iterator[int]:
    """Yield a descriptor of each living process of an attempt, known by its environment or by its session."""
    if sys.platform != "linux":
        return
    wanted = f"{MARK}={mark}".encode()
    session = started.pid if started is not None and started.boot == child.boot_id() else None
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            descriptor = os.pidfd_open(int(entry.name))
            try:
                # NOTE: looked at after it is held, so that a signal cannot reach another process of the same id
                if _belongs(entry, wanted, session, started):
                    yield descriptor
            finally:
                os.close(descriptor)


def _belongs(process: Path, wanted: bytes, session: int | None, started: Started | None) -> bool:
    fields = (process / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    state, member_of, ticks = fields[0], int(fields[3]), int(fields[19])
    if state in "ZX":
        return False
    if wanted in (process / "environ").read_bytes().split(b"\0"):
        return True
    first = started.ticks if started is not None else None
    if session is None or member_of != session or first is None:
        return False
    return ticks == first if process.name == str(session) else ticks >= first


def alive(pid: int) -> bool:
    """Whether there is a process of that id."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
