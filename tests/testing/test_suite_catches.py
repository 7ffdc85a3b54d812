"""The suite on executors that are wrong in one point each: it finds every one of them."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.local_jobs import end_agents

from nel_action.executors.interface import Executor, ExecutorContext
from nel_action.executors.local.executor import LocalExecutor
from nel_action.model.job import Attempt, JobState, JobStatus, Key
from nel_action.planning.jobs import Job
from nel_action.spec.execution import ExecutionBase, LocalExecution
from nel_action.testing.executor_suite import ExecutorBench, ExecutorSuite

numbers = itertools.count(100)


class RunsTwice(LocalExecutor):
    def submit(self, job: Job, number: int, invocation: str) -> Attempt:
        return replace(super().submit(job, next(numbers), invocation), number=number)


class Forgets(LocalExecutor):
    def find(self, keys: Sequence[Key]) -> Mapping[Key, Attempt]:  # noqa: ARG002
        return {}


class FindsTheFirst(LocalExecutor):
    def find(self, keys: Sequence[Key]) -> Mapping[Key, Attempt]:
        return {key: replace(attempt, number=1) for key, attempt in super().find(keys).items()}


class TakesUnseenForFailed(LocalExecutor):
    def poll(self, attempts: Sequence[Attempt]) -> Mapping[Key, JobStatus]:
        failed = JobStatus(state=JobState.FAILED)
        seen = super().poll(attempts)
        return {key: failed if status.state is JobState.UNKNOWN else status for key, status in seen.items()}


class LeavesOut(LocalExecutor):
    def poll(self, attempts: Sequence[Attempt]) -> Mapping[Key, JobStatus]:
        return {key: status for key, status in super().poll(attempts).items() if status.state is not JobState.UNKNOWN}


class LosesExitCodes(LocalExecutor):
    def poll(self, attempts: Sequence[Attempt]) -> Mapping[Key, JobStatus]:
        return {key: replace(status, exit_code=None) for key, status in super().poll(attempts).items()}


class HopesItEnded(LocalExecutor):
    def cancel(self, attempts: Sequence[Attempt]) -> None:
        """Say nothing, do nothing."""


class LosesAFile(LocalExecutor):
    def collect(self, attempt: Attempt, into: Path) -> None:
        super().collect(attempt, into)
        (into / "artifacts" / "empty").unlink()


class CutsLogs(LocalExecutor):
    def logs(self, attempt: Attempt, *, follow: bool) -> Iterator[str]:
        yield from itertools.islice(super().logs(attempt, follow=follow), 400)


class ShowsSecrets(LocalExecutor):
    def scripts(self, job: Job, number: int) -> Mapping[str, str]:
        return {"run.sh": f"{super().scripts(job, number)} {self._workspace.environ['SUITE_SECRET']}"}


class ClosesOnce(LocalExecutor):
    def close(self) -> None:
        del self._store


WRONG: list[tuple[type[LocalExecutor], Callable[[ExecutorSuite, ExecutorBench], None]]] = [
    (RunsTwice, ExecutorSuite.test_submitting_again_returns_what_is_there),
    (Forgets, ExecutorSuite.test_another_machine_finds_what_was_submitted),
    (FindsTheFirst, ExecutorSuite.test_the_newest_attempt_is_found),
    (TakesUnseenForFailed, ExecutorSuite.test_nothing_is_left_out),
    (LeavesOut, ExecutorSuite.test_nothing_is_left_out),
    (LosesExitCodes, ExecutorSuite.test_a_failure_has_its_reason_and_exit_code),
    (HopesItEnded, ExecutorSuite.test_cancel_returns_when_nothing_runs_any_more),
    (LosesAFile, ExecutorSuite.test_everything_is_brought_home),
    (CutsLogs, ExecutorSuite.test_logs_are_whole_and_in_order),
    (ShowsSecrets, ExecutorSuite.test_a_secret_reaches_the_job_and_nothing_else),
    (ClosesOnce, ExecutorSuite.test_jobs_outlive_the_executor),
]


@pytest.mark.parametrize(("executor", "test"), WRONG, ids=[wrong.__name__ for wrong, _ in WRONG])
def test_it_finds_what_is_wrong(
    executor: type[LocalExecutor], test: Callable[[ExecutorSuite, ExecutorBench], None], tmp_path: Path
) -> None:
    def opener(settings: ExecutionBase, workspace: ExecutorContext) -> Executor:
        assert isinstance(settings, LocalExecution)
        return executor(settings, workspace)

    bench = ExecutorBench(
        execution={"type": "local", "runtime": "process"},
        home=tmp_path / "home",
        scratch=tmp_path,
        environ=dict(os.environ),
        opener=opener,
        patience=5,
    )
    try:
        with pytest.raises((AssertionError, AttributeError)) as told:
            test(ExecutorSuite(), bench)
        assert executor is ClosesOnce or isinstance(told.value, AssertionError)
    finally:
        end_agents(tmp_path / "home")
