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
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from nel_action.errors import EngineError, ExecutorError, QueueFullError, UnreachableError
from nel_action.executors.slurm.layout import split_name
from nel_action.executors.slurm.notices import waiting_for
from nel_action.executors.slurm.remote import RemoteShell
from nel_action.executors.slurm.shell import template
from nel_action.executors.slurm.slurm_job import SlurmJob
from nel_action.executors.slurm.status.queue import parse_squeue, require_answer, squeue_command
from nel_action.executors.slurm.transport import OutcomeUnknownError
from nel_action.model.job import Attempt, Key
from nel_action.retry import Backoff, poll_until, retry

__all__ = ["BatchSubmission", "list_attempts", "rejection_hint"]

logger = logging.getLogger(__name__)

REJECTED, QUEUE_FULL, NO_DIRECTORY, NOT_WRITTEN = 65, 66, 73, 74
"""Statuses in the answers of `submit.sh`; all others mean that the outcome is unknown or that nothing was tried."""

SBATCH_SECONDS: Final = 30
"""Time limit of one `sbatch`; while the controller is down it fails after 9 s."""

SECONDS_PER_JOB: Final = 2.0
"""Additional time limit for each job of a command; sbatch usually takes 20 to 100 ms."""

SLOWEST_UPLOAD: Final = 250_000
"""Bytes per second that the time limit of an upload allows for."""

JOBS_PER_COMMAND: Final = 500
"""Jobs that one command submits."""

ANSWER: Final = re.compile(r"(?P<name>nel-[0-9a-f]+-\d+) (?P<status>\d+) ?(?P<text>.*)")
"""A line of `submit.sh`."""

IN_PROGRESS: Final = "another process is submitting it"
"""The cause in an answer of `submit.sh` for an attempt with the intent of another submitter."""

PREFIX: Final = re.compile(r"\bsbatch: (?:error: )?")
"""Prefix of each line of sbatch; the lines are joined by spaces."""

RECORD: Final = re.compile(r"(nel-[0-9a-f]+-\d+) (owner|submitted|intent) (\d+)")
"""A line of `find.sh`."""

TRIES: Final = 20
"""Number of lookups before the outcome is reported as unknown."""

SUBMIT_BACKOFF: Final = Backoff(initial=0.1, maximum=5.0, jitter=0)

FIND_BACKOFF: Final = Backoff(initial=0.5, factor=1, jitter=0)


