"""What three sources, each of which may lag, lie or be silent, come to."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from nel_action.executors.slurm.exit_record import ExitRecord
from nel_action.executors.slurm.status.queue import Row
from nel_action.executors.slurm.status.reconciliation import Sources, ended_row, explained, reconcile
from nel_action.model.job import JobState, Reason

NAME = "nel-0123456789abcdef-1"
START, END = "2026-11-22T10:00:00Z", "2026-11-22T10:05:00Z"


def row(state: str, job: int = 7, **fields: Any) -> Row:  # noqa: ANN401
    times = {"started": START, "ended": END} if state not in {"PENDING", "RUNNING"} else {}
    return Row(job=job, name=NAME, state=state, **(times | fields))


def record(reason: str, status: int = 1, job: int = 7) -> ExitRecord:
    return ExitRecord(job=job, status=status, reason=reason, started=START, ended=END, files=1, bytes=10)


@pytest.mark.parametrize("lost", ["NODE_FAIL", "BOOT_FAIL"])
@pytest.mark.parametrize(
    "said", ["not_started", "no_environment", "server_ended", "server_unhealthy", "infrastructure", "terminated"]
)
@pytest.mark.parametrize("source", ["queue", "accounts"])
def test_a_lost_node_explains_whatever_the_script_saw(said: str, lost: str, source: str) -> None:
    rows = [row(lost)]
    seen = Sources(
        record=record(said),
        accounting=True,
        queue=rows if source == "queue" else (),
        accounts=rows if source == "accounts" else (),
    )
    assert not seen.decided
    assert explained(seen, row(lost))
    status = reconcile(seen)
    assert (status.state, status.reason) == (JobState.FAILED, Reason.NODE_LOST)


@pytest.mark.parametrize(
    ("said", "reason"),
    [("not_started", Reason.IMAGE), ("no_environment", Reason.INFRASTRUCTURE), ("server_ended", Reason.ENDPOINT)],
)
def test_the_script_s_word_stands_where_slurm_says_only_that_it_failed(said: str, reason: Reason) -> None:
    seen = Sources(record=record(said), queue=[row("FAILED")])
    assert reconcile(seen).reason is reason
    assert explained(seen, row("FAILED"))


def test_who_cancelled_it_is_waited_for_where_somebody_will_say() -> None:
    queue, told = row("CANCELLED"), row("CANCELLED", who="1001")
    stopped = record("terminated")
    assert not explained(Sources(record=stopped, queue=[queue], accounting=True), queue)
    assert explained(Sources(record=stopped, queue=[queue], accounts=[told], accounting=True), told)
    assert explained(Sources(record=stopped, queue=[queue]), queue)


def test_a_success_stands_whatever_happened_to_its_node_afterwards() -> None:
    seen = Sources(record=record("", status=0), queue=[row("NODE_FAIL")])
    assert seen.decided
    assert reconcile(seen).state is JobState.SUCCEEDED


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
        ("WHAT_COMES_NEXT", Reason.INFRASTRUCTURE),
    ],
)
def test_slurm_alone_never_says_that_a_job_succeeded(state: str, reason: Reason) -> None:
    status = reconcile(Sources(accounts=[row(state)], accounting=True))
    assert (status.state, status.reason) == (JobState.FAILED, reason)


def test_accounts_that_lag_say_nothing() -> None:
    lagging = [
        row("PENDING"),
        row("COMPLETED", ended=None),
        replace(row("FAILED"), name="allocation"),
    ]
    for one in lagging:
        assert reconcile(Sources(accounts=[one], accounting=True)).state is JobState.UNKNOWN


def test_the_queue_s_state_is_believed_and_the_accounts_detail_taken_where_they_agree() -> None:
    cancelled = row("CANCELLED", who="1001")
    assert ended_row(Sources(queue=[row("CANCELLED")], accounts=[cancelled])) == cancelled
    assert ended_row(Sources(queue=[row("TIMEOUT")], accounts=[cancelled])) == row("TIMEOUT")


@pytest.mark.parametrize(
    ("down", "words"),
    [
        ({"queue_down": "connect failure"}, "controller does not answer: connect failure"),
        ({"accounts_down": "no database"}, "accounting database does not answer: no database"),
        ({}, "neither the queue nor the accounts know it"),
    ],
)
def test_what_is_not_seen_is_unknown_and_who_is_silent_is_told(down: dict[str, Any], words: str) -> None:
    status = reconcile(Sources(**down))
    assert status.state is JobState.UNKNOWN
    assert words in (status.detail or "")


def test_a_shadow_waits_while_the_job_before_it_runs() -> None:
    spare = row("PENDING", job=8, reason="Dependency")
    assert reconcile(Sources(queue=[row("RUNNING"), spare])).state is JobState.RUNNING
    again = reconcile(Sources(queue=[row("TIMEOUT"), row("PENDING", job=8, reason="Priority")]))
    assert again.state is JobState.PENDING
    assert again.detail == "Priority; continued 1 time"


def test_a_record_decides_only_once_no_job_of_the_attempt_runs() -> None:
    good = record("", status=0)
    assert reconcile(Sources(record=good, queue=[row("RUNNING", job=9)])).state is JobState.RUNNING
    assert reconcile(Sources(record=good, queue=[row("COMPLETING")])).state is JobState.SUCCEEDED
    assert reconcile(Sources(record=good, queue=[row("PENDING", job=8)])).state is JobState.SUCCEEDED


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("DependencyNeverSatisfied", Reason.INFRASTRUCTURE),
        ("PartitionTimeLimit", Reason.REJECTED),
        ("QOSMaxWallDurationPerJobLimit", Reason.REJECTED),
        ("AssocMaxGRESPerJob", Reason.REJECTED),
        ("launch failed requeued held", Reason.INFRASTRUCTURE),
    ],
)
def test_what_will_never_start_has_failed(reason: str, told: Reason) -> None:
    status = reconcile(Sources(queue=[row("PENDING", reason=reason)]))
    assert (status.state, status.reason) == (JobState.FAILED, told)
    assert "never start" in (status.detail or "")


@pytest.mark.parametrize(
    "reason", ["Priority", "Resources", "JobHeldUser", "BeginTime", "ReqNodeNotAvail", "QOSGrpNodeLimit", ""]
)
def test_what_may_start_yet_waits(reason: str) -> None:
    assert reconcile(Sources(queue=[row("PENDING", reason=reason)])).state is JobState.PENDING
