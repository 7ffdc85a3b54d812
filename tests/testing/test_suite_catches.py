"""The conformance suite detects every executor that is wrong in one point."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.local_jobs import stop_supervisors

from nel_action.executors.interface import Executor, ExecutorContext
from nel_action.executors.local.executor import LocalExecutor
from nel_action.model.job import Attempt, JobState, JobStatus, Key
from nel_action.planning.jobs import Job
from nel_action.spec.execution import ExecutionBase, LocalExecution
from nel_action.testing.executor_suite import ExecutorBench, ExecutorSuite

pytestmark = pytest.mark.slow

numbers = itertools.count(100)


class StartsTwice(LocalExecutor):
    def submit(self, job: Job, number: int, invocation: str) -> Attempt:
        return replace(super().submit(job, next(numbers), invocation), number=number)


class FindsNothing(LocalExecutor):
    def find(self, keys: Sequence[Key]) -> Mapping[Key, Attempt]:  # noqa: ARG002
        return {}


class FindsTheFirstAttempt(LocalExecutor):
    def find(self, keys: Sequence[Key]) -> Mapping[Key, Attempt]:
        return {key: replace(attempt, number=1) for key, attempt in super().find(keys).items()}


class ReportsMissingAsFailed(LocalExecutor):
    def poll(self, attempts: Sequence[Attempt]) -> Mapping[Key, JobStatus]:
        failed = JobStatus(state=JobState.FAILED)
        statuses = super().poll(attempts)
        return {key: failed if status.state is JobState.UNKNOWN else status for key, status in statuses.items()}


class OmitsMissing(LocalExecutor):
    def poll(self, attempts: Sequence[Attempt]) -> Mapping[Key, JobStatus]:
        return {key: status for key, status in super().poll(attempts).items() if status.state is not JobState.UNKNOWN}


class LosesExitCodes(LocalExecutor):
    def poll(self, attempts: Sequence[Attempt]) -> Mapping[Key, JobStatus]:
        return {key: replace(status, exit_code=None) for key, status in super().poll(attempts).items()}


class CancelsNothing(LocalExecutor):
    def cancel(self, attempts: Sequence[Attempt]) -> None:
        """Do nothing."""


class LosesAFile(LocalExecutor):
    def collect(self, attempt: Attempt, into: Path) -> None:
        super().collect(attempt, into)
        (into / "artifacts" / "empty").unlink()


class TruncatesLogs(LocalExecutor):
    def logs(self, attempt: Attempt, *, follow: bool) -> Iterator[str]:
        yield from itertools.islice(super().logs(attempt, follow=follow), 400)


class ShowsSecrets(LocalExecutor):
    def scripts(self, job: Job, number: int) -> Mapping[str, str]:
        return {"run.sh": f"{super().scripts(job, number)} {self._context.environ['SUITE_SECRET']}"}


class ClosesOnce(LocalExecutor):
    def close(self) -> None:
        del self._store


class SweepsRunningJobs(LocalExecutor):
    def sweep(self, keys: Sequence[Key]) -> None:  # noqa: ARG002
        self.cancel([attempt.attempt() for attempt in self._store.all()])


class ReconcilesFinishedJobsOnly(LocalExecutor):
    def reconcile(self, attempts: Sequence[Attempt], statuses: Mapping[Key, JobStatus]) -> Mapping[Key, JobStatus]:
        reconciled = super().reconcile(attempts, statuses)
        return {key: status for key, status in reconciled.items() if status.state.final}


FAULTY: list[tuple[type[LocalExecutor], Callable[[ExecutorSuite, ExecutorBench], None]]] = [
    (StartsTwice, ExecutorSuite.test_submit_returns_an_existing_attempt),
    (FindsNothing, ExecutorSuite.test_another_executor_finds_a_submitted_job),
    (FindsTheFirstAttempt, ExecutorSuite.test_find_returns_the_latest_attempt),
    (ReportsMissingAsFailed, ExecutorSuite.test_poll_reports_a_missing_job_as_unknown),
    (OmitsMissing, ExecutorSuite.test_poll_reports_a_missing_job_as_unknown),
    (LosesExitCodes, ExecutorSuite.test_poll_reports_reason_and_exit_code_of_a_failure),
    (CancelsNothing, ExecutorSuite.test_cancel_returns_after_the_processes_have_stopped),
    (LosesAFile, ExecutorSuite.test_collect_returns_all_files_unchanged),
    (TruncatesLogs, ExecutorSuite.test_logs_are_complete_and_in_order),
    (ShowsSecrets, ExecutorSuite.test_secrets_reach_the_job_but_no_script),
    (ClosesOnce, ExecutorSuite.test_close_does_not_stop_jobs),
    (SweepsRunningJobs, ExecutorSuite.test_sweep_keeps_active_and_requested_jobs),
    (ReconcilesFinishedJobsOnly, ExecutorSuite.test_reconcile_returns_a_status_for_every_attempt),
]


@pytest.mark.parametrize(("executor", "test"), FAULTY, ids=[executor.__name__ for executor, _ in FAULTY])
def test_suite_detects_a_faulty_executor(
    executor: type[LocalExecutor], test: Callable[[ExecutorSuite, ExecutorBench], None], tmp_path: Path
) -> None:
    def factory(settings: ExecutionBase, context: ExecutorContext) -> Executor:
        assert isinstance(settings, LocalExecution)
        return executor(settings, context)

    bench = ExecutorBench(
        execution={"type": "local", "runtime": "process"},
        home=tmp_path / "home",
        scratch=tmp_path,
        environ=dict(os.environ),
        factory=factory,
        timeout=5,
    )
    try:
        with pytest.raises((AssertionError, AttributeError)) as raised:
            test(ExecutorSuite(), bench)
        assert executor is ClosesOnce or isinstance(raised.value, AssertionError)
    finally:
        stop_supervisors(tmp_path / "home")
