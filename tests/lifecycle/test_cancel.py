from __future__ import annotations

from pathlib import Path

import pytest
from tests.doubles.executor import Killed, MemoryExecutor
from tests.support.plans import make_test_plan, new_session, reopened

from nel_action.lifecycle.cancel import DETACHED, cancel
from nel_action.lifecycle.submit import resume, submit
from nel_action.lifecycle.waiting import refresh
from nel_action.model.job import JobState


def test_cancel_finds_a_job_whose_submission_was_not_recorded(tmp_path: Path) -> None:
    executor = MemoryExecutor(kill_after_submit=1)
    session = new_session(make_test_plan("a", "b"), executor, tmp_path)
    with pytest.raises(Killed):
        submit(session)
    executor.kill_after_submit = None
    views = cancel(reopened(session, executor))
    assert [view.state for view in views] == [JobState.CANCELLED, JobState.PENDING]
    assert len(executor.started) == 1


def test_cancel_keeps_an_intent_that_was_never_submitted(tmp_path: Path) -> None:
    executor = MemoryExecutor(kill_before_submit=0)
    session = new_session(make_test_plan("a"), executor, tmp_path)
    with pytest.raises(Killed):
        submit(session)
    executor.kill_before_submit = None
    (view,) = cancel(reopened(session, executor))
    assert view.state is JobState.PENDING
    assert view.attempt is not None
    assert view.attempt.backend_id is None
    submit(reopened(session, executor))
    assert len(executor.started) == 1


class ReleasingExecutor(MemoryExecutor):
    """An executor that creates more than jobs."""

    def release(self, invocation: str) -> None:
        self.calls.append(f"release {invocation}")


def test_cancel_releases_an_invocation_only_if_all_its_jobs_are_cancelled(tmp_path: Path) -> None:
    executor = ReleasingExecutor()
    session = new_session(make_test_plan("a", "b"), executor, tmp_path)
    submit(session)
    cancel(session, {0})
    released = f"release {session.invocation.id}"
    assert released not in executor.calls
    cancel(session, {0, 1})
    assert executor.calls.count(released) == 1
    cancel(session)
    assert executor.calls.count(released) == 2


def test_cancel_detaches_from_a_joined_job_which_runs_on(tmp_path: Path) -> None:
    executor = MemoryExecutor()
    plan = make_test_plan("a")
    owner, joiner = (new_session(plan, executor, tmp_path) for _ in range(2))
    submit(owner)
    submit(joiner)
    (view,) = cancel(joiner)
    assert view.attempt is not None
    assert (view.state, view.attempt.detail) == (JobState.CANCELLED, DETACHED)
    assert [job.state for job in refresh(owner)] == [JobState.RUNNING]
    resume(joiner)
    assert len(executor.started) == 1
    assert [job.state for job in refresh(joiner)] == [JobState.RUNNING]


def test_cancel_of_shared_jobs_cancels_them_for_all_invocations(tmp_path: Path) -> None:
    executor = MemoryExecutor()
    plan = make_test_plan("a")
    owner, joiner = (new_session(plan, executor, tmp_path) for _ in range(2))
    submit(owner)
    submit(joiner)
    cancel(joiner, shared=True)
    assert [job.state for job in refresh(owner)] == [JobState.CANCELLED]
