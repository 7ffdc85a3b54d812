"""When the backend is far away and does not always answer."""

from __future__ import annotations

from nel_action.errors import UnreachableError
from nel_action.executors.interface import JobState
from nel_action.testing.executor_bench import INVOCATION, ExecutorBench
from nel_action.testing.executor_placing import QUICK, begun
from nel_action.testing.expect import expect, expect_error

__all__ = ["ReachTests"]

MANY = 12


class ReachTests:
    """Tests of silence, lost answers and round trips; the bench's `cut_off`, `lose_answer`, `round_trips` are set."""

    def test_what_cannot_be_seen_is_unknown(self, bench: ExecutorBench) -> None:
        """No answer says nothing about a job: not failed, not absent."""
        job, lock = bench.held()
        attempt = bench.open().submit(job, 1, INVOCATION)
        bench.until_held(lock)
        executor = bench.open()
        expect(bench.cut_off, "the bench has no cut_off")
        if bench.cut_off:
            with bench.cut_off():
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
        expect(bench.lose_answer, "the bench has no lose_answer")
        if bench.lose_answer:
            bench.lose_answer()
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
        expect(bench.round_trips, "the bench has no round_trips")
        if bench.round_trips:
            before = bench.round_trips()
            executor.poll(attempts[:1])
            one = bench.round_trips() - before
            executor.poll(attempts)
            many = bench.round_trips() - before - one
            expect(many <= one, f"poll() of {MANY} jobs asked {many} times, of one {one} times")
