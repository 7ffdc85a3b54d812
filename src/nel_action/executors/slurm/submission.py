"""Exactly-once submission: submit an attempt, and find the attempts that exist.

The attempt's directory is the record that all machines share: an intent before `sbatch`, its answer afterwards, and a
file that only the first job to start can create. If an answer is lost, the same script runs again and looks the job up.
It submits only if the queue, the accounting database and the directory all know of no job, and no other `sbatch` for
the attempt can still be running.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Sequence
from typing import Final

from nel_action.errors import EngineError, ExecutorError, UnreachableError
from nel_action.executors.slurm.layout import split_name
from nel_action.executors.slurm.remote import RemoteShell
from nel_action.executors.slurm.shell import template
from nel_action.executors.slurm.status.queue import parse_squeue, require_answer, squeue_command
from nel_action.executors.slurm.transport import CommandResult, OutcomeUnknownError
from nel_action.model.job import Attempt, Key
from nel_action.retry import Backoff, poll_until, retry

__all__ = ["list_attempts", "rejection_hint", "submit_attempt"]

logger = logging.getLogger(__name__)

REJECTED, NO_DIRECTORY, NOT_WRITTEN, UNKNOWN = 65, 73, 74, 75
"""Exit statuses of `submit.sh`."""

SBATCH_SECONDS: Final = 30
"""Time limit of one `sbatch`; while the controller is down it fails after 9 s."""

RECORD: Final = re.compile(r"(nel-[0-9a-f]+-\d+) (owner|submitted|intent) (\d+)")
"""A line of `find.sh`."""

TRIES: Final = 20
"""Number of lookups before the outcome is reported as unknown."""

SUBMIT_BACKOFF: Final = Backoff(initial=0.1, maximum=5.0, jitter=0)

FIND_BACKOFF: Final = Backoff(initial=0.5, factor=1, jitter=0)


def submit_attempt(remote: RemoteShell, *, output_dir: str, name: str, script: str, archive: bytes) -> str:
    """Submit an attempt unless it exists.

    Args:
        remote: the login node.
        output_dir: directory of all attempts.
        name: the attempt's name.
        script: file name of the batch script.
        archive: the attempt's directory as a tar archive.

    Returns:
        The Slurm job ID.

    Raises:
        ExecutorError: Slurm rejects the job, or its directory cannot be created or written.
        UnreachableError: the outcome is unknown; another call looks it up.
    """
    argv = ["sh", "-c", template("submit.sh"), "submit.sh", output_dir, name, script, str(SBATCH_SECONDS)]

    def submit() -> str:
        result = remote.run_once(argv, stdin=archive, seconds=2 * SBATCH_SECONDS)
        if result.code == UNKNOWN:
            raise OutcomeUnknownError(result.error_line)
        if result.code:
            raise _rejection(result, remote.host, f"{output_dir}/{name}")
        return result.text.split()[0]

    try:
        # NOTE: repeating the same command is safe: it looks the job up first and waits for an sbatch in progress.
        job_id = retry(
            submit,
            delay=lambda error: 0.0 if isinstance(error, OutcomeUnknownError) else None,
            tries=TRIES,
            deadline=time.monotonic() + 4 * SBATCH_SECONDS,
            backoff=SUBMIT_BACKOFF,
        )
    except OutcomeUnknownError as error:
        msg = f"cannot tell whether {name} was submitted on {remote.host}: {error.problems[0].message}"
        raise UnreachableError(msg, hint="run the same command again: it looks the job up before it submits") from error
    logger.info("%s is Slurm job %s on %s", name, job_id, remote.host)
    return job_id


def _rejection(result: CommandResult, host: str, directory: str) -> ExecutorError:
    if result.code == NO_DIRECTORY:
        msg = f"cannot create {directory} on {host}: {result.error_line}"
        return ExecutorError(msg, hint="check execution.output_dir and its permissions")
    if result.code == NOT_WRITTEN:
        msg = f"cannot write to {directory} on {host}: {result.error_line}"
        return ExecutorError(msg, hint="check the free space and your quota on the file system")
    cause = result.error_line.removeprefix("sbatch: error: ").removeprefix("Batch job submission failed: ")
    return ExecutorError(f"Slurm rejects the job: {cause}", hint=rejection_hint(cause))


def rejection_hint(cause: str) -> str | None:
    """Return the fix for a rejection by `sbatch`, if it is a known one."""
    hints = {
        "partition": "check execution.partition; sinfo lists the partitions",
        "account": "check execution.account; sacctmgr show associations lists yours",
        "qos": "check execution.qos",
        "node configuration": "no node of the partition has these resources: check num_nodes, gres, sbatch_extra_flags",
        "time limit": "check execution.walltime against the partition's limit",
        "feature": "check the constraint in execution.sbatch_extra_flags",
        "submit limit": "the account has too many jobs in the queue; lower execution.parallelism",
        "generic resource": "check execution.gres",
        "gres": "check execution.gres",
    }
    return next((hint for text, hint in hints.items() if text in cause.lower()), None)


def list_attempts(remote: RemoteShell, output_dir: str, keys: Sequence[Key]) -> list[Attempt]:
    """Return all attempts under these keys; waits for submissions in progress.

    Args:
        remote: the login node.
        output_dir: directory of all attempts.
        keys: keys of the jobs.

    Raises:
        EngineError: the controller does not answer.
        UnreachableError: the login node does not answer.
    """
    attempts: dict[str, Attempt] = {}

    def find() -> bool | None:
        nonlocal attempts
        attempts, in_progress = _look_up(remote, output_dir, set(keys))
        return None if in_progress else True

    poll_until(find, deadline=time.monotonic() + SBATCH_SECONDS + 5, backoff=FIND_BACKOFF)
    return list(attempts.values())


def _look_up(remote: RemoteShell, output_dir: str, keys: set[Key]) -> tuple[dict[str, Attempt], bool]:
    """Return the attempts by name, and whether a submission is in progress."""
    records, queue = remote.run(["sh", "-c", template("find.sh"), "find.sh", output_dir], squeue_command())
    squeue_text = require_answer(remote.host, queue, "nothing was submitted; try again later")
    attempts: dict[str, Attempt] = {}
    intents: dict[str, int] = {}
    *lines, now = records.text.splitlines() or ["0"]
    for line in lines:
        if (match := RECORD.match(line)) is None:
            msg = f"unexpected list of attempts in {output_dir} on {remote.host}: {line[:80]!r}"
            raise EngineError(msg, hint="a file in a state directory was changed; nel-action writes them")
        name, kind, value = match.groups()
        key_and_number = split_name(name)
        if key_and_number is None or key_and_number[0] not in keys:
            continue
        if kind == "intent":
            intents[name] = int(value)
        else:
            key, number = key_and_number
            attempts.setdefault(name, Attempt(key=key, number=number, backend_id=value))
    for row in sorted(parse_squeue(squeue_text), key=lambda row: row.job):
        key_and_number = split_name(row.name)
        if key_and_number is not None and key_and_number[0] in keys:
            key, number = key_and_number
            recorded = attempts.get(row.name)
            if recorded is None or recorded.submitted is None:
                job_id = recorded.backend_id if recorded else str(row.job)
                attempts[row.name] = Attempt(key=key, number=number, backend_id=job_id, submitted=row.submitted)
    oldest = int(now) - SBATCH_SECONDS - 2 if now.isdigit() else 0
    in_progress = any(name not in attempts and since >= oldest for name, since in intents.items())
    return attempts, in_progress
