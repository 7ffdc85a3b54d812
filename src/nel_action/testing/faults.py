"""When the backend is far away and does not always answer."""

from __future__ import annotations

from typing import TypeVar

from nel_action.errors import UnreachableError
from nel_action.model.job import JobState
from nel_action.testing.expect import expect, expect_error
from nel_action.testing.harness import INVOCATION, ExecutorBench
from nel_action.testing.submission import QUICK, begun

__all__ = ["ReachTests"]

MANY = 12

Hook = TypeVar("Hook")


class ReachTests:
    """Tests of silence, lost answers and round trips; the bench's `cut_off`, `lose_answer`, `round_trips` are set."""

    def test_what_cannot_be_seen_is_unknown(self, bench: ExecutorBench) -> None:
        """No answer says nothing about a job: not failed, not absent."""
        job, lock = bench.held()
        attempt = bench.open().submit(job, 1, INVOCATION)
        bench.until_held(lock)
        executor = bench.open()
        with _given(bench.cut_off, "cut_off")():
            seen = executor.poll([attempt])
            expect(seen[attempt.key].state is JobState.UNKNOWN, f"without an answer, poll() told {seen}")
            with expect_error(UnreachableError, "without an answer, find() returned something"):
                executor.find([job.key])
            with expect_error(UnreachableError, "without an answer, submit() returned something"):
                executor.submit(bench.job(QUICK), 1, INVOCATION)
        expect(
            executor.poll([attempt])[attempt.key].state is JobState.RUNNING, "after the silence, it is not seen again"
        )
        executor.cancel([attempt])

    def test_a_lost_answer_to_submit_starts_nothing_twice(self, bench: ExecutorBench) -> None:
        """The backend did it and its answer was lost: the job is found, or submitting again finds it."""
        job, began = bench.counted(QUICK)
        executor = bench.open()
        _given(bench.lose_answer, "lose_answer")()
        try:
            executor.submit(job, 1, INVOCATION)
        except UnreachableError:
            found = bench.open().find([job.key])
            expect(list(found) == [job.key], f"after a lost answer, find() returned {found}")
        attempt = bench.open().submit(job, 1, INVOCATION)
        (status,) = bench.until_final(executor, attempt)
        expect(status.state is JobState.SUCCEEDED, f"after a lost answer, the job ended so: {status}")
        expect(begun(began) == 1, f"after a lost answer, it began {begun(began)} times")

    def test_many_jobs_are_looked_at_in_one_go(self, bench: ExecutorBench) -> None:
        """`poll` of many asks no more often than `poll` of one."""
        jobs = [bench.job(QUICK, index=index, name=f"task-{index}") for index in range(MANY)]
        executor = bench.open()
        attempts = [executor.submit(job, 1, INVOCATION) for job in jobs]
        bench.until_final(executor, *attempts)
        asked = _given(bench.round_trips, "round_trips")
        before = asked()
        executor.poll(attempts[:1])
        one = asked() - before
        executor.poll(attempts)
        many = asked() - before - one
        expect(many <= one, f"poll() of {MANY} jobs asked {many} times, of one {one} times")


def _given(hook: Hook | None, name: str) -> Hook:
    """Return what the bench must have."""
    if hook is None:
        msg = f"the bench of a far executor needs {name}"
        raise AssertionError(msg)
    return hook
