"""Starting and ending daemons by their own process ids, on machines without an init system."""

from __future__ import annotations

import os
import random
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

__all__ = ["Daemon", "children", "free_ports", "port_open", "process_gone", "wait_until"]


def wait_until(condition: Callable[[], object], *, seconds: float, what: str) -> None:
    """Wait for something that is bound to happen.

    Raises:
        TimeoutError: it did not, in that many seconds.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            msg = f"not within {seconds:g} s: {what}"
            raise TimeoutError(msg)
        time.sleep(0.02)


def free_ports(count: int) -> list[int]:
    """Return that many different ports of the loopback that nobody listens on.

    They lie below those that the kernel gives to outgoing connections, which would come and take them.
    """
    found: list[int] = []
    while len(found) < count:
        port = random.SystemRandom().randrange(10_000, 32_000)
        with socket.socket() as one, suppress(OSError):
            one.bind(("127.0.0.1", port))
            found += [] if port in found else [port]
    return found


def port_open(port: int) -> bool:
    """Tell whether somebody listens on that port of the loopback."""
    with socket.socket() as one:
        one.settimeout(1)
        return one.connect_ex(("127.0.0.1", port)) == 0


def process_gone(pid: int) -> bool:
    """Tell whether a process is no more; a zombie, which a slow init may leave for seconds, is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True
    return text.rpartition(")")[2].split()[0] == "Z"


def children(pid: int) -> list[int]:
    """Return all processes below one, the nearest first."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parents.setdefault(int(stat.read_text().rpartition(")")[2].split()[1]), []).append(int(stat.parent.name))
    found: list[int] = []
    ready = [pid]
    while ready:
        below = [child for one in ready for child in parents.get(one, [])]
        found += below
        ready = below
    return found


class Daemon:
    """A program that writes its process id into a file."""

    def __init__(self, name: str, pid_file: Path) -> None:
        self.name = name
        self.pid_file = pid_file

    @property
    def pid(self) -> int | None:
        """The id of the living process, or None. An id that was given to another program meanwhile is not ours."""
        try:
            pid = int(self.pid_file.read_text())
            name = Path(f"/proc/{pid}/comm").read_text().strip()
        except (OSError, ValueError):
            return None
        return pid if name == self.name[:15] and not process_gone(pid) else None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it lives."""
        if (pid := self.pid) is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def stop(self, *, seconds: float = 10) -> None:
        """Ask it to end; kill it when it has not in time."""
        pid = self.pid
        if pid is not None:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)
            with suppress(TimeoutError):
                wait_until(lambda: process_gone(pid), seconds=seconds, what=f"{self.name} to end")
            self.signal(signal.SIGKILL)
            wait_until(lambda: process_gone(pid), seconds=5, what=f"{self.name} to be killed")
        self.pid_file.unlink(missing_ok=True)
