"""Finding and submitting: nothing is lost, nothing runs twice."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

from nel_action.errors import ExecutorError, UnreachableError
from nel_action.executors.interface import Executor
from nel_action.model.job import Attempt, JobState
from nel_action.planning.jobs import Job
from nel_action.testing.expect import expect
from nel_action.testing.harness import INVOCATION, ExecutorBench

__all__ = ["PlacingTests"]

QUICK = 'echo evaluated; echo "{}" > "$NEL_OUTPUT_DIR/scores.json"'


def begun(file: Path) -> int:
    """Return how often a counted job began."""
    return len(file.read_text().splitlines()) if file.exists() else 0


class PlacingTests:
    """Tests of `check`, `find`, `submit` and `scripts`."""

    def test_a_plan_that_can_run_has_no_problems(self, bench: ExecutorBench) -> None:
        """`check` is silent about a plan that the other tests then run."""
        problems = bench.open().check(bench.plan(bench.job(QUICK)))
        expect(not problems, f"check() told of problems with a plan that can run: {problems}")

    def test_nothing_is_found_before_it_is_submitted(self, bench: ExecutorBench) -> None:
        """An unknown key is left out, which is not an error."""
        executor = bench.open()
        expect(dict(executor.find([])) == {}, "find([]) is not empty")
        found = executor.find([bench.job(QUICK).key])
        expect(dict(found) == {}, f"find() returned what nobody submitted: {found}")

    def test_another_machine_finds_what_was_submitted(self, bench: ExecutorBench) -> None:
        """The key is all that is needed: while the job runs, and after it."""
        job, other = bench.job(QUICK), bench.job(QUICK)
        attempt = bench.open().submit(job, 1, INVOCATION)
        expect((attempt.key, attempt.number) == (job.key, 1), f"submit() returned another attempt: {attempt}")
        for moment in ("while it is there", "after it has ended"):
            elsewhere = bench.open()
            found = elsewhere.find([other.key, job.key])
            expect(list(found) == [job.key], f"find() {moment} returned {found}")
            expect(_same(found[job.key], attempt), f"{found[job.key]} was found {moment}, {attempt} was submitted")
            bench.until_final(elsewhere, found[job.key])

    def test_submitting_again_returns_what_is_there(self, bench: ExecutorBench) -> None:
        """`submit` may be called again by anybody, at any time: the attempt runs once."""
        job, began = bench.counted(QUICK)
        first = bench.open().submit(job, 1, INVOCATION)
        again = bench.open().submit(job, 1, "fedcba9876543210")
        expect(_same(again, first), f"the second submit() returned {again}, the first {first}")
        bench.until_final(bench.open(), first)
        late = bench.open().submit(job, 1, INVOCATION)
        expect(_same(late, first), f"submit() after the end returned {late}, before it {first}")
        expect(begun(began) == 1, f"one attempt began {begun(began)} times")

    def test_many_callers_at_once_start_one_job(self, bench: ExecutorBench) -> None:
        """Re-run workflows meet: the backend, not luck, decides who is first."""
        job, began = bench.counted(QUICK)
        with bench.queueing() if bench.queueing else nullcontext(), ThreadPoolExecutor(4) as pool:
            attempts = list(pool.map(lambda _: _persist(bench.open(), job), range(4)))
        expect(len({a.backend_id for a in attempts}) == 1, f"four callers got different jobs: {attempts}")
        (status,) = bench.until_final(bench.open(), attempts[0])
        expect(status.state is JobState.SUCCEEDED, f"the job of four callers ended so: {status}")
        expect(begun(began) == 1, f"four callers started {begun(began)} jobs")

    def test_the_newest_attempt_is_found(self, bench: ExecutorBench) -> None:
        """Attempts of one job are different runs; `find` returns the last."""
        job, began = bench.counted(QUICK)
        executor = bench.open()
        for number in (1, 2):
            bench.until_final(executor, executor.submit(job, number, INVOCATION))
        found = bench.open().find([job.key])[job.key]
        expect(found.number == 2, f"find() returned attempt {found.number} of 2")  # noqa: PLR2004
        expect(begun(began) == found.number, f"two attempts began {begun(began)} times")

    def test_a_secret_reaches_the_job_and_nothing_else(self, bench: ExecutorBench) -> None:
        """`host:` values come from the caller's environment; names alone stand in what people may read."""
        value = 'it\'s a $ecret, "quoted"'
        bench.environ = {**bench.environ, "SUITE_SECRET": value}
        script = (
            'test "$GIVEN" = "$(printf "it%ss a %secret, %squoted%s" "\'" "$" "\\"" "\\"")" && test "$PLAIN" = "a b"'
        )
        job = bench.job(script, env={"GIVEN": "host:SUITE_SECRET", "PLAIN": "lit:a b"})
        executor = bench.open()
        texts = executor.scripts(job, 1)
        expect(texts, "scripts() returned nothing for a job")
        expect(not any(value in text for text in texts.values()), "scripts() shows a secret")
        (status,) = bench.until_final(executor, executor.submit(job, 1, INVOCATION))
        expect(status.state is JobState.SUCCEEDED, f"the job did not find its variables: {status}")


def _same(one: Attempt, other: Attempt) -> bool:
    return (one.key, one.number, one.backend_id) == (other.key, other.number, other.backend_id)


def _persist(executor: Executor, job: Job) -> Attempt:
    """Submit as the lifecycle does: a refusal or a lost answer is followed by another look."""
    for _ in range(5):
        try:
            return executor.submit(job, 1, INVOCATION)
        except (ExecutorError, UnreachableError):
            if found := executor.find([job.key]):
                return found[job.key]
    return executor.submit(job, 1, INVOCATION)
