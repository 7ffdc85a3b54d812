from __future__ import annotations

import time
from pathlib import Path
from threading import Event

import pytest
from tests.doubles.executor import MemoryExecutor
from tests.support.plans import make_test_plan, new_session, reopened

from nel_action.lifecycle.cancel import cancel
from nel_action.lifecycle.session import JobView, Session
from nel_action.lifecycle.submit import submit
from nel_action.lifecycle.waiting import poll_until_settled, refresh, settled
from nel_action.model.job import JobState, JobStatus
from nel_action.model.task import Progress


def last_views(session: Session, *, stop: Event | None = None, deadline: float | None = None) -> list[JobView]:
    """Poll to the end and return the last observation."""
    *_, views = poll_until_settled(session, stop=stop or Event(), deadline=deadline)
    return views


def test_polling_ends_when_every_job_is_final(tmp_path: Path) -> None:
    executor = MemoryExecutor()
    session = new_session(make_test_plan("a", "b"), executor, tmp_path)
    submit(session)
    keys = [job.key for job in session.invocation.plan.jobs]
    states: list[list[JobState]] = []
    for views in poll_until_settled(session, stop=Event()):
        states.append([view.state for view in views])
        if keys:
            executor.finish(keys.pop())
    assert states[-1] == [JobState.SUCCEEDED] * 2


def test_an_unobservable_job_is_polled_until_the_deadline(tmp_path: Path) -> None:
    executor = MemoryExecutor()
    session = new_session(make_test_plan("a"), executor, tmp_path)
    submit(session)
    executor.unreachable = True
    views = last_views(session, deadline=time.monotonic() + 0.05)
    assert views[0].state is JobState.UNKNOWN
    assert not settled(views)
    executor.unreachable = False
    executor.finish(session.invocation.plan.jobs[0].key)
    assert settled(refresh(session))


def test_polling_stops_on_request_and_another_process_continues(tmp_path: Path) -> None:
    executor = MemoryExecutor()
    session = new_session(make_test_plan("a"), executor, tmp_path)
    submit(session)
    stop = Event()
    stop.set()
    assert not settled(last_views(session, stop=stop))
    executor.finish(session.invocation.plan.jobs[0].key)
    assert settled(last_views(reopened(session, executor)))


def test_polling_once_polls_a_single_time(tmp_path: Path) -> None:
    executor = MemoryExecutor()
    session = new_session(make_test_plan("a"), executor, tmp_path)
    submit(session)
    assert len(list(poll_until_settled(session, stop=Event(), once=True))) == 1
    assert executor.calls.count("poll") == 1


class RecordingEvent(Event):
    """Records the pauses that it is asked to wait for, and waits for none."""

    def __init__(self) -> None:
        super().__init__()
        self.pauses: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.pauses.append(timeout or 0.0)
        return self.is_set()


def test_polling_backs_off_up_to_the_maximum_and_restarts_when_something_changes(tmp_path: Path) -> None:
    executor = MemoryExecutor(poll_interval=(2.0, 6.0))
    session = new_session(make_test_plan("a"), executor, tmp_path)
    submit(session)
    key = session.invocation.plan.jobs[0].key
    stop = RecordingEvent()
    for number, _ in enumerate(poll_until_settled(session, stop=stop)):
        if number == 4:
            executor.jobs[key, 1] = JobStatus(state=JobState.RUNNING, progress=Progress(done=1, total=9))
        if number == 6:
            executor.finish(key)
    # NOTE: jitter shortens each pause by up to a tenth.
    assert stop.pauses == [pytest.approx(pause * 0.95, rel=0.054) for pause in (2, 3, 4.5, 6, 6, 2, 3)]


def test_the_last_pause_ends_at_the_deadline(tmp_path: Path) -> None:
    executor = MemoryExecutor(poll_interval=(60.0, 60.0))
    session = new_session(make_test_plan("a"), executor, tmp_path)
    submit(session)
    stop = RecordingEvent()
    polls = poll_until_settled(session, stop=stop, deadline=time.monotonic() + 0.2)
    next(polls)
    next(polls)
    assert len(stop.pauses) == 1
    assert 0 < stop.pauses[0] <= 0.2


def test_cancel_stops_active_jobs_and_keeps_finished_ones(tmp_path: Path) -> None:
    executor = MemoryExecutor()
    session = new_session(make_test_plan("done", "runs"), executor, tmp_path)
    submit(session)
    executor.finish(session.invocation.plan.jobs[0].key)
    refresh(session)
    assert [view.state for view in cancel(session)] == [JobState.SUCCEEDED, JobState.CANCELLED]
