"""Ending jobs and seeing that they ended; then their endpoints."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Final

from nel_action.errors import ExecutorError
from nel_action.executors.lepton.client import MissingError
from nel_action.executors.lepton.job_log import job_name
from nel_action.executors.lepton.states import word_of
from nel_action.executors.lepton.status import Observer, active, endpoint_of

__all__ = ["cancel"]

PATIENCE: Final = 120.0
"""Seconds for jobs to end."""

LEAVING: Final = {"Stopping", "Terminating", "Deleting"}


def cancel(observer: Observer, names: Collection[str], *, patience: float = PATIENCE) -> None:
    """Stop all jobs of these names, however many have one, and take down the endpoints that nobody needs any more.

    Raises:
        ExecutorError: some still run, or an endpoint is still there; by name.
        UnreachableError: the platform does not answer.
    """
    deadline, pause = time.monotonic() + patience, 0.3
    while True:
        items = observer.listing()
        alive = [item for item in items if job_name(item) in names and active(item)]
        if not alive:
            break
        if time.monotonic() > deadline:
            msg = f"still there after {patience:g} s: {', '.join(sorted({job_name(item) for item in alive}))}"
            raise ExecutorError(msg, hint="try again, or delete the jobs on the dashboard")
        for item in alive:
            if word_of(item) not in LEAVING:
                try:
                    observer.stop(item)
                except MissingError:
                    continue  # it has left meanwhile
        observer.cloud.sleep(pause)
        pause = min(pause * 1.5, 3.0)
    needed = {endpoint_of(item) for item in items if active(item)}
    wanted = {endpoint_of(item) for item in items if job_name(item) in names} - needed
    sights = observer.endpoints.all() if wanted - {None} else {}
    for name in sorted(name for name in wanted if name and name in sights):
        if sights[name].ours and not sights[name].keep:
            observer.endpoints.remove(name)
    observer.vault.clear(set(names))
