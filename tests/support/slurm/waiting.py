"""Waiting for jobs in tests, with a limit."""

from __future__ import annotations

import time
from collections.abc import Callable

from nel_action.executors.slurm.executor import SlurmExecutor
from nel_action.model.job import Attempt, JobState, JobStatus

__all__ = ["until", "until_final", "until_running"]


def until(
    executor: SlurmExecutor, attempt: Attempt, wanted: Callable[[JobStatus], bool], *, seconds: float = 60
) -> JobStatus:
    """Poll until a status is as wanted.

    Raises:
        TimeoutError: it never was; the message has all that were seen.
    """
    deadline = time.monotonic() + seconds
    seen: list[JobStatus] = []
    while time.monotonic() < deadline:
        status = executor.poll([attempt])[attempt.key]
        if not seen or seen[-1] != status:
            seen.append(status)
        if wanted(status):
            return status
        time.sleep(0.1)
    msg = f"not within {seconds:g} s; seen: {seen}"
    raise TimeoutError(msg)


def until_final(executor: SlurmExecutor, attempt: Attempt, *, seconds: float = 60) -> JobStatus:
    """Poll until an attempt has ended."""
    return until(executor, attempt, lambda status: status.state.final, seconds=seconds)


def until_running(executor: SlurmExecutor, attempt: Attempt) -> JobStatus:
    """Poll until an attempt runs."""
    return until(executor, attempt, lambda status: status.state is JobState.RUNNING)
