"""What must be done before something can start: each step a program of its own, which can be ended at any time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from nel_action.executors.local.asyncio_utils import unless
from nel_action.executors.local.interface import Step
from nel_action.executors.local.logs import last_line
from nel_action.executors.local.record import AttemptError
from nel_action.executors.local.subprocesses import Child
from nel_action.model.job import Reason

__all__ = ["Stops", "run_steps"]

LIMIT: Final = 3600.0
"""Seconds for installing an environment or pulling an image."""

Stops = Sequence[asyncio.Future[AttemptError]]
"""What can say that all this is no longer wanted."""


async def run_steps(
    steps: Sequence[Step],
    *,
    folder: Path,
    log: Path,
    environ: Mapping[str, str],
    say: Callable[[str], None],
    stops: Stops = (),
) -> None:
    """Run them one after the other; what they say goes to `log`.

    Args:
        steps: what to do.
        folder: where to do it; also marks the processes.
        log: where their output goes.
        environ: variables of the installer or the registry's client.
        say: told each step's phase as it begins.
        stops: end it early.

    Raises:
        AttemptError: a step failed, took too long, or was not wanted any more.
    """
    for step in steps:
        say(step.phase)
        child = await Child.start(step.argv, env=environ, cwd=folder, log=log, mark=folder)
        try:
            status = await unless(child.wait(), *stops, limit=LIMIT)
        except TimeoutError:
            raise AttemptError.failed(Reason.INFRASTRUCTURE, f"{step.phase} took over an hour") from None
        finally:
            await child.end()
        if status:
            raise AttemptError.failed(step.reason, f"{step.phase} failed: {last_line(log)}")
