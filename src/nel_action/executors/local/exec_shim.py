"""Replaces itself by the program of an attempt; a stand-alone script, started as `python -I -S exec_shim.py`.

    exec_shim.py PARENT STARTED ARGV…

The process dies with its parent (PARENT is the parent's ID), claims the attempt by creating the file STARTED (`-` for
none), and then executes ARGV. The claim is exclusive, so the program of an attempt starts at most once.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time

__all__: list[str] = []

PR_SET_PDEATHSIG = 1
CANNOT_RUN, NOT_FOUND, NOT_CLAIMED = 126, 127, 125


def die_with_parent(parent: int) -> None:
    """Ask the kernel to kill this process when its parent exits."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # NOTE: the parent may have exited before the request took effect.
    if os.getppid() != parent:
        os._exit(NOT_CLAIMED)


def claim(started: str) -> None:
    """Create the file `started`; exit if it exists."""
    try:
        descriptor = os.open(started, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        os._exit(NOT_CLAIMED)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump({"at": time.time(), "pid": os.getpid(), "ticks": start_ticks(), "boot": boot_id()}, file)
        file.flush()
        os.fsync(file.fileno())


def start_ticks() -> int | None:
    """Return the start time of this process in kernel clock ticks."""
    try:
        with open("/proc/self/stat", encoding="utf-8") as file:  # noqa: PTH123 pathlib is slow to load
            return int(file.read().rpartition(")")[2].split()[19])
    except OSError:
        return None


def boot_id() -> str | None:
    """Return the boot ID of the kernel."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="utf-8") as file:  # noqa: PTH123 as above
            return file.read().strip()
    except OSError:
        return None


def main() -> None:
    """Claim the attempt and execute the program."""
    parent, started, *argv = sys.argv[1:]
    die_with_parent(int(parent))
    if started != "-":
        claim(started)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvp(argv[0], argv)  # noqa: S606 a shell is deliberately not used
    except OSError as error:
        print(f"cannot run {argv[0]}: {error.strerror}", file=sys.stderr)  # noqa: T201
        sys.exit(NOT_FOUND if isinstance(error, FileNotFoundError) else CANNOT_RUN)


if __name__ == "__main__":
    main()
