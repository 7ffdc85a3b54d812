"""Looking at jobs: what is told is what was seen."""

from __future__ import annotations

from datetime import datetime

from nel_action.model.job import Attempt, JobState, Reason
from nel_action.testing.expect import eventually, expect
from nel_action.testing.harness import INVOCATION, ExecutorBench

__all__ = ["WatchingTests"]

FAILED = 3
LINES = 500


class WatchingTests:
    """Tests of `poll` and `logs`."""

    def test_a_job_runs_and_succeeds(self, bench: ExecutorBench) -> None:
        """It is never seen in a state that it was not in, and it stays what it became."""
        gate = bench.scratch / "gate"
        job = bench.job('until [ -e "$1" ]; do sleep 0.1; done', str(gate))
        executor = bench.open()
        attempt = executor.submit(job, 1, INVOCATION)
        bench.until_running(executor, attempt)
        gate.touch()
        (status,) = bench.until_final(executor, attempt)
        expect(status.state is JobState.SUCCEEDED, f"a good job ended so: {status}")
        expect(status.reason is None, f"a job that succeeded has a reason: {status}")
        expect(status.exit_code in {0, None}, f"a job that succeeded has an exit code: {status}")
        for moment in (status.started, status.ended):
            expect(moment is None or datetime.fromisoformat(moment).tzinfo, f"{moment} is not RFC 3339")
        expect((status.started or "") <= (status.ended or "~"), f"it ended before it started: {status}")
        expect(
            bench.open().poll([attempt])[attempt.key].state is JobState.SUCCEEDED, "another process sees it otherwise"
        )

    def test_a_failure_has_its_reason_and_exit_code(self, bench: ExecutorBench) -> None:
        """What the harness said with its exit status is told."""
        executor = bench.open()
        attempt = executor.submit(bench.job("echo no such metric; exit 3"), 1, INVOCATION)
        (status,) = bench.until_final(executor, attempt)
        expect(status.state is JobState.FAILED, f"a job with exit status 3 ended so: {status}")
        expect(status.reason is Reason.HARNESS, f"the harness failed, the reason is {status.reason}")
        expect(status.exit_code == FAILED, f"exit status 3 is told as {status.exit_code}")
        expect("\n" not in (status.detail or ""), f"the detail has several lines: {status.detail!r}")

    def test_a_job_has_a_time_limit(self, bench: ExecutorBench) -> None:
        """The limit is the job's own: it holds when nobody looks."""
        job, lock = bench.held(timeout=bench.shortest_limit)
        executor = bench.open()
        attempt = executor.submit(job, 1, INVOCATION)
        bench.until_held(lock)
        bench.until_let_go(lock)
        (status,) = bench.until_final(executor, attempt)
        told = (status.state, status.reason)
        expect(told == (JobState.FAILED, Reason.TIME_LIMIT), f"a job over its time ended so: {status}")

    def test_nothing_is_left_out(self, bench: ExecutorBench) -> None:
        """What was never there is told as not seen, and never as failed."""
        executor = bench.open()
        expect(dict(executor.poll([])) == {}, "poll([]) is not empty")
        there = executor.submit(bench.job("true"), 1, INVOCATION)
        ghost = Attempt(key=bench.job("true").key, number=1, backend_id=there.backend_id + "9")
        seen = executor.poll([there, ghost])
        expect(set(seen) == {there.key, ghost.key}, f"poll() was asked for two and told of {len(seen)}")
        expect(seen[ghost.key].state is JobState.UNKNOWN, f"a job that is not there is told as {seen[ghost.key]}")
        bench.until_final(executor, there)

    def test_logs_are_whole_and_in_order(self, bench: ExecutorBench) -> None:
        """Every line comes once, odd bytes included; following ends with the job."""
        script = 'i=0; while [ $i -lt 500 ]; do i=$((i+1)); echo "line $i"; done; printf "odd \\377 bytes\\nlast"'
        executor = bench.open()
        attempt = executor.submit(bench.job(script), 1, INVOCATION)
        wanted = [f"line {number}" for number in range(1, LINES + 1)]
        for follow in (True, False):
            lines = [line.rstrip("\n") for line in executor.logs(attempt, follow=follow)]
            ours = [line for line in lines if line.startswith("line ")]
            expect(ours == wanted, f"logs(follow={follow}) returned {len(ours)} of {LINES} lines, or not in order")
            expect(any(line.startswith("odd ") for line in lines), "a line with odd bytes is missing")
            expect("last" in lines, "the last line, which has no end, is missing")

    def test_logs_can_be_followed_while_the_job_runs(self, bench: ExecutorBench) -> None:
        """Lines come when they are written, not when the job has ended."""
        job, lock = bench.held()
        executor = bench.open()
        attempt = executor.submit(job, 1, INVOCATION)
        for line in executor.logs(attempt, follow=True):
            if line.rstrip("\n") == "up":
                break
        bench.until_held(lock)
        read = eventually(
            lambda: list(bench.open().logs(attempt, follow=False)),
            lambda lines: any("up" in line for line in lines),
            limit=bench.patience,
            message="logs(follow=False) of a running job did not return what it wrote",
        )
        expect(not any("never" in line for line in read), "the job did not keep running")
        executor.cancel([attempt])
