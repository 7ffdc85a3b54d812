"""An invocation with its ledger and its executor at hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nel_action.executors.interface import Executor, ExecutorContext
from nel_action.executors.registry import open_executor
from nel_action.ledger import AttemptRow, Ledger
from nel_action.lifecycle.invocation import Invocation, open_invocation, write_record
from nel_action.model.job import JobState, JobStatus, Key
from nel_action.model.task import Progress
from nel_action.planning.jobs import Job

__all__ = ["JobView", "Session", "open_session"]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobView:
    """One job as it was last seen."""

    job: Job
    attempt: AttemptRow | None
    """None before anything was submitted."""
    progress: Progress | None = None

    @property
    def state(self) -> JobState:
        """Where the job is."""
        return self.attempt.state if self.attempt else JobState.PENDING


@dataclass(frozen=True, slots=True)
class Session:
    """What every step of the lifecycle works with."""

    invocation: Invocation
    executor: Executor
    ledger: Ledger

    def attempts(self) -> dict[int, AttemptRow]:
        """Return the newest attempt of each job, by the job's index."""
        return {row.job: row for row in self.ledger.attempts(self.invocation.id)}

    def views(self, statuses: Mapping[Key, JobStatus] | None = None) -> list[JobView]:
        """Return every job with what is known of it."""
        attempts = self.attempts()
        seen = statuses or {}
        return [
            JobView(
                job=job,
                attempt=attempts.get(job.index),
                progress=seen[job.key].progress if job.key in seen else None,
            )
            for job in self.invocation.plan.jobs
        ]

    def observe(self, row: AttemptRow, status: JobStatus) -> None:
        """Record what was just seen of an attempt, if it is news."""
        fresh = row.updated(status)
        if fresh != row:
            self.ledger.record(fresh)

    def save(self) -> None:
        """Bring the run directory's own record up to date."""
        write_record(self.invocation, self.ledger.attempts(self.invocation.id))


@contextmanager
def open_session(prefix: str, *, home: Path, environ: Mapping[str, str]) -> Iterator[Session]:
    """Take up an invocation: by its id's beginning, or by its run directory.

    Raises:
        NotFoundError: there is none.
    """
    ledger = Ledger(home)
    try:
        invocation = open_invocation(prefix, ledger)
        workspace = ExecutorContext(home=home, environ=environ, base_dir=invocation.base_dir)
        executor = open_executor(invocation.plan.spec.execution, workspace)
        try:
            yield Session(invocation, executor, ledger)
        finally:
            executor.close()
    finally:
        ledger.close()
