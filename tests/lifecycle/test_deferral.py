"""Jobs beyond the limit on queued jobs: submitted while a process waits, as others finish."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import pytest
from tests.doubles.executor import MemoryExecutor
from tests.support.plans import make_test_plan, new_session

from nel_action.errors import ExecutorError, QueueFullError, UnreachableError
from nel_action.lifecycle import waiting
from nel_action.lifecycle.cancel import cancel
from nel_action.lifecycle.session import Session
from nel_action.lifecycle.submit import resume, submit
from nel_action.lifecycle.waiting import poll_until_settled
from nel_action.model.job import Attempt, JobState, Key
from nel_action.planning.jobs import Job


@dataclass
class LimitedExecutor(MemoryExecutor):
    """An executor whose backend has a limit on its active jobs."""

    parallelism: int = 1000
    limit: int = 1000
    silent: frozenset[str] = frozenset()
    """Names of jobs to whose submission the backend does not answer."""

    def submit_many(
        self, jobs: Sequence[tuple[Job, int]], invocation: str
    ) -> Mapping[Key, Attempt | ExecutorError | UnreachableError]:
        return {job.key: self._outcome(job, number, invocation) for job, number in jobs}

    def _outcome(self, job: Job, number: int, invocation: str) -> Attempt | ExecutorError | UnreachableError:
        if job.name in self.silent:
            return UnreachableError("no answer")
        if len(self.active) >= self.limit:
            return QueueFullError("too many jobs")
        return self.submit(job, number, invocation)

    @property
    def active(self) -> list[Key]:
        return [key for key, _ in self.started if not self.finished(key)]

    def finished(self, key: Key) -> bool:
        attempt = self.find([key])[key]
        return self.poll([attempt])[key].state.final


def session_with(executor: MemoryExecutor, folder: Path, *names: str) -> Session:
    return new_session(make_test_plan(*names), executor, folder)


@pytest.mark.parametrize(("field", "cause"), [("parallelism", "execution.parallelism"), ("limit", "too many jobs")])
def test_jobs_beyond_the_limit_are_deferred_and_submitted_as_others_finish(
    tmp_path: Path, field: str, cause: str
) -> None:
    executor = LimitedExecutor(**{field: 2})  # type: ignore[arg-type]
    session = session_with(executor, tmp_path, "a", "b", "c", "d", "e")
    submission = submit(session)
    assert [row.name for row in submission.deferred] == ["c", "d", "e"]
    assert submission.rejected == ()
    assert cause in (session.views()[2].attempt.detail or "")  # type: ignore[union-attr]
    most = 0
    executor.poll_interval = (0.0, 0.0)
    for _ in poll_until_settled(session, stop=Event(), submit_deferred=lambda: submit(session)):
        most = max(most, len(executor.active))
        for key in executor.active[:1]:
            executor.finish(key)
    assert {view.state for view in session.views()} == {JobState.SUCCEEDED}
    assert most == 2
    assert len(executor.started) == 5


def test_deferred_jobs_are_tried_again_after_a_minute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "_DEFERRED_INTERVAL", -1.0)
    executor = LimitedExecutor(limit=0)
    executor.poll_interval = (0.0, 0.0)
    session = session_with(executor, tmp_path, "a")
    submit(session)
    for number, _ in enumerate(poll_until_settled(session, stop=Event(), submit_deferred=lambda: submit(session))):
        executor.limit = number
        for key in executor.active:
            executor.finish(key)
    assert len(executor.started) == 1


def test_outage_while_deferred_jobs_are_submitted_does_not_stop_the_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "_DEFERRED_INTERVAL", -1.0)
    executor = LimitedExecutor(parallelism=1)
    executor.poll_interval = (0.0, 0.0)
    session = session_with(executor, tmp_path, "a", "b")
    submit(session)
    executor.silent = frozenset({"b"})
    for _ in poll_until_settled(session, stop=Event(), submit_deferred=lambda: submit(session)):
        if not executor.active:
            executor.silent = frozenset()
        for key in executor.active:
            executor.finish(key)
    assert len(executor.started) == 2


def test_answers_of_other_jobs_are_recorded_although_one_is_missing(tmp_path: Path) -> None:
    executor = LimitedExecutor(silent=frozenset({"b"}))
    session = session_with(executor, tmp_path, "a", "b", "c")
    with pytest.raises(UnreachableError):
        submit(session)
    assert [view.submitted is not None for view in session.views()] == [True, False, True]
    executor.silent = frozenset()
    submit(session)
    assert len(executor.started) == 3


def test_cancel_withdraws_deferred_jobs_and_resume_submits_them(tmp_path: Path) -> None:
    executor = LimitedExecutor(parallelism=1)
    session = session_with(executor, tmp_path, "a", "b")
    submit(session)
    views = cancel(session)
    assert [view.state for view in views] == [JobState.CANCELLED] * 2
    submit(session)
    assert len(executor.started) == 1, "a cancelled job is not submitted by a later wait"
    resume(session)
    assert len(executor.started) == 2
