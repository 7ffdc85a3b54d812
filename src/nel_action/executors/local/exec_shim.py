"""Becomes the program that an attempt runs; a script of its own, started as `python -I -S exec_shim.py`.

    exec_shim.py PARENT STARTED ARGV…

It dies with its parent (PARENT is that process's id), claims the attempt by creating the file STARTED (`-` for
none), and then turns into ARGV. As the claim is exclusive, an attempt's program starts at most once, whoever tries.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time

__all__: list[str] = []

PR_SET_PDEATHSIG = 1
CANNOT_RUN, NOT_FOUND, NOT_MINE = 126, 127, 125


def die_with(parent: int) -> None:
    """Ask the kernel to end this process as soon as its parent is gone."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(NOT_MINE)


def claim(started: str) -> None:
    """Create `started`; leave where it is there already."""
    try:
        descriptor = os.open(started, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        os._exit(NOT_MINE)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump({"at": time.time(), "pid": os.getpid(), "ticks": ticks(), "boot": boot_id()}, file)
        file.flush()
        os.fsync(file.fileno())


def ticks() -> int | None:
    """Return this process's start time in the kernel's own count."""
    try:
        with open("/proc/self/stat", encoding="utf-8") as file:  # noqa: PTH123 pathlib is slow to load
            return int(file.read().rpartition(")")[2].split()[19])
    except OSError:
        return None


def boot_id() -> str | None:
    """Return the kernel's boot id."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="utf-8") as file:  # noqa: PTH123 as above
            return file.read().strip()
    except OSError:
        return None


def main() -> None:
    """Turn into the program."""
    parent, started, *argv = sys.argv[1:]
    die_with(int(parent))
    if started != "-":
        claim(started)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvp(argv[0], argv)  # noqa: S606 no shell is the point
    except OSError as error:
        print(f"cannot run {argv[0]}: {error.strerror}", file=sys.stderr)  # noqa: T201
        sys.exit(NOT_FOUND if isinstance(error, FileNotFoundError) else CANNOT_RUN)


if __name__ == "__main__":
    main()
