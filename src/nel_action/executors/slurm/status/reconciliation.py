"""Three sources, one answer: the controller's queue, the accounting database, and the job's own last words.

None of them is right alone. The queue forgets a job minutes after its end; the database lags, calls jobs PENDING that
have failed, and may not be there; the job's own record is missing when the job was killed. So a job that the queue
shows alive is alive; else its own record decides, with Slurm's word for why; else Slurm's word alone, once it has
settled; and where nothing is seen, nothing is said.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from nel_action.executors.slurm.exit_record import ExitRecord
from nel_action.executors.slurm.status.queue import Row
from nel_action.model.job import JobState, JobStatus, Reason

__all__ = ["Sources", "blind", "ended_row", "explained", "reconcile"]

HELD: Final = {"JobHeldUser": "held by its user", "JobHeldAdmin": "held by an administrator"}
"""Waits that somebody can end."""

NEVER: Final = {
    "DependencyNeverSatisfied": (Reason.INFRASTRUCTURE, "it waits for a job that can no longer succeed"),
    "PartitionNodeLimit": (Reason.REJECTED, "the partition does not give that many nodes (execution.num_nodes)"),
    "PartitionTimeLimit": (Reason.REJECTED, "the partition does not give that much time (execution.walltime)"),
    "BadConstraints": (Reason.REJECTED, "no node satisfies its constraints (execution.sbatch_extra_flags)"),
    "AccountNotAllowed": (Reason.REJECTED, "the partition does not serve this account (execution.account)"),
    "InvalidAccount": (Reason.REJECTED, "there is no such account (execution.account)"),
    "InvalidQOS": (Reason.REJECTED, "there is no such quality of service (execution.qos)"),
    "QOSNotAllowed": (Reason.REJECTED, "this account may not use that quality of service (execution.qos)"),
    "launch failed requeued held": (Reason.INFRASTRUCTURE, "Slurm could not start it on its node and holds it now"),
}
"""Waits that nobody ends, and why."""

PER_JOB: Final = re.compile(r"(QOS|Assoc)Max\w+PerJob(?:Limit)?")
"""Waits for a limit on single jobs (`QOSMaxNodePerJobLimit`, `AssocMaxGRESPerJob`), which no other job's end lifts."""

STOPPED: Final = "terminated"
"""The script's word for a signal that it cannot explain; Slurm can."""

UNSURE: Final = frozenset(
    {STOPPED, "not_started", "no_environment", "server_ended", "server_unhealthy", "infrastructure"}
)
"""What the script may say of a job whose node was being lost; Slurm knows by the time it has settled."""

WORDS: Final[dict[str, tuple[Reason, str]]] = {
    "harness": (Reason.HARNESS, "the harness failed; see logs/client.log"),
    "time_limit": (Reason.TIME_LIMIT, "its time was used up (execution.walltime, max_walltime, timeout)"),
    "out_of_memory": (Reason.OUT_OF_MEMORY, "it used more memory than it had; ask for more (sbatch_extra_flags: mem)"),
    "node_lost": (Reason.NODE_LOST, "its node was lost"),
    "server_ended": (Reason.ENDPOINT, "the model's server ended; see logs/server-0.log"),
    "server_unhealthy": (Reason.ENDPOINT, "the model's server did not become healthy; see logs/server-0.log"),
    "not_started": (Reason.IMAGE, "the harness could not be started; see logs/srun-client.log"),
    "no_environment": (
        Reason.INFRASTRUCTURE,
        "the harness could not be started (execution.environment); see logs/srun-client.log",
    ),
    "infrastructure": (Reason.INFRASTRUCTURE, "it could not go on; see the last logs/slurm-*.log"),
}
"""What the batch script's words mean."""

