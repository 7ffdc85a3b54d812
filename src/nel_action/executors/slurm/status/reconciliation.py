"""Reconciliation of the three sources for a job's state: queue, accounting database and exit record.

None of them is sufficient. The queue forgets a job minutes after its end. The database lags, reports PENDING for failed
jobs, and is optional. The exit record is missing if the job was killed. Therefore a job that is active in the queue is
active; otherwise its exit record decides, with Slurm's state as the cause where the record has none; otherwise Slurm's
final state decides; and if no source reports the job, its state is unknown.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from nel_action.executors.gateway import STOP_REASONS
from nel_action.executors.slurm.layout import ExitRecord
from nel_action.executors.slurm.status.queue import JobRow
from nel_action.gateway.runner import STOPPED
from nel_action.model.job import JobState, JobStatus, Reason

__all__ = ["Sources", "final_row", "is_explained", "reconcile", "unobserved_reason"]

HELD: Final = {"JobHeldUser": "held by its user", "JobHeldAdmin": "held by an administrator"}
"""Pending reasons that a person can remove."""

UNSCHEDULABLE: Final = {
    "DependencyNeverSatisfied": (Reason.INFRASTRUCTURE, "it depends on a job that can no longer succeed"),
    "PartitionNodeLimit": (Reason.REJECTED, "it exceeds the partition's node limit (execution.num_nodes)"),
    "PartitionTimeLimit": (Reason.REJECTED, "it exceeds the partition's time limit (execution.walltime)"),
    "BadConstraints": (Reason.REJECTED, "no node satisfies its constraints (execution.sbatch_extra_flags)"),
    "AccountNotAllowed": (Reason.REJECTED, "the partition does not accept this account (execution.account)"),
    "InvalidAccount": (Reason.REJECTED, "the account does not exist (execution.account)"),
    "InvalidQOS": (Reason.REJECTED, "the quality of service does not exist (execution.qos)"),
    "QOSNotAllowed": (Reason.REJECTED, "this account may not use the quality of service (execution.qos)"),
    "launch failed requeued held": (Reason.INFRASTRUCTURE, "Slurm failed to launch it on its node and holds it"),
}
"""Pending reasons that never go away by themselves."""

PER_JOB_LIMIT: Final = re.compile(r"(QOS|Assoc)Max\w+PerJob(?:Limit)?")
"""Pending reasons for limits of a single job (`QOSMaxNodePerJobLimit`, `AssocMaxGRESPerJob`)."""

TERMINATED: Final = "terminated"
"""The batch script's reason for a SIGTERM, whose cause only Slurm knows."""

INCONCLUSIVE_REASONS: Final = frozenset(
    {TERMINATED, "not_started", "no_environment", "server_ended", "server_unhealthy", "infrastructure"}
)
"""Reasons that the batch script may also record while its node is being lost; Slurm's final state tells them apart."""

RECORD_REASONS: Final[dict[str, tuple[Reason, str]]] = {
    "harness": (Reason.HARNESS, "the harness failed; see logs/client.log"),
    "time_limit": (Reason.TIME_LIMIT, "time limit reached (execution.walltime, max_walltime, timeout)"),
    "budget": STOP_REASONS[STOPPED["budget"]],
    "client_error": STOP_REASONS[STOPPED["client_error"]],
    "no_progress": (
        Reason.TIME_LIMIT,
        "its last Slurm job received no new answer before its time limit (execution.walltime), nor would the next one",
    ),
    "out_of_memory": (Reason.OUT_OF_MEMORY, "out of memory; request more (sbatch_extra_flags: mem)"),
    "node_lost": (Reason.NODE_LOST, "its node was lost"),
    "server_ended": (Reason.ENDPOINT, "the model server exited; see logs/server-0.log"),
    "server_unhealthy": (Reason.ENDPOINT, "the model server did not become healthy; see logs/server-0.log"),
    "not_started": (Reason.IMAGE, "the harness could not be started; see logs/srun-client.log"),
    "no_environment": (
        Reason.INFRASTRUCTURE,
        "the harness could not be started (execution.environment); see logs/srun-client.log",
    ),
    "infrastructure": (Reason.INFRASTRUCTURE, "the batch script could not continue; see the last logs/slurm-*.log"),
}
"""Reasons in exit records."""

