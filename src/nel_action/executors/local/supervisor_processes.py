"""Seeing to it that every unfinished attempt has an agent: one detached process for each invocation.

Who holds the lock of a queue either is its agent or is about to start it. A holder that finds nothing to do looks
once more after letting go, so an attempt that was entered in between, by somebody who then found the lock taken, is
never left alone.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from nel_action.errors import ExecutorError
from nel_action.executors.local.queue import Queue
from nel_action.executors.local.store import Store

__all__ = ["last_words", "tend", "try_lock"]

AGENT: Final = "nel_action.executors.local.supervisor"

DETACH: Final = "import os, sys; os.fork() and os._exit(0); os.execv(sys.argv[1], sys.argv[1:])"
"""Leaves the agent to the system's first process, so that the caller neither waits for it nor keeps its remains."""

NOT_PASSED_ON: Final = frozenset({"RUNNER_TRACKING_ID", "NEL_ACTION_ATTEMPT"})
"""By the first a CI runner finds what a step left behind, and ends it; the agent is meant to stay."""


def try_lock(queue: Queue) -> int | None:
    """Return a descriptor that holds the queue's lock, or None where somebody else does."""
    descriptor = os.open(queue.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def tend(store: Store, queue: Queue, environ: Mapping[str, str]) -> bool:
    """Start the queue's agent where there is work and nobody to do it; return whether it had to be started.

    Raises:
        ExecutorError: it cannot be started.
    """
    queue.wake()
    while queue.needs_an_agent():
        if (lock := try_lock(queue)) is None:
            return False
        try:
            if queue.needs_an_agent():
                _spawn(store, queue, environ, lock)
                return True
        finally:
            os.close(lock)
    return False


def _spawn(store: Store, queue: Queue, environ: Mapping[str, str], lock: int) -> None:
    """Start the agent, which inherits the lock: nobody can come between."""
    # NOTE: -P keeps files of the current directory from being imported in place of installed modules
    detach = [sys.executable, "-I", "-S", "-c", DETACH]
    argv = [sys.executable, "-P", "-m", AGENT, str(store.home), queue.invocation, str(lock)]
    try:
        with queue.log.open("ab") as log:
            subprocess.run(
                [*detach, *argv],
                check=True,
                env={name: value for name, value in environ.items() if name not in NOT_PASSED_ON},
                cwd=store.root,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=[lock],
            )
    except (OSError, subprocess.CalledProcessError) as error:
        msg = f"cannot start the local agent: {error}"
        raise ExecutorError(msg) from error


def last_words(queue: Queue) -> str:
    """Return the last line that the agent said, or nothing."""
    path = Path(queue.log)
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
    return lines[-1].strip() if lines else ""
