"""Waiting can be left at any time, and unknown is never failed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from threading import Event

from tests.doubles.executor import MemoryExecutor
from tests.support.plans import make_test_plan, new_session, reopened

from nel_action.lifecycle.cancel import cancel
from nel_action.lifecycle.session import JobView
from nel_action.lifecycle.submit import submit
from nel_action.lifecycle.waiting import finished, refresh, wait
from nel_action.model.job import JobState


def ignore(_views: Sequence[JobView]) -> None: ...


def test_wait_ends_when_every_job_has(tmp_path: Path) -> None:
    executor = MemoryExecutor()
    session = new_session(make_test_plan("a", "b"), executor, tmp_path)
    submit(session)
    keys = [job.key for job in session.invocation.plan.jobs]

    def on_look(_views: Sequence[JobView]) -> None:
        if keys:
            executor.end(keys.pop())

    views = wait(session, on_look=on_look, stop=Event())
    assert [view.state for view in views] == [JobState.SUCCEEDED] * 2


def test_a_job_that_cannot_be_seen_is_waited_for_until_the_deadline(tmp_path: Path) -> None:
    executor = MemoryExecutor()
    session = new_session(make_test_plan("a"), executor, tmp_path)
    submit(session)
    executor.unreachable = True
    views = wait(session, on_look=ignore, stop=Event(), deadline=time.monotonic() + 0.05)
    assert views[0].state is JobState.UNKNOWN
    assert not finished(views)
    executor.unreachable = False
    executor.end(session.invocation.plan.jobs[0].key)
    assert finished(refresh(session))


def test_whoever_waits_can_leave_and_another_takes_it_up(tmp_path: Path) -> None:
    executor = MemoryExecutor()
    session = new_session(make_test_plan("a"), executor, tmp_path)
    submit(session)
    stop = Event()
    stop.set()
    assert not finished(wait(session, on_look=ignore, stop=stop))
    executor.end(session.invocation.plan.jobs[0].key)
    assert finished(wait(reopened(session, executor), on_look=ignore, stop=Event()))


def test_cancel_ends_what_runs_and_leaves_what_ended(tmp_path: Path) -> None:
    executor = MemoryExecutor()
    session = new_session(make_test_plan("done", "runs"), executor, tmp_path)
    submit(session)
    executor.end(session.invocation.plan.jobs[0].key)
    refresh(session)
    assert [view.state for view in cancel(session)] == [JobState.SUCCEEDED, JobState.CANCELLED]
