"""Intent, look up, submit, record: so that no job is run twice and none is lost, whatever dies in between."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from nel_action.errors import ExecutorError
from nel_action.executors.interface import find_attempts, poll_attempts
from nel_action.ledger import AttemptRow, now
from nel_action.lifecycle.session import Session
from nel_action.model.job import Attempt, JobState, JobStatus, Reason
from nel_action.planning.jobs import Job

__all__ = ["recover", "resume", "submit"]

RETRIED = {JobState.FAILED, JobState.CANCELLED}

REFUSED = "refused"
"""What stands for a backend's id where the backend would not have the job."""


def submit(session: Session) -> None:
    """Place every job that has no recorded attempt yet. Safe to call again after anything.

    A job that the backend already has under its key is taken over: while it runs, and when it has succeeded
    and its model is pinned. One that has failed there gets a new attempt.

    A job that the backend refuses has failed, with reason `rejected`; the others are placed all the same.

    Raises:
        UnreachableError: the backend did not answer; what was submitted is found again next time.
    """
    attempts = session.attempts()
    open_jobs = [job for job in session.invocation.plan.jobs if not _recorded(attempts.get(job.index))]
    _place(session, open_jobs, attempts)


def resume(session: Session) -> list[Job]:
    """Place again what did not succeed; return those jobs. What runs or succeeded is left alone.

    Raises:
        UnreachableError: the backend did not answer.
    """
    attempts = session.attempts()
    jobs = [job for job in session.invocation.plan.jobs if _unfinished(attempts.get(job.index))]
    _place(session, jobs, attempts)
    return jobs


def recover(session: Session) -> None:
    """Record attempts that were submitted and whose answer was lost; an intent without an attempt stays as it is.

    Raises:
        UnreachableError: the backend did not answer.
    """
    attempts = session.attempts()
    jobs = {job.key: attempts[job.index] for job in session.invocation.plan.jobs if job.index in attempts}
    lost = {key: row for key, row in jobs.items() if not _recorded(row)}
    for key, there in (find_attempts(session.executor, list(lost)) if lost else {}).items():
        if _answer_lost(lost[key], there):
            _record(session, lost[key], there, None)


def _recorded(row: AttemptRow | None) -> bool:
    return row is not None and row.backend_id is not None


def _unfinished(row: AttemptRow | None) -> bool:
    return row is None or row.backend_id is None or row.state in RETRIED


def _place(session: Session, jobs: Iterable[Job], attempts: Mapping[int, AttemptRow]) -> None:
    """Look all keys up in one go, then submit what is not there, each with its intent written first."""
    wanted = list(jobs)
    if not wanted:
        return
    found = find_attempts(session.executor, [job.key for job in wanted])
    statuses = poll_attempts(session.executor, list(found.values())) if found else {}
    for job in wanted:
        there = found.get(job.key)
        row = attempts.get(job.index)
        if there is not None and _take_over(job, row, there, statuses[job.key]):
            taken = _row(session, job, there.number, reused=row is None or row.number != there.number)
            session.ledger.intend([taken])
            _record(session, taken, there, statuses[job.key])
            continue
        fresh = _row(session, job, _number(row, there), reused=False)
        session.ledger.intend([fresh])
        _submit(session, job, fresh)
    session.save()


def _submit(session: Session, job: Job, row: AttemptRow) -> None:
    """Submit one job whose intent has been written; a refusal is that job's end, not the others'."""
    try:
        attempt = session.executor.submit(job, row.number, session.invocation.id)
    except ExecutorError as error:
        attempt = Attempt(key=job.key, number=row.number, backend_id=REFUSED)
        refused = JobStatus(state=JobState.FAILED, reason=Reason.REJECTED, detail=error.problems[0].message)
        _record(session, row, attempt, refused)
    else:
        _record(session, row, attempt, None)


def _answer_lost(row: AttemptRow, there: Attempt) -> bool:
    """Tell whether the attempt that the backend has is an intent of ours whose answer never came."""
    return row.backend_id is None and row.number == there.number


def _take_over(job: Job, row: AttemptRow | None, there: Attempt, status: JobStatus) -> bool:
    """Tell whether the attempt that the backend has is the one that this invocation wants."""
    if row is not None and _answer_lost(row, there):
        return True
    if not status.state.final:
        return row is None or there.number > row.number or row.state not in RETRIED
    return status.state is JobState.SUCCEEDED and (job.pinned or (row is not None and there.number > row.number))


def _number(row: AttemptRow | None, there: Attempt | None) -> int:
    """Return the number of the next attempt: an intent's own, else one more than any that is known."""
    if row is not None and row.backend_id is None and (there is None or there.number < row.number):
        return row.number
    return max(row.number if row else 0, there.number if there else 0) + 1


def _row(session: Session, job: Job, number: int, *, reused: bool) -> AttemptRow:
    return AttemptRow(
        invocation=session.invocation.id,
        job=job.index,
        number=number,
        name=job.name,
        key=job.key,
        intended=now(),
        reused=reused,
    )


def _record(session: Session, row: AttemptRow, attempt: Attempt, status: JobStatus | None) -> None:
    """Write down what the backend answered."""
    recorded = replace(row, backend_id=attempt.backend_id, recorded=now())
    session.ledger.record(recorded)
    if status is not None:
        session.observe(recorded, status)
