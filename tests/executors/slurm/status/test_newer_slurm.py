"""Output of Slurm 23.11 to 25.05, from its public documentation; not run: the tests' cluster is 22.05.

States: https://slurm.schedmd.com/job_state_codes.html. `squeue` and `sacct` report one state per job: a flag that they
know takes the place of the base state.
"""

from __future__ import annotations

import pytest

from nel_action.executors.slurm.status.queue import parse_sacct, parse_squeue
from nel_action.executors.slurm.status.reconciliation import Sources, reconcile
from nel_action.model.job import JobState, Reason

NAME = "nel-0123456789abcdef-1"

BASE_STATES = {
    "PENDING": JobState.PENDING,
    "RUNNING": JobState.RUNNING,
    "SUSPENDED": JobState.RUNNING,
    "BOOT_FAIL": JobState.FAILED,
    "CANCELLED": JobState.CANCELLED,
    "COMPLETED": JobState.FAILED,
    "DEADLINE": JobState.FAILED,
    "FAILED": JobState.FAILED,
    "NODE_FAIL": JobState.FAILED,
    "OUT_OF_MEMORY": JobState.FAILED,
    "PREEMPTED": JobState.FAILED,
    "TIMEOUT": JobState.FAILED,
}
"""The base states, and the state of a job without an exit record."""

FLAGS = {
    "COMPLETING": JobState.RUNNING,
    "CONFIGURING": JobState.PENDING,
    "EXPEDITING": JobState.PENDING,
    "LAUNCH_FAILED": JobState.RUNNING,
    "POWER_UP_NODE": JobState.PENDING,
    "RECONFIG_FAIL": JobState.PENDING,
    "REQUEUED": JobState.PENDING,
    "REQUEUE_FED": JobState.PENDING,
    "REQUEUE_HOLD": JobState.PENDING,
    "RESIZING": JobState.RUNNING,
    "RESV_DEL_HOLD": JobState.PENDING,
    "REVOKED": JobState.FAILED,
    "SIGNALING": JobState.RUNNING,
    "SPECIAL_EXIT": JobState.PENDING,
    "STAGE_OUT": JobState.RUNNING,
    "STOPPED": JobState.RUNNING,
    "UPDATE_DB": JobState.RUNNING,
}
"""The flags; a job with one that is not final is active."""


def squeue_line(state: str, reason: str = "None") -> str:
    return f"71|{NAME}|{state}|{reason}|2026-11-22T10:00:00|2026-11-22T10:01:00|2026-11-22T10:02:00|/runs/{NAME}\n"


@pytest.mark.parametrize(("state", "expected"), [*BASE_STATES.items(), *FLAGS.items()])
def test_documented_states_are_understood(state: str, expected: JobState) -> None:
    status = reconcile(Sources(queue=parse_squeue(squeue_line(state))))
    assert status.state is expected, status


def test_state_of_a_later_version_is_not_final() -> None:
    rows = parse_squeue(squeue_line("SOMETHING_NEW"))
    assert not reconcile(Sources(queue=rows)).state.final


@pytest.mark.parametrize(
    "reason", ["QOSMaxSubmitJobPerUserLimit", "ReqNodeNotAvail, Reserved for maintenance", "Prolog"]
)
def test_documented_reasons_of_waiting_jobs_keep_them_pending(reason: str) -> None:
    status = reconcile(Sources(queue=parse_squeue(squeue_line("PENDING", reason))))
    assert (status.state, status.detail) == (JobState.PENDING, reason)


@pytest.mark.parametrize(
    ("state", "code", "reason"),
    [
        ("OUT_OF_MEMORY", "0:125", Reason.OUT_OF_MEMORY),
        ("TIMEOUT", "0:15", Reason.TIME_LIMIT),
        ("NODE_FAIL", "0:0", Reason.NODE_LOST),
        ("PREEMPTED", "0:0", Reason.PREEMPTED),
    ],
)
def test_rows_of_accounting_are_understood(state: str, code: str, reason: Reason) -> None:
    times = "2026-11-22T10:00:00|2026-11-22T10:01:00|2026-11-22T10:02:00"
    rows = parse_sacct(f"71|{NAME}|{state}|{code}|None|{times}|/runs/{NAME}\n")
    assert reconcile(Sources(accounting=rows, has_accounting=True)).reason is reason
