"""Tests of observation: statuses and logs are reported as they are."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from nel_action.model.job import Attempt, JobState, Reason
from nel_action.testing.expect import eventually, expect
from nel_action.testing.harness import INVOCATION, ExecutorBench

__all__ = ["PollingTests"]

EXIT_CODE: Final = 3
LINES: Final = 500


class PollingTests:
    """Tests of `poll` and `logs`."""

    def test_poll_reports_running_and_then_succeeded(self, bench: ExecutorBench) -> None:
        """Every executor reports the same final status."""
        gate = bench.scratch / "gate"
        job = bench.job('until [ -e "$1" ]; do sleep 0.1; done', str(gate))
        executor = bench.open()
        attempt = executor.submit(job, 1, INVOCATION)
        bench.wait_until_running(executor, attempt)
        gate.touch()
        (status,) = bench.wait_until_final(executor, attempt)
        expect(status.state is JobState.SUCCEEDED, f"a job with exit status 0 is {status}")
        expect(status.reason is None, f"a job that succeeded has a reason: {status}")
        expect(status.exit_code in {0, None}, f"a job that succeeded has an exit code: {status}")
        for moment in (status.started, status.ended):
            expect(moment is None or datetime.fromisoformat(moment).tzinfo, f"{moment} is not RFC 3339")
        expect((status.started or "") <= (status.ended or "~"), f"the job's end precedes its start: {status}")
        other = bench.open().poll([attempt])[attempt.key]
        expect(other.state is JobState.SUCCEEDED, f"another executor reports {other}")

    def test_poll_reports_reason_and_exit_code_of_a_failure(self, bench: ExecutorBench) -> None:
        """The harness's exit status is preserved."""
        executor = bench.open()
        attempt = executor.submit(bench.job("echo no such metric; exit 3"), 1, INVOCATION)
        (status,) = bench.wait_until_final(executor, attempt)
        expect(status.state is JobState.FAILED, f"a job with exit status 3 is {status}")
        expect(status.reason is Reason.HARNESS, f"the harness failed; the reason is {status.reason}")
        expect(status.exit_code == EXIT_CODE, f"exit status 3 is reported as {status.exit_code}")
        expect("\n" not in (status.detail or ""), f"the detail has several lines: {status.detail!r}")

    def test_a_time_limit_is_enforced_without_polling(self, bench: ExecutorBench) -> None:
        """The job enforces its own limit."""
        job, lock = bench.blocking_job(timeout=bench.min_time_limit)
        executor = bench.open()
        attempt = executor.submit(job, 1, INVOCATION)
        bench.wait_until_locked(lock)
        bench.wait_until_unlocked(lock)
        (status,) = bench.wait_until_final(executor, attempt)
        outcome = (status.state, status.reason)
        expect(outcome == (JobState.FAILED, Reason.TIME_LIMIT), f"a job over its time limit is {status}")

    def test_poll_reports_a_missing_job_as_unknown(self, bench: ExecutorBench) -> None:
        """A job that the backend does not have is neither omitted nor failed."""
        executor = bench.open()
        expect(dict(executor.poll([])) == {}, "poll([]) is not empty")
        existing = executor.submit(bench.job("true"), 1, INVOCATION)
        missing = Attempt(key=bench.job("true").key, number=1, backend_id=existing.backend_id + "9")
        statuses = executor.poll([existing, missing])
        expect(set(statuses) == {existing.key, missing.key}, f"poll() of two attempts returned {len(statuses)}")
        status = statuses[missing.key]
        expect(status.state is JobState.UNKNOWN, f"a job that does not exist is reported as {status}")
        bench.wait_until_final(executor, existing)

    def test_logs_are_complete_and_in_order(self, bench: ExecutorBench) -> None:
        """Each line is returned once, bytes that are not UTF-8 included; following ends with the job."""
        script = 'i=0; while [ $i -lt 500 ]; do i=$((i+1)); echo "line $i"; done; printf "odd \\377 bytes\\nlast"'
        executor = bench.open()
        attempt = executor.submit(bench.job(script), 1, INVOCATION)
        expected = [f"line {number}" for number in range(1, LINES + 1)]
        for follow in (True, False):
            lines = [line.rstrip("\n") for line in executor.logs(attempt, follow=follow)]
            numbered = [line for line in lines if line.startswith("line ")]
            expect(
                numbered == expected, f"logs(follow={follow}) returned {len(numbered)} of {LINES} lines, or disorder"
            )
            expect(any(line.startswith("odd ") for line in lines), "a line with bytes that are not UTF-8 is missing")
            expect("last" in lines, "the last line, which has no newline, is missing")

    def test_logs_follow_a_running_job(self, bench: ExecutorBench) -> None:
        """Lines are returned when they are written, not when the job has finished."""
        job, lock = bench.blocking_job()
        executor = bench.open()
        attempt = executor.submit(job, 1, INVOCATION)
        for line in executor.logs(attempt, follow=True):
            if line.rstrip("\n") == "up":
                break
        bench.wait_until_locked(lock)
        lines = eventually(
            lambda: list(bench.open().logs(attempt, follow=False)),
            lambda lines: any("up" in line for line in lines),
            timeout=bench.timeout,
            message="logs(follow=False) of a running job did not return its output",
        )
        expect(not any("never" in line for line in lines), "the job did not keep running")
        executor.cancel([attempt])
