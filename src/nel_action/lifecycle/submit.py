"""Submission that neither repeats nor loses a job: write the intent, look the key up, submit, record the answer."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from nel_action.errors import ExecutorError
from nel_action.executors.interface import find_attempts, poll_attempts
from nel_action.ledger import AttemptRow, now
from nel_action.lifecycle.session import Session
from nel_action.model.job import Attempt, JobState, JobStatus, Reason
from nel_action.planning.jobs import Job

__all__ = ["Submission", "recover", "resume", "submit"]

logger = logging.getLogger(__name__)

_RETRIED: Final = {JobState.FAILED, JobState.CANCELLED}

_REJECTED_ID: Final = "refused"
"""Placeholder backend ID of an attempt that the backend rejected."""


@dataclass(frozen=True, slots=True)
class Submission:
    """The result of submitting jobs."""

    jobs: tuple[Job, ...] = ()
    """All jobs that were submitted, joined or rejected."""
    joined: tuple[AttemptRow, ...] = ()
    """Attempts of other invocations that take the place of new ones."""
    rejected: tuple[AttemptRow, ...] = ()
    """Attempts that the backend rejected."""


def submit(session: Session) -> Submission:
    """Submit every job that has no recorded attempt; safe to call again after any interruption.

    A job that the backend has under its key is joined while it is active or if it succeeded, in both cases only if its
    model is pinned: two unknown models are not known to be equal. If it failed there, a new attempt is submitted. A
    job that the backend rejects is failed with reason `rejected`; the others are submitted all the same.

    Raises:
        UnreachableError: the backend did not answer; the next call finds what was submitted.
    """
    attempts = session.attempts()
    jobs = [job for job in session.invocation.plan.jobs if not _submitted(attempts.get(job.index))]
    return _place(session, jobs, attempts)


def resume(session: Session) -> Submission:
    """Submit a new attempt of every failed or cancelled job; active and succeeded jobs are left alone.

    Raises:
        UnreachableError: the backend did not answer; the next call finds what was submitted.
    """
    attempts = session.attempts()
    jobs = [job for job in session.invocation.plan.jobs if _unfinished(attempts.get(job.index))]
    return _place(session, jobs, attempts)


def recover(session: Session) -> None:
    """Record attempts whose submission succeeded but whose answer was lost; submit nothing.

    Raises:
        UnreachableError: the backend did not answer.
    """
    attempts = session.attempts()
    rows = {job.key: attempts[job.index] for job in session.invocation.plan.jobs if job.index in attempts}
    lost = {key: row for key, row in rows.items() if not row.submitted}
    for key, attempt in (find_attempts(session.executor, list(lost)) if lost else {}).items():
        if _answer_lost(lost[key], attempt):
            _record(session, lost[key], attempt, None)


def _submitted(row: AttemptRow | None) -> bool:
    return row is not None and row.submitted


def _unfinished(row: AttemptRow | None) -> bool:
    return row is None or not row.submitted or row.state in _RETRIED


def _place(session: Session, jobs: list[Job], attempts: Mapping[int, AttemptRow]) -> Submission:
    """Look all keys up in one round trip, then submit the missing ones, each after its intent has been written."""
    if not jobs:
        return Submission()
    existing_attempts = find_attempts(session.executor, [job.key for job in jobs])
    statuses = poll_attempts(session.executor, list(existing_attempts.values())) if existing_attempts else {}
    joined: list[AttemptRow] = []
    rejected: list[AttemptRow] = []
    for job in jobs:
        existing = existing_attempts.get(job.key)
        row = attempts.get(job.index)
        if existing is not None and _joinable(job, row, existing, statuses[job.key]):
            reused = row is None or row.reused or row.number != existing.number
            if row is not None and row.reused and row.state.final:
                session.ledger.forget(row)
            intent = _intend(session, job, existing.number, reused=reused)
            recorded = _record(session, intent, existing, statuses[job.key])
            joined += [recorded] if reused else []
            continue
        intent = _intend(session, job, _next_number(row, existing), reused=False)
        recorded = _submit(session, job, intent)
        rejected += [recorded] if recorded.reason is Reason.REJECTED else []
    session.save()
    counts = (len(jobs), len(joined), len(rejected))
    logger.info("invocation %s: %d jobs submitted, %d of them joined, %d rejected", session.invocation.id, *counts)
    return Submission(tuple(jobs), tuple(joined), tuple(rejected))


def _submit(session: Session, job: Job, intent: AttemptRow) -> AttemptRow:
    """Submit one job; if the backend rejects it, that job alone has failed."""
    try:
        attempt = session.executor.submit(job, intent.number, session.invocation.id)
    except ExecutorError as error:
        attempt = Attempt(key=job.key, number=intent.number, backend_id=_REJECTED_ID)
        status = JobStatus(state=JobState.FAILED, reason=Reason.REJECTED, detail=error.problems[0].message)
        return _record(session, intent, attempt, status)
    return _record(session, intent, attempt, None)


def _answer_lost(row: AttemptRow, attempt: Attempt) -> bool:
    """Return whether the attempt on the backend belongs to this intent, whose answer was never recorded."""
    return not row.submitted and row.number == attempt.number


def _joinable(job: Job, row: AttemptRow | None, existing: Attempt, status: JobStatus) -> bool:
    """Return whether the attempt on the backend serves this invocation, so that no new one is needed."""
    if row is not None and _answer_lost(row, existing):
        return True
    if row is None and not job.pinned:
        return False
    if not status.state.final:
        # NOTE: a joined attempt is final for this invocation if it detached, while the other's attempt runs on.
        return row is None or row.reused or existing.number > row.number or row.state not in _RETRIED
    return status.state is JobState.SUCCEEDED and (job.pinned or (row is not None and existing.number > row.number))


def _next_number(row: AttemptRow | None, existing: Attempt | None) -> int:
    """Return the number of an open intent, else one more than the highest known number."""
    if row is not None and not row.submitted and (existing is None or existing.number < row.number):
        return row.number
    return max(row.number if row else 0, existing.number if existing else 0) + 1


def _intend(session: Session, job: Job, number: int, *, reused: bool) -> AttemptRow:
    """Write the intent to submit or to join an attempt."""
    intent = AttemptRow(
        invocation=session.invocation.id,
        job=job.index,
        number=number,
        name=job.name,
        key=job.key,
        intended=now(),
        reused=reused,
    )
    session.ledger.intend([intent])
    return intent


def _record(session: Session, intent: AttemptRow, attempt: Attempt, status: JobStatus | None) -> AttemptRow:
    """Record the backend's answer, and the attempt's status if it is known."""
    row = replace(intent, backend_id=attempt.backend_id, recorded=now())
    session.ledger.record(row)
    if status is None:
        return row
    session.observe(row, status)
    return row.updated(status)