@dataclass
class BatchSubmission:
    """Submits attempts that do not exist; `run` may be repeated until none is pending."""

    remote: RemoteShell
    output_dir: str
    pending: dict[str, SlurmJob]
    """Attempts without an answer, by name."""
    archive: Callable[[Sequence[SlurmJob]], bytes]
    """Returns the directories of attempts as a tar archive."""
    answers: dict[str, str | ExecutorError] = field(default_factory=dict)
    """Slurm job ID or rejection by name."""
    cause: str = IN_PROGRESS
    """Why answers are missing."""

    def run(self) -> None:
        """Submit all pending attempts.

        Raises:
            UnreachableError: the outcome of the attempts that are still pending is unknown; another call looks it up.
        """
        try:
            # NOTE: repeating the same command is safe: it looks the jobs up first and waits for an sbatch in progress.
            with waiting_for(f"the submission of {len(self.pending)} jobs on {self.remote.host}"):
                retry(
                    self._submit_pending,
                    delay=lambda error: 0.0 if isinstance(error, OutcomeUnknownError) else None,
                    tries=TRIES,
                    deadline=time.monotonic() + 4 * SBATCH_SECONDS,
                    backoff=SUBMIT_BACKOFF,
                )
        except OutcomeUnknownError as error:
            names = ", ".join(list(self.pending)[:3]) + (", ..." if len(self.pending) > 3 else "")  # noqa: PLR2004
            msg = f"cannot tell whether {names} was submitted on {self.remote.host}: {error.problems[0].message}"
            hint = "run the same command again: it looks the job up before it submits"
            raise UnreachableError(msg, hint=hint) from error

    def _submit_pending(self) -> None:
        names, causes = list(self.pending), list[str]()
        for start in range(0, len(names), JOBS_PER_COMMAND):
            causes += self._submit_chunk(names[start : start + JOBS_PER_COMMAND])
        if self.pending:
            # NOTE: a submission whose outcome is unknown looks like one in progress at the next try.
            self.cause = next((cause for cause in causes if cause != IN_PROGRESS), self.cause)
            raise OutcomeUnknownError(self.cause)

    def _submit_chunk(self, names: Sequence[str]) -> list[str]:
        """Submit some attempts with one command; return the causes of missing answers."""
        archive = self.archive([self.pending[name] for name in names])
        argv = ["sh", "-c", template("submit.sh"), "submit.sh", self.output_dir, str(SBATCH_SECONDS)]
        seconds = 2 * SBATCH_SECONDS + SECONDS_PER_JOB * len(names) + len(archive) / SLOWEST_UPLOAD
        result = self.remote.run_once(argv, stdin=archive, seconds=seconds)
        causes = []
        for line in result.text.splitlines():
            if (match := ANSWER.match(line)) is None or match["name"] not in self.pending:
                continue
            name, status, text = match["name"], int(match["status"]), match["text"].strip()
            if status == 0 and text.isdigit():
                logger.info("%s is Slurm job %s on %s", name, text, self.remote.host)
                self.answers[name] = text
            elif status in {REJECTED, QUEUE_FULL, NO_DIRECTORY, NOT_WRITTEN}:
                self.answers[name] = self._error(status, text, name)
            else:
                causes.append(_cause(text))
                continue
            del self.pending[name]
        if result.code in {NO_DIRECTORY, NOT_WRITTEN}:
            self.answers |= {name: self._error(result.code, result.error_line, name) for name in names}
            for name in names:
                self.pending.pop(name, None)
        elif result.code:
            causes.append(result.error_line)
        return causes

    def _error(self, status: int, text: str, name: str) -> ExecutorError:
        """Return the error for an answer: its status and text, and the attempt's name."""
        directory, host = f"{self.output_dir}/{name}", self.remote.host
        if status == NO_DIRECTORY:
            hint = "check execution.output_dir and its permissions"
            return ExecutorError(f"cannot create {directory} on {host}: {text}", hint=hint)
        if status == NOT_WRITTEN:
            hint = "check the free space and your quota on the file system of execution.output_dir"
            return ExecutorError(f"cannot write to {directory} on {host}: {text}", hint=hint)
        cause = _cause(text)
        if status == QUEUE_FULL:
            hint = "jobs are submitted as others finish; lower execution.parallelism to avoid the refusals"
            return QueueFullError(f"Slurm accepts no further job now: {cause}", hint=hint)
        return ExecutorError(f"Slurm rejects the job: {cause}", hint=rejection_hint(cause))


def _cause(text: str) -> str:
    """Return the messages of `sbatch` without their prefixes."""
    parts = [part.strip().removeprefix("Batch job submission failed: ") for part in PREFIX.split(text)]
    return "; ".join(dict.fromkeys(part for part in parts if part)) or "no message"


def rejection_hint(cause: str) -> str | None:
    """Return the fix for a rejection by `sbatch`, if it is a known one."""
    hints = {
        "submitjob": "the account accepts no jobs, perhaps because none is named; set execution.account",
        "submit limit": "the request exceeds a limit of the account or QOS; check execution.walltime and num_nodes",
        "perjob": "the request exceeds a limit per job of the QOS or account; check execution.qos and num_nodes",
        "wallduration": "the request exceeds the longest time of the QOS or account; check execution.walltime",
        "account": "check execution.account; sacctmgr show associations user=$USER lists yours",
        "qos": "check execution.qos",
        "partition": "check execution.partition; sinfo lists the partitions",
        "node configuration": "no node of the partition has these resources: check num_nodes, gres, sbatch_extra_flags",
        "time limit": "check execution.walltime against the partition's limit",
        "feature": "check the constraint in execution.sbatch_extra_flags",
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

    with waiting_for("another process that is submitting the same jobs"):
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
