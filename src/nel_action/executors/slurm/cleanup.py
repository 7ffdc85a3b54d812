"""Cancellation of jobs, and removal of secrets and directories that no job needs any more."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from nel_action.errors import ExecutorError
from nel_action.executors.slurm.layout import AttemptDir
from nel_action.executors.slurm.notices import waiting_for
from nel_action.executors.slurm.remote import RemoteShell
from nel_action.executors.slurm.shell import LOGIN_BASH, template
from nel_action.executors.slurm.slurm_job import gateway_member
from nel_action.executors.slurm.status.queue import JobRow, parse_squeue, require_answer, squeue_command
from nel_action.model.job import Key
from nel_action.retry import Backoff, poll_until

__all__ = ["cancel_attempts", "close_record", "read_record", "remove_expired"]

logger = logging.getLogger(__name__)

CANCEL_SECONDS: Final = 120.0
"""Time limit for jobs to stop: Slurm waits 30 s between its signals, sites may allow more, and nodes clean up."""

CANCEL_BACKOFF: Final = Backoff(initial=0.2, factor=1.5, maximum=3.0, jitter=0)


def cancel_attempts(remote: RemoteShell, directories: Sequence[AttemptDir]) -> None:
    """Cancel all Slurm jobs of attempts, wait until they have stopped, and record jobs that never started as cancelled.

    The exit status of `scancel` proves nothing, so the queue is polled.

    Raises:
        ExecutorError: jobs are still in the queue after two minutes.
        UnreachableError: the cluster does not answer.
    """
    names = {directory.name for directory in directories}
    paths = [str(directory.path) for directory in directories]
    logger.info("cancelling %s on %s", ", ".join(sorted(names)), remote.host)
    remote.run([*LOGIN_BASH, template("05_mask.sh") + template("cancel.sh"), "cancel.sh", "mark", *paths])
    active: Mapping[str, Sequence[JobRow]] = {}

    def cancel_active() -> bool | None:
        nonlocal active
        active = _active_jobs(remote, names)
        if active:
            remote.run(["scancel", *(str(row.job) for rows in active.values() for row in rows)])
        return None if active else True

    with waiting_for(f"{len(names)} jobs on {remote.host} to stop"):
        stopped = poll_until(cancel_active, deadline=time.monotonic() + CANCEL_SECONDS, backoff=CANCEL_BACKOFF)
    if not stopped:
        msg = f"jobs still in the queue {CANCEL_SECONDS:g} s after scancel: {', '.join(sorted(active))}"
        raise ExecutorError(msg, hint="try again, or ask the cluster's administrators; squeue shows the reason")
    remote.run([*LOGIN_BASH, template("05_mask.sh") + template("cancel.sh"), "cancel.sh", "finish", *paths])


def _active_jobs(remote: RemoteShell, names: set[str]) -> dict[str, list[JobRow]]:
    """Return the unfinished jobs by attempt name.

    Raises:
        EngineError: the controller does not answer, which does not mean that the queue is empty.
    """
    (result,) = remote.run(squeue_command())
    active: dict[str, list[JobRow]] = {}
    for row in parse_squeue(require_answer(remote.host, result, "jobs may still be running; try again")):
        if row.active and row.name in names:
            active.setdefault(row.name, []).append(row)
    return active


def close_record(remote: RemoteShell, output_dir: str, key: Key) -> None:
    """Close the records of a key's requests.

    Args:
        remote: the login node.
        output_dir: directory of all attempts.
        key: of the job.

    Raises:
        ExecutorError: a record cannot be written.
        UnreachableError: the cluster does not answer.
    """
    (result,) = remote.run(["sh", "-c", template("close_record.sh"), "close_record.sh", output_dir, key])
    if result.code:
        msg = f"cannot close {output_dir}/record/{key} on {remote.host}: {result.error_line}"
        raise ExecutorError(msg)


def read_record(remote: RemoteShell, output_dir: str, key: Key, *, failed: bool) -> Iterator[str]:
    """Yield the entries of a key's records, read by the gateway's program on the login node.

    Args:
        remote: the login node.
        output_dir: directory of all attempts.
        key: of the job.
        failed: only answers that no harness can use.

    Raises:
        ExecutorError: the login node has no Python 3.8, or the record cannot be read.
        UnreachableError: the cluster does not answer.
    """
    program = f"{output_dir}/{gateway_member()}"
    argv = ["python3", "-I", "-S", program, "requests", "--record", f"{output_dir}/record/{key}"]
    (result,) = remote.run([*argv, *(["--failed"] if failed else [])])
    if result.code:
        msg = f"cannot read {output_dir}/record/{key} on {remote.host}: {result.error_line}"
        raise ExecutorError(msg, hint="the login node needs python3 (3.8 or newer) and the program of this version")
    yield from result.text.splitlines()


def remove_expired(remote: RemoteShell, output_dir: str, keys: Sequence[Key], keep_days: int | None) -> list[str]:
    """Remove secrets that no job will read, and directories of attempts that finished more than `keep_days` ago.

    Directories of these keys and of jobs in the queue are kept; while the controller is down, so is everything.

    Args:
        remote: the login node.
        output_dir: directory of all attempts.
        keys: keys of jobs that are needed.
        keep_days: age in days; None keeps all directories.

    Returns:
        Names of the removed directories.
    """
    (result,) = remote.run(
        [*LOGIN_BASH, template("05_mask.sh") + template("sweep.sh"), "sweep.sh", output_dir, str(keep_days or 0), *keys]
    )
    removed = [line.removeprefix("removed ") for line in result.text.splitlines()]
    if removed:
        logger.info("removed from %s on %s: %s", output_dir, remote.host, ", ".join(removed))
    return removed