STATES: Final[dict[str, tuple[Reason, str]]] = {
    "TIMEOUT": (Reason.TIME_LIMIT, "Slurm ended it at its time limit"),
    "DEADLINE": (Reason.TIME_LIMIT, "Slurm ended it at its deadline"),
    "OUT_OF_MEMORY": (Reason.OUT_OF_MEMORY, "it used more memory than it had; ask for more (sbatch_extra_flags: mem)"),
    "NODE_FAIL": (Reason.NODE_LOST, "its node was lost"),
    "BOOT_FAIL": (Reason.NODE_LOST, "its node did not start"),
    "PREEMPTED": (Reason.PREEMPTED, "other work took its place"),
    "COMPLETED": (Reason.INFRASTRUCTURE, "Slurm calls it completed, but it left no record of its end"),
    "FAILED": (Reason.INFRASTRUCTURE, "it ended without leaving a record"),
}
"""What Slurm's words mean where the job left none itself."""

EXPLAIN: Final = frozenset({"CANCELLED", *STATES} - {"FAILED", "COMPLETED"})
"""Slurm's words that say why it ended a job."""

LOST: Final = frozenset({"NODE_FAIL", "BOOT_FAIL"})
"""Slurm's words for a lost node, which explain whatever else the script saw go wrong."""

LAUNCH_FAILED: Final = "JobLaunchFailure"
"""Why a job ended whose working directory or log could not be opened on its node, by the queue."""

NO_DIRECTORY: Final = (0, 53)
"""Its exit code, by the accounts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What was seen of one attempt."""

    queue: Sequence[Row] = ()
    """Its Slurm jobs, as far as the controller knows them."""
    accounts: Sequence[Row] = ()
    """The same from the database."""
    record: ExitRecord | None = None
    queue_down: str | None = None
    """Why the controller did not answer."""
    accounts_down: str | None = None
    """Why the database did not answer; None also where there is no database."""
    accounting: bool = False
    """Whether there is a database."""

    @property
    def decided(self) -> bool:
        """Whether the job's own record says all there is to say."""
        return self.record is not None and self.record.reason not in UNSURE

    @property
    def down(self) -> str | None:
        """Who does not answer, where that keeps Slurm's word from us."""
        return self.queue_down or self.accounts_down


def reconcile(seen: Sources) -> JobStatus:
    """Say what an attempt's state is; unknown where it cannot be said yet."""
    active = [row for row in seen.queue if row.active]
    if active and not (seen.decided and all(row.waiting or row.state == "COMPLETING" for row in active)):
        return _alive(active, seen.queue)
    row = ended_row(seen)
    if seen.record is not None:
        return _by_record(seen.record, row)
    if row is not None:
        return _by_state(row)
    return JobStatus(state=JobState.UNKNOWN, detail=blind(seen))


def ended_row(seen: Sources) -> Row | None:
    """Return how the attempt's last Slurm job ended; spare jobs that never ran are left out."""
    ended = {row.job: row for row in seen.accounts if row.settled}
    for row in seen.queue:
        if not row.active:
            known = ended.get(row.job)
            ended[row.job] = known if known is not None and known.state == row.state else row
    if seen.record is not None:
        return ended.get(seen.record.job)
    ran = [job for job, row in ended.items() if (row.started and row.started != row.ended) or row.state != "CANCELLED"]
    return ended[max(ran)] if ran else ended[min(ended)] if ended else None


def explained(seen: Sources, row: Row) -> bool:
    """Tell whether job and Slurm together have said why it ended, so that there is nothing to wait for."""
    if row.state == "CANCELLED" and seen.accounting:
        return row.who is not None  # the queue does not say by whom; the accounts will
    return seen.record is not None and not row.active and (seen.record.reason != STOPPED or row.state in EXPLAIN)


