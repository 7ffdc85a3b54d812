"""Tests of the optional capability `Maintaining`; they pass for an executor without it."""

from __future__ import annotations

from nel_action.executors.interface import Maintaining
from nel_action.model.job import JobState
from nel_action.testing.expect import expect
from nel_action.testing.harness import INVOCATION, ExecutorBench, count_starts
from nel_action.testing.submission import SHORT_SCRIPT

__all__ = ["MaintenanceTests"]


class MaintenanceTests:
    """Tests of `sweep` and `reconcile`."""

    def test_sweep_keeps_active_and_requested_jobs(self, bench: ExecutorBench) -> None:
        """A running job survives a sweep for other keys, a finished one a sweep for its own key."""
        executor = bench.open()
        if not isinstance(executor, Maintaining):
            return
        executor.sweep([])
        job, lock = bench.blocking_job()
        running = executor.submit(job, 1, INVOCATION)
        bench.wait_until_locked(lock)
        finished = executor.submit(bench.job(SHORT_SCRIPT), 1, INVOCATION)
        bench.wait_until_final(executor, finished)
        other = bench.open()
        expect(isinstance(other, Maintaining), "only some executors of a class declare the capability")
        if isinstance(other, Maintaining):
            other.sweep([finished.key])
        attempts = other.find([running.key, finished.key])
        expect({*attempts} == {running.key, finished.key}, f"after sweep(), find() returned {attempts}")
        statuses = other.poll([running, finished])
        states = (statuses[running.key].state, statuses[finished.key].state)
        expect(states == (JobState.RUNNING, JobState.SUCCEEDED), f"after sweep(), poll() returned {statuses}")
        other.collect(finished, bench.home / "collected")
        other.cancel([running])

    def test_reconcile_returns_a_status_for_every_attempt(self, bench: ExecutorBench) -> None:
        """It neither omits nor restarts a job, and a final status stays as it is."""
        executor = bench.open()
        if not isinstance(executor, Maintaining):
            return
        expect(dict(executor.reconcile([], executor.poll([]))) == {}, "reconcile([]) is not empty")
        job, starts = bench.counting_job(SHORT_SCRIPT)
        blocking, lock = bench.blocking_job()
        finished = executor.submit(job, 1, INVOCATION)
        running = executor.submit(blocking, 1, INVOCATION)
        bench.wait_until_final(executor, finished)
        bench.wait_until_locked(lock)
        bench.wait_until_running(executor, running)
        attempts = [running, finished]
        for _ in range(2):
            statuses = executor.reconcile(attempts, executor.poll(attempts))
            expect({*statuses} == {running.key, finished.key}, f"reconcile() of two attempts returned {statuses}")
            states = (statuses[running.key].state, statuses[finished.key].state)
            expect(states == (JobState.RUNNING, JobState.SUCCEEDED), f"reconcile() returned {statuses}")
        expect(count_starts(starts) == 1, f"the finished job was started {count_starts(starts)} times")
        executor.cancel([running])
