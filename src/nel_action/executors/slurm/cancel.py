"""Ending jobs and seeing that they ended: an `scancel` that says nothing proves nothing."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Final

from nel_action.errors import ExecutorError
from nel_action.executors.slurm.layout import JobDir
from nel_action.executors.slurm.outage import answered
from nel_action.executors.slurm.remote import Remote
from nel_action.executors.slurm.status.queue import Row, parse_squeue, squeue

__all__ = ["cancel"]

PATIENCE: Final = 120.0
"""Seconds for jobs to end: Slurm gives programs 30 s, sites may give them more, and nodes clean up after them."""


def cancel(remote: Remote, places: Sequence[JobDir]) -> None:
    """End all Slurm jobs of these attempts, and write down for those that never started how they ended.

    Raises:
        ExecutorError: some still run, by name.
        UnreachableError: the cluster does not answer.
    """
    wanted = {place.name: place for place in places}
    paths = [str(place.path) for place in places]
    remote.run(["sh", "-c", _script(), "cancel.sh", "ask", *paths])
    deadline = time.monotonic() + PATIENCE
    pause = 0.2
    while alive := _alive(remote, wanted):
        if time.monotonic() > deadline:
            msg = f"still in the queue after {PATIENCE:g} s: {', '.join(sorted(alive))}"
            raise ExecutorError(msg, hint="try again, or ask the cluster's administrators; squeue shows why")
        remote.run(["scancel", *(str(row.job) for rows in alive.values() for row in rows)])
        time.sleep(pause)
        pause = min(pause * 1.5, 3.0)
    remote.run(["sh", "-c", _script(), "cancel.sh", "end", *paths])


def _alive(remote: Remote, wanted: Mapping[str, JobDir]) -> dict[str, list[Row]]:
    """Return the jobs that have not ended, by attempt.

    Raises:
        EngineError: the controller does not answer; no answer is not an empty queue.
    """
    (answer,) = remote.run(squeue())
    alive: dict[str, list[Row]] = {}
    for row in parse_squeue(answered(remote, answer, "nothing is known to have ended; try again")):
        if row.active and row.name in wanted:
            alive.setdefault(row.name, []).append(row)
    return alive


@cache
def _script() -> str:
    return files("nel_action.executors.slurm").joinpath("templates", "cancel.sh").read_text("utf-8")
