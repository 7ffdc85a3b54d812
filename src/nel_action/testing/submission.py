"""Tests of validation and submission: jobs are found by their keys, and none runs twice."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Final

from nel_action.errors import ExecutorError, NelActionError, UnreachableError
from nel_action.executors.interface import Executor
from nel_action.model.job import Attempt, JobState
from nel_action.planning.jobs import Job
from nel_action.testing.expect import expect, expect_error
from nel_action.testing.harness import INVOCATION, ExecutorBench, count_starts

__all__ = ["SHORT_SCRIPT", "SubmissionTests"]

SHORT_SCRIPT: Final = 'echo evaluated; echo "{}" > "$NEL_OUTPUT_DIR/scores.json"'

CALLERS: Final = 4
LATEST: Final = 2


class SubmissionTests:
    """Tests of `check`, `find`, `submit` and `scripts`."""

    def test_check_accepts_a_valid_plan(self, bench: ExecutorBench) -> None:
        """The other tests run such plans."""
        problems = bench.open().check(bench.plan(bench.job(SHORT_SCRIPT)))
        expect(not problems, f"check() rejected a valid plan: {problems}")

    def test_find_omits_unknown_keys(self, bench: ExecutorBench) -> None:
        """An unknown key is not an error."""
        executor = bench.open()
        expect(dict(executor.find([])) == {}, "find([]) is not empty")
        attempts = executor.find([bench.job(SHORT_SCRIPT).key])
        expect(dict(attempts) == {}, f"find() returned a job that was not submitted: {attempts}")

    def test_another_executor_finds_a_submitted_job(self, bench: ExecutorBench) -> None:
        """The key is sufficient, while the job runs and after it has finished."""
        job, other = bench.job(SHORT_SCRIPT), bench.job(SHORT_SCRIPT)
        submitted = bench.open().submit(job, 1, INVOCATION)
        expect((submitted.key, submitted.number) == (job.key, 1), f"submit() returned another attempt: {submitted}")
        for moment in ("before the job finished", "after the job finished"):
            executor = bench.open()
            attempts = executor.find([other.key, job.key])
            expect(list(attempts) == [job.key], f"find() returned {attempts} {moment}")
            attempt = attempts[job.key]
            expect(_same(attempt, submitted), f"find() returned {attempt} {moment}; submit() returned {submitted}")
            bench.wait_until_final(executor, attempt)

    def test_submit_returns_an_existing_attempt(self, bench: ExecutorBench) -> None:
        """`submit` is idempotent, for every caller and at any time."""
        job, starts = bench.counting_job(SHORT_SCRIPT)
        first = bench.open().submit(job, 1, INVOCATION)
        second = bench.open().submit(job, 1, "fedcba9876543210")
        expect(_same(second, first), f"the second submit() returned {second}, the first {first}")
        bench.wait_until_final(bench.open(), first)
        third = bench.open().submit(job, 1, INVOCATION)
        expect(_same(third, first), f"submit() returned {third} after the job finished, and {first} before")
        expect(count_starts(starts) == 1, f"one attempt was started {count_starts(starts)} times")

    def test_concurrent_callers_start_one_job(self, bench: ExecutorBench) -> None:
        """The backend decides which caller is first."""
        job, starts = bench.counting_job(SHORT_SCRIPT)
        with bench.hold_jobs() if bench.hold_jobs else nullcontext(), ThreadPoolExecutor(CALLERS) as pool:
            attempts = list(pool.map(lambda _: _submit_with_retries(bench.open(), job), range(CALLERS)))
        expect(len({attempt.backend_id for attempt in attempts}) == 1, f"the callers got different jobs: {attempts}")
        (status,) = bench.wait_until_final(bench.open(), attempts[0])
        expect(status.state is JobState.SUCCEEDED, f"the job of concurrent callers is {status}")
        expect(count_starts(starts) == 1, f"{CALLERS} callers started {count_starts(starts)} jobs")

    def test_find_returns_the_latest_attempt(self, bench: ExecutorBench) -> None:
        """Attempts of one job are separate runs."""
        job, starts = bench.counting_job(SHORT_SCRIPT)
        executor = bench.open()
        for number in range(1, LATEST + 1):
            bench.wait_until_final(executor, executor.submit(job, number, INVOCATION))
        attempt = bench.open().find([job.key])[job.key]
        expect(attempt.number == LATEST, f"find() returned attempt {attempt.number} of {LATEST}")
        expect(count_starts(starts) == LATEST, f"{LATEST} attempts were started {count_starts(starts)} times")

    def test_secrets_reach_the_job_but_no_script(self, bench: ExecutorBench) -> None:
        """Values of `host:` variables come from the caller's environment; scripts contain names only."""
        value = 'it\'s a $ecret, "quoted"'
        bench.environ = {**bench.environ, "SUITE_SECRET": value}
        script = (
            'test "$GIVEN" = "$(printf "it%ss a %secret, %squoted%s" "\'" "$" "\\"" "\\"")" && test "$PLAIN" = "a b"'
        )
        job = bench.job(script, env={"GIVEN": "host:SUITE_SECRET", "PLAIN": "lit:a b"})
        executor = bench.open()
        scripts = executor.scripts(job, 1)
        expect(scripts, "scripts() returned nothing")
        expect(not any(value in text for text in scripts.values()), "scripts() contains the value of a secret")
        (status,) = bench.wait_until_final(executor, executor.submit(job, 1, INVOCATION))
        expect(status.state is JobState.SUCCEEDED, f"the job did not receive its variables: {status}")

    def test_submit_refuses_a_job_whose_secret_is_not_set(self, bench: ExecutorBench) -> None:
        """Nothing is started, and `find` does not return the job."""
        job, starts = bench.counting_job("true", env={"GIVEN": "host:SUITE_NO_SUCH_VARIABLE"})
        executor = bench.open()
        with expect_error(NelActionError, "submit() accepted a job whose secret is not set"):
            executor.submit(job, 1, INVOCATION)
        expect(not starts.exists(), "a refused job was started")
        expect(not executor.find([job.key]), "find() returned a refused job")


def _same(left: Attempt, right: Attempt) -> bool:
    return (left.key, left.number, left.backend_id) == (right.key, right.number, right.backend_id)


def _submit_with_retries(executor: Executor, job: Job) -> Attempt:
    """Submit as the lifecycle does: after a refusal or a lost response, look the job up."""
    for _ in range(5):
        try:
            return executor.submit(job, 1, INVOCATION)
        except (ExecutorError, UnreachableError):
            if attempts := executor.find([job.key]):
                return attempts[job.key]
    return executor.submit(job, 1, INVOCATION)
