"""An invocation together with its ledger and its executor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from nel_action.executors.gateway import with_stop_reason
from nel_action.executors.interface import Executor, ExecutorContext
from nel_action.executors.registry import open_executor
from nel_action.files import write_atomically
from nel_action.ledger import AttemptRow, Ledger
from nel_action.lifecycle.invocation import Invocation, create, open_invocation, write_record
from nel_action.lifecycle.prepare import Prepared
from nel_action.model.job import JobState, JobStatus, Key
from nel_action.model.task import Progress
from nel_action.planning.jobs import Job

__all__ = ["JobView", "Session", "create_session", "open_session", "write_scripts"]

_EXECUTABLE = 0o755


@dataclass(frozen=True, slots=True, kw_only=True)
class JobView:
    """A job with its latest attempt and the progress last observed."""

    job: Job
    attempt: AttemptRow | None
    """None if no attempt has been recorded."""
    progress: Progress | None = None

    @property
    def state(self) -> JobState:
        """State of the latest attempt; pending without one."""
        return self.attempt.state if self.attempt else JobState.PENDING

    @property
    def submitted(self) -> AttemptRow | None:
        """The latest attempt if the backend's answer to its submission has been recorded."""
        return self.attempt if self.attempt and self.attempt.submitted else None


@dataclass(frozen=True, slots=True)
class Session:
    """The argument of every step of the lifecycle."""

    invocation: Invocation
    executor: Executor
    ledger: Ledger
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Values of `host:` variables, which are redacted from collected files."""

    def attempts(self) -> dict[int, AttemptRow]:
        """Return the latest attempt of each job, by the job's index."""
        return {row.job: row for row in self.ledger.attempts(self.invocation.id)}

    def views(self, statuses: Mapping[Key, JobStatus] | None = None) -> list[JobView]:
        """Return all jobs of the plan as recorded, with the progress in `statuses`."""
        attempts = self.attempts()
        observed = statuses or {}
        return [
            JobView(
                job=job,
                attempt=attempts.get(job.index),
                progress=observed[job.key].progress if job.key in observed else None,
            )
            for job in self.invocation.plan.jobs
        ]

    def observe(self, row: AttemptRow, status: JobStatus) -> None:
        """Record a newly observed status if it differs from the recorded one."""
        updated = row.updated(with_stop_reason(status, self.invocation.plan.jobs[row.job]))
        if updated != row:
            self.ledger.record(updated)

    def save(self) -> None:
        """Write the attempts to `invocation.json`."""
        write_record(self.invocation, self.ledger.attempts(self.invocation.id))


def create_session(prepared: Prepared, ledger: Ledger) -> Session:
    """Create the run directory and the ledger entry of a new invocation; nothing is submitted yet."""
    loaded = prepared.loaded
    invocation = create(
        prepared.plan, source=loaded.source, base_dir=loaded.base_dir, resolved=loaded.resolved, digest=loaded.digest
    )
    ledger.add(invocation.row())
    return Session(invocation, prepared.executor, ledger, prepared.environ)


@contextmanager
def open_session(reference: str, *, home: Path, environ: Mapping[str, str]) -> Iterator[Session]:
    """Open an existing invocation; on exit close its executor and its ledger, never its jobs.

    Args:
        reference: the beginning of its ID, or the path of its run directory.
        home: `$NEL_ACTION_HOME`.
        environ: source of the values of `host:` variables.

    Raises:
        NotFoundError: there is no such invocation.
        ResultsError: its run directory is incomplete.
    """
    with Ledger(home) as ledger:
        invocation = open_invocation(reference, ledger)
        context = ExecutorContext(home=home, environ=environ, base_dir=invocation.base_dir)
        executor = open_executor(invocation.plan.spec.execution, context)
        try:
            yield Session(invocation, executor, ledger, environ)
        finally:
            executor.close()


def write_scripts(session: Session) -> None:
    """Write the scripts that a person can run by hand: each job's to its directory, the plan's to the run directory."""
    invocation = session.invocation
    for job in invocation.plan.jobs:
        for name, text in session.executor.scripts(job, 1).items():
            write_atomically(invocation.job_dir(job) / name, text.encode(), mode=_EXECUTABLE)
    for name, text in session.executor.plan_scripts(invocation.plan).items():
        write_atomically(invocation.run_dir / name, text.encode(), mode=_EXECUTABLE)
