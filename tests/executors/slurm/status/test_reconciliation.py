"""Reconciliation of three sources, each of which may lag, be wrong or be missing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from nel_action.executors.slurm.layout import ExitRecord
from nel_action.executors.slurm.status.queue import JobRow
from nel_action.executors.slurm.status.reconciliation import Sources, final_row, is_explained, reconcile
from nel_action.model.job import JobState, Reason

NAME = "nel-0123456789abcdef-1"
START, END = "2026-11-22T10:00:00Z", "2026-11-22T10:05:00Z"


def row(state: str, job: int = 7, **fields: Any) -> JobRow:  # noqa: ANN401
    times = {"started": START, "ended": END} if state not in {"PENDING", "RUNNING"} else {}
    return JobRow(job=job, name=NAME, state=state, **(times | fields))


def record(reason: str, status: int = 1, job: int = 7) -> ExitRecord:
    return ExitRecord(job=job, status=status, reason=reason, started=START, ended=END, files=1, bytes=10)


@pytest.mark.parametrize("node_state", ["NODE_FAIL", "BOOT_FAIL"])
@pytest.mark.parametrize(
    "recorded", ["not_started", "no_environment", "server_ended", "server_unhealthy", "infrastructure", "terminated"]
)
@pytest.mark.parametrize("source", ["queue", "accounts"])
def test_lost_node_overrides_inconclusive_records(recorded: str, node_state: str, source: str) -> None:
    rows = [row(node_state)]
    sources = Sources(
        record=record(recorded),
        has_accounting=True,
        queue=rows if source == "queue" else (),
        accounting=rows if source == "accounts" else (),
    )
    assert not sources.conclusive
    assert is_explained(sources, row(node_state))
    status = reconcile(sources)
    assert (status.state, status.reason) == (JobState.FAILED, Reason.NODE_LOST)


@pytest.mark.parametrize(
    ("recorded", "reason"),
    [("not_started", Reason.IMAGE), ("no_environment", Reason.INFRASTRUCTURE), ("server_ended", Reason.ENDPOINT)],
)
def test_record_gives_the_reason_if_slurm_reports_only_a_failure(recorded: str, reason: Reason) -> None:
    sources = Sources(record=record(recorded), queue=[row("FAILED")])
    assert reconcile(sources).reason is reason
    assert is_explained(sources, row("FAILED"))


def test_cancellation_is_explained_once_accounting_names_the_user() -> None:
    queued, accounted = row("CANCELLED"), row("CANCELLED", cancelled_by="1001")
    terminated = record("terminated")
    assert not is_explained(Sources(record=terminated, queue=[queued], has_accounting=True), queued)
    assert is_explained(
        Sources(record=terminated, queue=[queued], accounting=[accounted], has_accounting=True), accounted
    )
    assert is_explained(Sources(record=terminated, queue=[queued]), queued)


def test_recorded_success_is_final_even_if_the_node_is_lost_later() -> None:
    sources = Sources(record=record("", status=0), queue=[row("NODE_FAIL")])
    assert sources.conclusive
    assert reconcile(sources).state is JobState.SUCCEEDED


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ("TIMEOUT", Reason.TIME_LIMIT),
        ("DEADLINE", Reason.TIME_LIMIT),
        ("OUT_OF_MEMORY", Reason.OUT_OF_MEMORY),
        ("NODE_FAIL", Reason.NODE_LOST),
        ("PREEMPTED", Reason.PREEMPTED),
        ("COMPLETED", Reason.INFRASTRUCTURE),
        ("FAILED", Reason.INFRASTRUCTURE),
        ("A_FUTURE_STATE", Reason.INFRASTRUCTURE),
    ],
)
def test_a_job_without_a_record_has_not_succeeded(state: str, reason: Reason) -> None:
    status = reconcile(Sources(accounting=[row(state)], has_accounting=True))
    assert (status.state, status.reason) == (JobState.FAILED, reason)


def test_unsettled_accounting_rows_are_ignored() -> None:
    lagging = [
        row("PENDING"),
        row("COMPLETED", ended=None),
        replace(row("FAILED"), name="allocation"),
    ]
    for each in lagging:
        assert reconcile(Sources(accounting=[each], has_accounting=True)).state is JobState.UNKNOWN


def test_final_row_takes_details_from_accounting_if_the_states_agree() -> None:
    cancelled = row("CANCELLED", cancelled_by="1001")
    assert final_row(Sources(queue=[row("CANCELLED")], accounting=[cancelled])) == cancelled
    assert final_row(Sources(queue=[row("TIMEOUT")], accounting=[cancelled])) == row("TIMEOUT")


@pytest.mark.parametrize(
    ("errors", "detail"),
    [
        ({"queue_error": "connect failure"}, "controller does not answer: connect failure"),
        ({"accounting_error": "no database"}, "accounting database does not answer: no database"),
        ({}, "neither in the queue nor in the accounting database"),
    ],
)
def test_unobserved_attempt_is_unknown_with_the_cause(errors: dict[str, Any], detail: str) -> None:
    status = reconcile(Sources(**errors))
    assert status.state is JobState.UNKNOWN
    assert detail in (status.detail or "")


def test_running_job_takes_precedence_over_its_continuation() -> None:
    continuation = row("PENDING", job=8, reason="Dependency")
    assert reconcile(Sources(queue=[row("RUNNING"), continuation])).state is JobState.RUNNING
    continued = reconcile(Sources(queue=[row("TIMEOUT"), row("PENDING", job=8, reason="Priority")]))
    assert continued.state is JobState.PENDING
    assert continued.detail == "Priority; continued 1 time"


def test_record_is_used_only_if_no_job_of_the_attempt_runs() -> None:
    success = record("", status=0)
    assert reconcile(Sources(record=success, queue=[row("RUNNING", job=9)])).state is JobState.RUNNING
    assert reconcile(Sources(record=success, queue=[row("COMPLETING")])).state is JobState.SUCCEEDED
    assert reconcile(Sources(record=success, queue=[row("PENDING", job=8)])).state is JobState.SUCCEEDED


@pytest.mark.parametrize(
    ("pending_reason", "reason"),
    [
        ("DependencyNeverSatisfied", Reason.INFRASTRUCTURE),
        ("PartitionTimeLimit", Reason.REJECTED),
        ("QOSMaxWallDurationPerJobLimit", Reason.REJECTED),
        ("AssocMaxGRESPerJob", Reason.REJECTED),
        ("launch failed requeued held", Reason.INFRASTRUCTURE),
    ],
)
def test_unschedulable_job_has_failed(pending_reason: str, reason: Reason) -> None:
    status = reconcile(Sources(queue=[row("PENDING", reason=pending_reason)]))
    assert (status.state, status.reason) == (JobState.FAILED, reason)
    assert "never start" in (status.detail or "")


@pytest.mark.parametrize(
    "reason", ["Priority", "Resources", "JobHeldUser", "BeginTime", "ReqNodeNotAvail", "QOSGrpNodeLimit", ""]
)
def test_job_that_may_still_start_is_pending(reason: str) -> None:
    assert reconcile(Sources(queue=[row("PENDING", reason=reason)])).state is JobState.PENDING
