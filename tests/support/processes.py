"""Inspection of processes of this machine."""

from __future__ import annotations

import time
from pathlib import Path

__all__ = ["gone", "parent"]


def gone(pid: int, timeout: float = 20.0) -> bool:
    """Wait until a process has terminated, a zombie included; return whether it has within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        try:
            # NOTE: a leader is a zombie before its other threads have closed the files of the process.
            if _fields(pid)[0] in "ZX" and len(list(Path(f"/proc/{pid}/task").iterdir())) == 1:
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.02)
    return False


def parent(pid: int) -> int:
    """Return the ID of a process's parent."""
    return int(_fields(pid)[1])


def _fields(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