def _alive(active: Sequence[Row], queue: Sequence[Row]) -> JobStatus:
    """Say where a living attempt is; a job that would continue another is its shadow while that one lives."""
    running = [row for row in active if not row.waiting]
    before = sum(1 for row in queue if not row.active and row.started)
    again = f"continued {before} time{'s' if before > 1 else ''}" if before else None
    if running:
        return JobStatus(state=JobState.RUNNING, detail=again, started=running[0].started)
    row = min(active, key=lambda one: one.job)
    if (never := _never(row.reason)) is not None:
        reason, why = never
        return JobStatus(state=JobState.FAILED, reason=reason, detail=f"it will never start: {why} ({row.reason})")
    why = HELD.get(row.reason) or row.reason or row.state.lower()
    release = f"; scontrol release {row.job}" if row.reason in HELD else ""
    return JobStatus(state=JobState.PENDING, detail=f"{why}{release}" + (f"; {again}" if again else ""))


def _never(reason: str) -> tuple[Reason, str] | None:
    """Return what a wait that nobody ends comes to, and why; None for one that may end."""
    if (limit := PER_JOB.fullmatch(reason)) is not None:
        who = "quality of service (execution.qos)" if limit[1] == "QOS" else "account (execution.account)"
        return Reason.REJECTED, f"the {who} does not give one job that much"
    return NEVER.get(reason)


def _by_record(record: ExitRecord, row: Row | None) -> JobStatus:
    return replace(_word(record, row), exit_code=record.status, started=record.started, ended=record.ended)


def _word(record: ExitRecord, row: Row | None) -> JobStatus:
    """Say what the script's word means, without the times."""
    if record.status == 0 and not record.reason:
        return JobStatus(state=JobState.SUCCEEDED)
    if record.reason == "cancelled":
        return JobStatus(state=JobState.CANCELLED, detail=_by_whom(row))
    if record.reason == STOPPED:
        return _terminated(row)
    if row is not None and row.state in LOST and record.reason not in {"out_of_memory", "time_limit"}:
        return _by_state(row)
    reason, detail = WORDS.get(record.reason, (Reason.INFRASTRUCTURE, "its record says nothing that is known here"))
    return JobStatus(state=JobState.FAILED, reason=reason, detail=detail)


def _terminated(row: Row | None) -> JobStatus:
    if row is not None and row.state in EXPLAIN:
        return _by_state(row)
    detail = "Slurm ended it, and does not remember why"
    return JobStatus(state=JobState.FAILED, reason=Reason.INFRASTRUCTURE, detail=detail)


def _by_state(row: Row) -> JobStatus:
    """Say how a job ended by Slurm's word alone."""
    if row.state == "CANCELLED":
        if (never := _never(row.reason)) is not None:
            reason, why = never
            return JobStatus(state=JobState.FAILED, reason=reason, detail=f"it never started: {why}", ended=row.ended)
        return JobStatus(state=JobState.CANCELLED, detail=_by_whom(row), started=row.started, ended=row.ended)
    reason, detail = STATES.get(row.state, (Reason.INFRASTRUCTURE, f"Slurm calls it {row.state}"))
    if row.reason == LAUNCH_FAILED or row.exit_code == NO_DIRECTORY:
        detail = "its directory cannot be reached from its node; is execution.output_dir on a shared file system?"
    elif row.exit_code and row.exit_code[1]:
        detail += f" (signal {row.exit_code[1]})"
    elif row.exit_code and row.exit_code[0]:
        detail += f" (exit status {row.exit_code[0]})"
    code = None if row.exit_code is None else row.exit_code[0] or (128 + row.exit_code[1] if row.exit_code[1] else 0)
    return JobStatus(
        state=JobState.FAILED, reason=reason, detail=detail, exit_code=code, started=row.started, ended=row.ended
    )


def _by_whom(row: Row | None) -> str:
    return f"cancelled by user {row.who}" if row is not None and row.who else "cancelled"


def blind(seen: Sources) -> str:
    """Say who is silent, where nothing can be said of a job."""
    if seen.queue_down:
        return f"the Slurm controller does not answer: {seen.queue_down}"
    if seen.accounts_down:
        return f"the queue has forgotten it and the accounting database does not answer: {seen.accounts_down}"
    return "neither the queue nor the accounts know it, and it has left no record"
