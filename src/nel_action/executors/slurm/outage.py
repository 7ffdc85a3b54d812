"""Waiting out what is down: a login node that hangs up, a controller that is being restarted.

Only what may come back is waited for. A key that is refused or a host that is not who it should be is told at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

from nel_action.errors import EngineError, UnreachableError
from nel_action.executors.slurm.remote import Remote
from nel_action.executors.slurm.transport import Finished

__all__ = ["ControllerDownError", "answered", "outlast"]

PAUSES: Final = (1.0, 30.0)
"""Seconds between tries: at first, and at most."""

ABSENT: Final = 127
"""What a shell says of a program that is not there."""

Answer = TypeVar("Answer")


class ControllerDownError(EngineError):
    """Slurm's controller does not answer; its jobs go on without it."""


def answered(remote: Remote, answer: Finished, hint: str) -> str:
    """Return what `squeue` said.

    Args:
        remote: where it was asked.
        answer: all that came back.
        hint: what the silence means for what the caller was about to do.

    Raises:
        EngineError: there is no `squeue`.
        ControllerDownError: it was not answered; that is not an empty queue.
    """
    if answer.code == ABSENT:
        msg = f"there is no squeue on {remote.place}: {answer.complaint}"
        raise EngineError(msg, hint="say where Slurm's programs are: execution.bin_dir, or login_shell for a module")
    if answer.code:
        msg = f"the Slurm controller on {remote.place} does not answer: {answer.complaint}"
        raise ControllerDownError(msg, hint=hint)
    return answer.text


def outlast(action: Callable[[], Answer], seconds: float) -> Answer:
    """Do something that may safely be done again, until it is answered or that many seconds have passed.

    Raises:
        UnreachableError: it was not answered in time, or waiting would not help.
    """
    deadline = time.monotonic() + seconds
    pause, longest = PAUSES
    while True:
        try:
            return action()
        except UnreachableError as error:
            lasting = isinstance(error, EngineError) and not isinstance(error, ControllerDownError)
            if lasting or time.monotonic() + pause > deadline:
                raise
        time.sleep(pause)
        pause = min(2 * pause, longest)
