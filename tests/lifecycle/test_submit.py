from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.doubles.executor import Killed, MemoryExecutor
from tests.support.plans import make_test_plan, new_session, reopened

from nel_action.errors import UnreachableError
from nel_action.lifecycle.submit import resume, submit
from nel_action.lifecycle.waiting import refresh, settled
from nel_action.model.job import JobState


def test_submit_starts_and_records_each_job_once(tmp_path: Path) -> None:
    executor = MemoryExecutor()
    session = new_session(make_test_plan("a", "b", "c"), executor, tmp_path)
    submit(session)
    assert [key for key, _ in executor.started] == [job.key for job in session.invocation.plan.jobs]
    assert all(row.backend_id for row in session.attempts().values())
    submit(session)
    assert len(executor.started) == 3


@pytest.mark.parametrize("moment", ["kill_before_submit", "kill_after_submit"])
@pytest.mark.parametrize("count", [0, 1, 2])
def test_submit_after_a_kill_neither_repeats_nor_loses_a_job(tmp_path: Path, moment: str, count: int) -> None:
    executor = MemoryExecutor(**{moment: count if moment == "kill_before_submit" else count + 1})  # type: ignore[arg-type]
    session = new_session(make_test_plan("a", "b", "c"), executor, tmp_path)
    with pytest.raises(Killed):
        submit(session)
    executor.kill_before_submit = executor.kill_after_submit = None
    again = reopened(session, executor)
    submit(again)
    assert sorted(executor.started) == sorted((job.key, 1) for job in session.invocation.plan.jobs)
    assert all(row.backend_id for row in again.attempts().values())


def test_submit_with_an_empty_ledger_joins_active_jobs(tmp_path: Path) -> None:
    executor = MemoryExecutor()
    plan = make_test_plan("a", "b")
    submit(new_session(plan, executor, tmp_path / "one"))
    other = new_session(plan, executor, tmp_path / "two")
    submission = submit(other)
    assert len(executor.started) == 2
    assert all(row.reused for row in other.attempts().values())
    assert [row.name for row in submission.joined] == ["a", "b"]


def test_submit_reuses_a_success_only_if_the_model_is_pinned(tmp_path: Path) -> None:
    for commit, runs in (("c" * 40, 1), (None, 2)):
        executor = MemoryExecutor()
        plan = make_test_plan("a", commit=commit)
        folder = tmp_path / str(runs)
        submit(new_session(plan, executor, folder))
        executor.finish(plan.jobs[0].key)
        second = new_session(plan, executor, folder)
        submit(second)
        assert len(executor.started) == runs
        assert settled(refresh(second)) is (runs == 1)


def test_submit_never_joins_an_active_job_whose_model_is_not_pinned(tmp_path: Path) -> None:
    executor = MemoryExecutor()
    plan = make_test_plan("a", commit=None)
    submit(new_session(plan, executor, tmp_path))
    second = new_session(plan, executor, tmp_path)
    assert submit(second).joined == ()
    assert [number for _, number in executor.started] == [1, 2]
    submit(second)
    assert len(executor.started) == 2


def test_resume_submits_only_failed_jobs_again(tmp_path: Path) -> None:
    executor = MemoryExecutor()
    session = new_session(make_test_plan("good", "bad", "slow"), executor, tmp_path)
    good, bad, slow = (job.key for job in session.invocation.plan.jobs)
    submit(session)
    executor.finish(good)
    executor.finish(bad, JobState.FAILED)
    refresh(session)
    assert [job.key for job in resume(session).jobs] == [bad]
    assert executor.started == [(good, 1), (bad, 1), (slow, 1), (bad, 2)]
    assert session.attempts()[1].number == 2


def test_resume_joins_an_attempt_of_another_invocation(tmp_path: Path) -> None:
    executor = MemoryExecutor()
    plan = make_test_plan("bad")
    one = new_session(plan, executor, tmp_path)
    submit(one)
    executor.finish(plan.jobs[0].key, JobState.FAILED)
    refresh(one)
    two = new_session(plan, executor, tmp_path)
    submit(two)
    resume(one)
    assert executor.started == [(plan.jobs[0].key, 1), (plan.jobs[0].key, 2)]
    assert one.attempts()[0].number == 2


def test_resume_replaces_a_cancelled_attempt_that_the_backend_still_lists_as_active(tmp_path: Path) -> None:
    executor = MemoryExecutor()
    session = new_session(make_test_plan("a"), executor, tmp_path)
    submit(session)
    session.ledger.record(replace(session.attempts()[0], state=JobState.CANCELLED))
    resume(session)
    key = session.invocation.plan.jobs[0].key
    assert executor.started == [(key, 1), (key, 2)]


def test_submit_records_a_rejected_job_and_submits_the_others(tmp_path: Path) -> None:
    executor = MemoryExecutor()
    plan = make_test_plan("a", "b")
    executor.rejected = {plan.jobs[0].key}
    session = new_session(plan, executor, tmp_path)
    submission = submit(session)
    rejected, submitted = session.attempts()[0], session.attempts()[1]
    assert (rejected.state, rejected.reason, rejected.detail) == (
        "failed",
        "rejected",
        "the backend rejected the job",
    )
    assert submitted.state == "pending"
    assert submission.rejected == (rejected,)
    assert [job.name for job in submission.jobs] == ["a", "b"]
    executor.rejected = set()
    resume(session)
    assert (plan.jobs[0].key, 2) in executor.started


def test_submit_does_not_take_an_unreachable_backend_for_an_empty_one(tmp_path: Path) -> None:
    executor = MemoryExecutor()
    plan = make_test_plan("a")
    submit(new_session(plan, executor, tmp_path))
    executor.unreachable = True
    with pytest.raises(UnreachableError):
        submit(new_session(plan, executor, tmp_path))
    executor.unreachable = False
    submit(new_session(plan, executor, tmp_path))
    assert len(executor.started) == 1


def test_submit_looks_up_and_polls_all_jobs_in_one_round_trip_each(tmp_path: Path) -> None:
    executor = MemoryExecutor()
    plan = make_test_plan(*(f"task{n}" for n in range(50)))
    submit(new_session(plan, executor, tmp_path))
    submit(new_session(plan, executor, tmp_path))
    assert executor.calls.count("find") == 2
    assert executor.calls.count("poll") == 1
