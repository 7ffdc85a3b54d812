"""Parsing of listed jobs, and the status that they mean."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from nel_action.executors.lepton.jobs import (
    JobRecord,
    failure_from_events,
    label_value,
    oldest_by_name,
    status_from_exit_record,
    status_from_state,
)
from nel_action.executors.lepton.log_transport import ExitRecord
from nel_action.model.job import JobState, Reason

pytestmark = pytest.mark.slow

JOB = JobRecord(id="nel-0123456789abcdef-1-0001", name="nel-0123456789abcdef-1", state="Running")
RECORD = ExitRecord(
    exit_code=0,
    reason="",
    detail="",
    started="2026-01-01T00:00:00Z",
    ended="2026-01-01T00:01:00Z",
    parts=0,
    size=0,
    digest="",
)


def test_parse_reads_all_fields_of_a_job() -> None:
    order = json.dumps({"timeout": 60, "health": {"seconds": 30}})
    item = {
        "metadata": {
            "id": "nel-0123456789abcdef-2-0001",
            "name": "nel-0123456789abcdef-2",
            "created_at": 1_700_000_000_500,
            "labels": {"nel-action-endpoint": "nel-abc", "nel-action-invocation": "f" * 16, "empty": None},
        },
        "spec": {"container": {"command": ["python3", "-c", "...", order]}},
        "status": {"state": "Running", "completion_time": 0, "job_history": [{"state": "Failed"}, {}]},
    }
    job = JobRecord.parse(item)
    assert (job.id, job.name, job.created, job.completed) == (
        "nel-0123456789abcdef-2-0001",
        "nel-0123456789abcdef-2",
        1_700_000_000.5,
        0.0,
    )
    assert job.attempt == ("nel-0123456789abcdef", 2)
    assert (job.endpoint, job.invocation) == ("nel-abc", "f" * 16)
    assert job.time_limit == 90
    assert job.run_history == "run 3; earlier runs: Failed, unknown"
    assert job.active


@pytest.mark.parametrize("item", [{}, {"metadata": None, "spec": [], "status": "x"}, {"metadata": {"name": "by-hand"}}])
def test_parse_accepts_missing_and_malformed_fields(item: dict[str, Any]) -> None:
    job = JobRecord.parse(item)
    assert (job.attempt, job.endpoint, job.time_limit, job.run_history, job.state) == (None, None, None, None, "")


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("Queueing", JobState.PENDING),
        ("PendingRetry", JobState.PENDING),
        ("Running", JobState.RUNNING),
        ("Deleting", JobState.RUNNING),
        ("Completed", JobState.UNKNOWN),
        ("Archived", JobState.UNKNOWN),
        ("Dreaming", JobState.UNKNOWN),
        ("", JobState.UNKNOWN),
    ],
)
def test_status_from_state_never_claims_a_final_state(state: str, expected: JobState) -> None:
    assert status_from_state(replace(JOB, state=state)).state is expected


@pytest.mark.parametrize(
    ("exit_code", "reason", "state", "expected"),
    [
        (0, "", "Completed", (JobState.SUCCEEDED, None)),
        (0, "", "Stopped", (JobState.SUCCEEDED, None)),
        (3, "", "Failed", (JobState.FAILED, Reason.HARNESS)),
        (124, "time_limit", "Failed", (JobState.FAILED, Reason.TIME_LIMIT)),
        (137, "out_of_memory", "Failed", (JobState.FAILED, Reason.OUT_OF_MEMORY)),
        (143, "terminated", "Stopped", (JobState.CANCELLED, None)),
        (143, "terminated", "Failed", (JobState.FAILED, Reason.PREEMPTED)),
        (1, "a reason of a later version", "Failed", (JobState.FAILED, Reason.HARNESS)),
    ],
)
def test_status_from_exit_record_maps_reasons(
    exit_code: int, reason: str, state: str, expected: tuple[JobState, Reason | None]
) -> None:
    status = status_from_exit_record(replace(JOB, state=state), replace(RECORD, exit_code=exit_code, reason=reason))
    assert (status.state, status.reason) == expected
    assert (status.exit_code, status.started, status.ended) == (exit_code, RECORD.started, RECORD.ended)


def test_failure_from_events_returns_the_newest_known_cause() -> None:
    assert failure_from_events(["ErrImagePull", "Scheduled", "OOMKilled", "Started"]) == (
        Reason.OUT_OF_MEMORY,
        "OOMKilled",
    )
    assert failure_from_events(["Scheduled", "Started"]) is None


def test_oldest_by_name_orders_by_creation_and_then_by_id() -> None:
    newer = replace(JOB, id="a", created=2.0)
    older = replace(JOB, id="c", created=1.0)
    same_time = replace(JOB, id="b", created=1.0)
    oldest, duplicates = oldest_by_name([newer, older, same_time])
    assert oldest == {JOB.name: same_time}
    assert duplicates == [older, newer]


@pytest.mark.parametrize(
    ("text", "label"), [("lm-eval.gsm8k", "lm-eval.gsm8k"), ("a b/c", "a_b_c"), ("//", "none"), ("x" * 80, "x" * 63)]
)
def test_label_value_keeps_only_valid_characters(text: str, label: str) -> None:
    assert label_value(text) == label
