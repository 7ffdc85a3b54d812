"""Wait for the status of an attempt, with a time limit."""

from __future__ import annotations

import time
from collections.abc import Callable

from nel_action.executors.interface import poll_attempts
from nel_action.executors.slurm.executor import SlurmExecutor
from nel_action.model.job import Attempt, JobState, JobStatus

__all__ = ["until", "until_final", "until_running"]


def until(
    executor: SlurmExecutor, attempt: Attempt, condition: Callable[[JobStatus], bool], *, seconds: float = 60
) -> JobStatus:
    """Poll until the status fulfils a condition.

    Args:
        executor: the executor.
        attempt: the attempt.
        condition: predicate on the status.
        seconds: time limit.

    Raises:
        TimeoutError: no status did in time; the message lists those that were observed.
    """
    deadline = time.monotonic() + seconds
    observed: list[JobStatus] = []
    while time.monotonic() < deadline:
        status = poll_attempts(executor, [attempt])[attempt.key]
        if not observed or observed[-1] != status:
            observed.append(status)
        if condition(status):
            return status
        time.sleep(0.1)
    msg = f"timed out after {seconds:g} s; observed: {observed}"
    raise TimeoutError(msg)


def until_final(executor: SlurmExecutor, attempt: Attempt, *, seconds: float = 60) -> JobStatus:
    """Poll until an attempt has finished."""
    return until(executor, attempt, lambda status: status.state.final, seconds=seconds)


def until_running(executor: SlurmExecutor, attempt: Attempt) -> JobStatus:
    """Poll until an attempt is running."""
    return until(executor, attempt, lambda status: status.state is JobState.RUNNING)