FINAL_STATES: Final[dict[str, tuple[Reason, str]]] = {
    "TIMEOUT": (Reason.TIME_LIMIT, "Slurm stopped it at its time limit"),
    "DEADLINE": (Reason.TIME_LIMIT, "Slurm stopped it at its deadline"),
    "OUT_OF_MEMORY": (Reason.OUT_OF_MEMORY, "out of memory; request more (sbatch_extra_flags: mem)"),
    "NODE_FAIL": (Reason.NODE_LOST, "its node was lost"),
    "BOOT_FAIL": (Reason.NODE_LOST, "its node did not boot"),
    "PREEMPTED": (Reason.PREEMPTED, "preempted by a job with a higher priority"),
    "COMPLETED": (Reason.INFRASTRUCTURE, "Slurm reports COMPLETED, but there is no exit record"),
    "FAILED": (Reason.INFRASTRUCTURE, "failed without an exit record"),
}
"""Slurm's final states, for jobs without an exit record."""

UNKNOWN_CANCELLER: Final = "cancelled with scancel; without accounting, Slurm does not report by whom"

EXPLANATORY_STATES: Final = frozenset({"CANCELLED", *FINAL_STATES} - {"FAILED", "COMPLETED"})
"""Final states that name the cause."""

NODE_LOST_STATES: Final = frozenset({"NODE_FAIL", "BOOT_FAIL"})
"""Final states for a lost node, which explain every other failure that the batch script recorded."""

LAUNCH_FAILED: Final = "JobLaunchFailure"
"""Slurm's reason in the queue if the working directory or the log could not be opened on the node."""

LAUNCH_FAILED_CODE: Final = (0, 53)
"""Exit code of such a job in the accounting database."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Everything observed about one attempt."""

    queue: Sequence[JobRow] = ()
    """Its Slurm jobs in the queue."""
    accounting: Sequence[JobRow] = ()
    """Its Slurm jobs in the accounting database."""
    record: ExitRecord | None = None
    queue_error: str | None = None
    """Why the controller did not answer."""
    accounting_error: str | None = None
    """Why the database did not answer; None also if there is no database."""
    has_accounting: bool = False
    """Whether the cluster has a database."""

    @property
    def conclusive(self) -> bool:
        """Whether the exit record alone determines the result."""
        return self.record is not None and self.record.reason not in INCONCLUSIVE_REASONS

    @property
    def error(self) -> str | None:
        """Why Slurm's view of the attempt is incomplete; None if it is complete."""
        return self.queue_error or self.accounting_error


def reconcile(sources: Sources) -> JobStatus:
    """Return the status of an attempt; unknown if it cannot be determined yet."""
    active = [row for row in sources.queue if row.active]
    if active and not (sources.conclusive and all(row.waiting or row.state == "COMPLETING" for row in active)):
        return _active_status(active, sources.queue)
    row = final_row(sources)
    if sources.record is not None:
        return _record_status(sources.record, row)
    if row is not None:
        return _final_status(row)
    return JobStatus(state=JobState.UNKNOWN, detail=unobserved_reason(sources))


def final_row(sources: Sources) -> JobRow | None:
    """Return the row of the attempt's last Slurm job; continuation jobs that never ran are ignored."""
    rows = {row.job: row for row in sources.accounting if row.settled}
    for row in sources.queue:
        if not row.active:
            recorded = rows.get(row.job)
            rows[row.job] = recorded if recorded is not None and recorded.state == row.state else row
    if sources.record is not None:
        return rows.get(sources.record.job)
    ran = [job for job, row in rows.items() if (row.started and row.started != row.ended) or row.state != "CANCELLED"]
    return rows[max(ran)] if ran else rows[min(rows)] if rows else None


def is_explained(sources: Sources, row: JobRow) -> bool:
    """Whether exit record and Slurm together name the cause, so that no further source needs to be awaited."""
    if row.state == "CANCELLED" and sources.has_accounting:
        return row.cancelled_by is not None  # only the database reports the user
    record = sources.record
    return record is not None and not row.active and (record.reason != TERMINATED or row.state in EXPLANATORY_STATES)


