"""Start and stop daemons by their PID files, on machines without an init system."""

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
    """Wait until a condition holds.

    Args:
        condition: returns a true value once it holds.
        seconds: time limit.
        what: the expected event, for the error message.

    Raises:
        TimeoutError: the condition did not hold in time.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            msg = f"timed out after {seconds:g} s waiting for {what}"
            raise TimeoutError(msg)
        time.sleep(0.02)


def free_ports(count: int) -> list[int]:
    """Return distinct unused ports of the loopback interface.

    They are below the range that the kernel assigns to outgoing connections.
    """
    ports: list[int] = []
    while len(ports) < count:
        port = random.SystemRandom().randrange(10_000, 32_000)
        with socket.socket() as listener, suppress(OSError):
            listener.bind(("127.0.0.1", port))
            ports += [] if port in ports else [port]
    return ports


def port_open(port: int) -> bool:
    """Whether a port of the loopback interface accepts connections."""
    with socket.socket() as client:
        client.settimeout(1)
        return client.connect_ex(("127.0.0.1", port)) == 0


def process_gone(pid: int) -> bool:
    """Whether a process has exited; a zombie, which a slow init may leave for seconds, counts as exited."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True
    return text.rpartition(")")[2].split()[0] == "Z"


def children(pid: int) -> list[int]:
    """Return the process IDs of all descendants, in breadth-first order."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parents.setdefault(int(stat.read_text().rpartition(")")[2].split()[1]), []).append(int(stat.parent.name))
    descendants: list[int] = []
    generation = [pid]
    while generation:
        generation = [child for parent in generation for child in parents.get(parent, [])]
        descendants += generation
    return descendants


class Daemon:
    """A program that writes a PID file."""

    def __init__(self, name: str, pid_file: Path) -> None:
        self.name = name
        self.pid_file = pid_file

    @property
    def pid(self) -> int | None:
        """ID of the running process; None if there is none, or if the ID now belongs to another program."""
        try:
            pid = int(self.pid_file.read_text())
            name = Path(f"/proc/{pid}/comm").read_text().strip()
        except (OSError, ValueError):
            return None
        return pid if name == self.name[:15] and not process_gone(pid) else None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal if the process is running."""
        if (pid := self.pid) is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def stop(self, *, seconds: float = 10) -> None:
        """Terminate the process; kill it after `seconds`."""
        pid = self.pid
        if pid is not None:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)
            with suppress(TimeoutError):
                wait_until(lambda: process_gone(pid), seconds=seconds, what=f"{self.name} to exit")
            self.signal(signal.SIGKILL)
            wait_until(lambda: process_gone(pid), seconds=5, what=f"{self.name} to be killed")
        self.pid_file.unlink(missing_ok=True)
