"""Tests of executors whose backend is reached over a network: lost responses and the number of requests."""

from __future__ import annotations

from typing import Final, TypeVar

from nel_action.errors import UnreachableError
from nel_action.executors.interface import Maintaining
from nel_action.model.job import JobState
from nel_action.testing.expect import expect, expect_error
from nel_action.testing.harness import INVOCATION, ExecutorBench, count_starts
from nel_action.testing.submission import SHORT_SCRIPT

__all__ = ["FaultTests"]

JOBS: Final = 12

Hook = TypeVar("Hook")


class FaultTests:
    """Tests that need the bench's `disconnect`, `lose_response` and `count_requests`."""

    def test_an_unreachable_backend_is_unknown_and_not_empty(self, bench: ExecutorBench) -> None:
        """No response says nothing about a job: it has neither failed, nor is it missing."""
        job, lock = bench.blocking_job()
        attempt = bench.open().submit(job, 1, INVOCATION)
        bench.wait_until_locked(lock)
        executor = bench.open()
        with _required(bench.disconnect, "disconnect")():
            statuses = executor.poll([attempt])
            expect(statuses[attempt.key].state is JobState.UNKNOWN, f"poll() of an unreachable backend: {statuses}")
            with expect_error(UnreachableError, "find() on an unreachable backend returned something"):
                executor.find([job.key])
            with expect_error(UnreachableError, "submit() on an unreachable backend returned something"):
                executor.submit(bench.job(SHORT_SCRIPT), 1, INVOCATION)
        state = executor.poll([attempt])[attempt.key].state
        expect(state is JobState.RUNNING, f"after the connection was restored, poll() returned {state}")
        executor.cancel([attempt])

    def test_maintenance_of_an_unreachable_backend_reports_no_failure(self, bench: ExecutorBench) -> None:
        """`sweep` and `reconcile` raise UnreachableError or report unknown, and do not affect the job."""
        executor = bench.open()
        if not isinstance(executor, Maintaining):
            return
        job, lock = bench.blocking_job()
        attempt = executor.submit(job, 1, INVOCATION)
        bench.wait_until_locked(lock)
        with _required(bench.disconnect, "disconnect")():
            try:
                executor.sweep([job.key])
                statuses = executor.reconcile([attempt], executor.poll([attempt]))
                expect(statuses[attempt.key].state is JobState.UNKNOWN, f"reconcile() returned {statuses}")
            except UnreachableError:
                pass
        status = bench.wait_until_running(executor, attempt)
        expect(status.state is JobState.RUNNING, f"after the connection was restored, the job is {status}")
        executor.cancel([attempt])

    def test_a_lost_response_to_submit_starts_one_job(self, bench: ExecutorBench) -> None:
        """`find` and a second `submit` return the job that the backend created."""
        job, starts = bench.counting_job(SHORT_SCRIPT)
        executor = bench.open()
        _required(bench.lose_response, "lose_response")()
        try:
            executor.submit(job, 1, INVOCATION)
        except UnreachableError:
            attempts = bench.open().find([job.key])
            expect(list(attempts) == [job.key], f"after a lost response, find() returned {attempts}")
        attempt = bench.open().submit(job, 1, INVOCATION)
        (status,) = bench.wait_until_final(executor, attempt)
        expect(status.state is JobState.SUCCEEDED, f"after a lost response, the job is {status}")
        expect(count_starts(starts) == 1, f"after a lost response, the job was started {count_starts(starts)} times")

    def test_poll_makes_as_many_requests_for_many_jobs_as_for_one(self, bench: ExecutorBench) -> None:
        """`poll` lists jobs instead of querying each."""
        jobs = [bench.job(SHORT_SCRIPT, index=index, name=f"task-{index}") for index in range(JOBS)]
        executor = bench.open()
        attempts = [executor.submit(job, 1, INVOCATION) for job in jobs]
        bench.wait_until_final(executor, *attempts)
        count_requests = _required(bench.count_requests, "count_requests")
        start = count_requests()
        executor.poll(attempts[:1])
        for_one = count_requests() - start
        executor.poll(attempts)
        for_many = count_requests() - start - for_one
        expect(for_many <= for_one, f"poll() made {for_many} requests for {JOBS} jobs, and {for_one} for one")


def _required(hook: Hook | None, name: str) -> Hook:
    """Return a hook of the bench.

    Raises:
        AssertionError: the bench does not have it.
    """
    if hook is None:
        msg = f"the bench of a remote executor needs {name}"
        raise AssertionError(msg)
    return hook