def _active_status(active: Sequence[JobRow], queue: Sequence[JobRow]) -> JobStatus:
    """Return the status of an attempt with active jobs; a running job takes precedence over its continuation."""
    running = [row for row in active if not row.waiting]
    count = sum(1 for row in queue if not row.active and row.started)
    continued = f"continued {count} time{'s' if count > 1 else ''}" if count else None
    if running:
        return JobStatus(state=JobState.RUNNING, detail=continued, started=running[0].started)
    row = min(active, key=lambda row: row.job)
    if (unschedulable := _unschedulable(row.reason)) is not None:
        reason, cause = unschedulable
        return JobStatus(state=JobState.FAILED, reason=reason, detail=f"it will never start: {cause} ({row.reason})")
    cause = HELD.get(row.reason) or row.reason or row.state.lower()
    release = f"; scontrol release {row.job}" if row.reason in HELD else ""
    return JobStatus(state=JobState.PENDING, detail=f"{cause}{release}" + (f"; {continued}" if continued else ""))


def _unschedulable(reason: str) -> tuple[Reason, str] | None:
    """Return why a job with this pending reason will never start; None if it may."""
    if (limit := PER_JOB_LIMIT.fullmatch(reason)) is not None:
        owner = "quality of service (execution.qos)" if limit[1] == "QOS" else "account (execution.account)"
        return Reason.REJECTED, f"it exceeds a limit per job of the {owner}"
    return UNSCHEDULABLE.get(reason)


def _record_status(record: ExitRecord, row: JobRow | None) -> JobStatus:
    status = _record_result(record, row)
    return replace(status, exit_code=record.status, started=record.started, ended=record.ended)


def _record_result(record: ExitRecord, row: JobRow | None) -> JobStatus:
    """Interpret the reason in an exit record; without times."""
    if record.status == 0 and not record.reason:
        return JobStatus(state=JobState.SUCCEEDED)
    if record.reason == "cancelled":
        return JobStatus(state=JobState.CANCELLED, detail=_cancelled_by(row))
    if record.reason == TERMINATED:
        return _terminated(row)
    if row is not None and row.state in NODE_LOST_STATES and record.reason not in {"out_of_memory", "time_limit"}:
        return _final_status(row)
    unknown = (Reason.INFRASTRUCTURE, f"unknown reason in the exit record: {record.reason!r}")
    reason, detail = RECORD_REASONS.get(record.reason, unknown)
    return JobStatus(state=JobState.FAILED, reason=reason, detail=detail)


def _terminated(row: JobRow | None) -> JobStatus:
    if row is not None and row.state in EXPLANATORY_STATES:
        return _final_status(row)
    detail = "terminated by Slurm for an unknown reason"
    return JobStatus(state=JobState.FAILED, reason=Reason.INFRASTRUCTURE, detail=detail)


def _final_status(row: JobRow) -> JobStatus:
    """Return the status of a finished job by Slurm's state alone."""
    if row.state == "CANCELLED":
        if (unschedulable := _unschedulable(row.reason)) is not None:
            reason, cause = unschedulable
            return JobStatus(state=JobState.FAILED, reason=reason, detail=f"it never started: {cause}", ended=row.ended)
        detail = _cancelled_by(row) if row.cancelled_by else UNKNOWN_CANCELLER
        return JobStatus(state=JobState.CANCELLED, detail=detail, started=row.started, ended=row.ended)
    reason, detail = FINAL_STATES.get(row.state, (Reason.INFRASTRUCTURE, f"Slurm reports {row.state}"))
    if row.reason == LAUNCH_FAILED or row.exit_code == LAUNCH_FAILED_CODE:
        detail = "its directory is not accessible on its node; execution.output_dir must be on a shared file system"
    elif row.exit_code and row.exit_code[1]:
        detail += f" (signal {row.exit_code[1]})"
    elif row.exit_code and row.exit_code[0]:
        detail += f" (exit status {row.exit_code[0]})"
    code = None if row.exit_code is None else row.exit_code[0] or (128 + row.exit_code[1] if row.exit_code[1] else 0)
    return JobStatus(
        state=JobState.FAILED, reason=reason, detail=detail, exit_code=code, started=row.started, ended=row.ended
    )


def _cancelled_by(row: JobRow | None) -> str:
    if row is None or not row.cancelled_by:
        return "cancelled"
    return "cancelled by root" if row.cancelled_by == "0" else f"cancelled by user {row.cancelled_by}"


def unobserved_reason(sources: Sources) -> str:
    """Return why an attempt's state is unknown."""
    if sources.queue_error:
        return f"the Slurm controller does not answer: {sources.queue_error}"
    if sources.accounting_error:
        return f"not in the queue any more, and the accounting database does not answer: {sources.accounting_error}"
    return "neither in the queue nor in the accounting database, and without an exit record"
