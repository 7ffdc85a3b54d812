"""Submission that neither repeats nor loses a job: write the intent, look the key up, submit, record the answer."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from nel_action.errors import ExecutorError, QueueFullError, UnreachableError
from nel_action.executors.interface import BatchSubmitting, find_attempts, poll_attempts
from nel_action.ledger import AttemptRow, now
from nel_action.lifecycle.measured import unmeasured_jobs
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
    deferred: tuple[AttemptRow, ...] = ()
    """Attempts that are submitted once others have finished; their details contain the reason."""


def submit(session: Session) -> Submission:
    """Submit every job that has no recorded attempt; safe to call again after any interruption.

    A job that the backend has under its key is joined while it is active or if it succeeded, in both cases only if its
    model is pinned: two unknown models are not known to be equal. If it failed there, a new attempt is submitted. A
    job that the backend rejects is failed with reason `rejected`; the others are submitted all the same. Jobs beyond
    `execution.parallelism`, and those that the backend cannot accept now, are left for a later call.

    Raises:
        UnreachableError: the backend did not answer; the next call finds what was submitted.
    """
    attempts = session.attempts()
    jobs = [job for job in session.invocation.plan.jobs if not _submitted(attempts.get(job.index))]
    return _place(session, jobs, attempts)


def resume(session: Session) -> Submission:
    """Submit a new attempt of every job that failed, was cancelled, or has a result that is not a measurement.

    Raises:
        UnreachableError: the backend did not answer; the next call finds what was submitted.
    """
    attempts = session.attempts()
    unmeasured = unmeasured_jobs(session)
    again = {index for index in unmeasured if index in attempts and attempts[index].state is JobState.SUCCEEDED}
    jobs = [job for job in session.invocation.plan.jobs if job.index in again or _unfinished(attempts.get(job.index))]
    return _place(session, jobs, attempts, again)


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


def _place(
    session: Session, jobs: list[Job], attempts: Mapping[int, AttemptRow], again: Collection[int] = ()
) -> Submission:
    """Look all keys up in one round trip, then submit the missing ones, each after its intent has been written.

    Args:
        session: the invocation.
        jobs: the jobs to submit or join.
        attempts: the recorded attempts by index of the job.
        again: indexes of jobs whose recorded attempt succeeded and is not joined.
    """
    if not jobs:
        return Submission()
    existing_attempts = find_attempts(session.executor, [job.key for job in jobs])
    statuses = poll_attempts(session.executor, list(existing_attempts.values())) if existing_attempts else {}
    joined: list[AttemptRow] = []
    new: list[tuple[Job, int]] = []
    for job in jobs:
        existing = existing_attempts.get(job.key)
        row = attempts.get(job.index)
        useless = job.index in again and row is not None and existing is not None and existing.number <= row.number
        if existing is not None and not useless and _joinable(job, row, existing, statuses[job.key]):
            reused = row is None or row.reused or row.number != existing.number
            if row is not None and row.reused and row.state.final:
                session.ledger.forget(row)
            intent = _intent(session, job, existing.number, reused=reused)
            session.ledger.intend([intent])
            recorded = _record(session, intent, existing, statuses[job.key])
            joined += [recorded] if reused else []
        else:
            new.append((job, _next_number(row, existing)))
    try:
        outcomes = _submit_new(session, new)
    finally:
        session.save()
    rejected = tuple(row for row in outcomes if row.reason is Reason.REJECTED)
    deferred = tuple(row for row in outcomes if not row.submitted)
    counts = (len(jobs) - len(deferred), len(joined), len(rejected), len(deferred))
    logger.info(
        "invocation %s: %d jobs submitted, %d of them joined, %d rejected, %d deferred", session.invocation.id, *counts
    )
    return Submission(tuple(jobs), tuple(joined), rejected, deferred)


def _submit_new(session: Session, jobs: Sequence[tuple[Job, int]]) -> list[AttemptRow]:
    """Write the intents, submit, and record the answers.

    Returns:
        The recorded attempts; deferred ones have no answer.

    Raises:
        UnreachableError: some answers are missing; the others have been recorded.
    """
    executor, rows = session.executor, []
    intents = {job.index: _intent(session, job, number, reused=False) for job, number in jobs}
    if not isinstance(executor, BatchSubmitting):
        for job, number in jobs:
            session.ledger.intend([intents[job.index]])
            try:
                outcome: Attempt | ExecutorError = executor.submit(job, number, session.invocation.id)
            except ExecutorError as error:
                outcome = error
            rows.append(_record_outcome(session, intents[job.index], outcome))
        return rows
    session.ledger.intend(list(intents.values()))
    active = sum(row.submitted and not row.reused and not row.state.final for row in session.attempts().values())
    now_, later = jobs[: max(0, executor.parallelism - active)], jobs[max(0, executor.parallelism - active) :]
    outcomes = executor.submit_many(now_, session.invocation.id) if now_ else {}
    unreachable = None
    for job, _ in now_:
        outcome_ = outcomes[job.key]
        if isinstance(outcome_, UnreachableError):
            unreachable = outcome_
        else:
            rows.append(_record_outcome(session, intents[job.index], outcome_))
    if unreachable is not None:
        raise unreachable
    waits = f"waits until fewer than {executor.parallelism} jobs are in the queue (execution.parallelism)"
    return rows + [_defer(session, intents[job.index], waits) for job, _ in later]


def _record_outcome(session: Session, intent: AttemptRow, outcome: Attempt | ExecutorError) -> AttemptRow:
    """Record the answer to a submission; if the backend rejected a job, that job alone has failed."""
    if isinstance(outcome, QueueFullError):
        return _defer(session, intent, outcome.problems[0].message)
    if isinstance(outcome, Attempt):
        return _record(session, intent, outcome, None)
    attempt = Attempt(key=intent.key, number=intent.number, backend_id=_REJECTED_ID)
    status = JobStatus(state=JobState.FAILED, reason=Reason.REJECTED, detail=outcome.problems[0].text)
    return _record(session, intent, attempt, status)


def _defer(session: Session, intent: AttemptRow, cause: str) -> AttemptRow:
    """Record why an attempt has not been submitted yet."""
    row = replace(intent, detail=f"not submitted yet: {cause}")
    session.ledger.record(row)
    return row


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


def _intent(session: Session, job: Job, number: int, *, reused: bool) -> AttemptRow:
    """Return the intent to submit or to join an attempt."""
    return AttemptRow(
        invocation=session.invocation.id,
        job=job.index,
        number=number,
        name=job.name,
        key=job.key,
        intended=now(),
        reused=reused,
    )


def _record(session: Session, intent: AttemptRow, attempt: Attempt, status: JobStatus | None) -> AttemptRow:
    """Record the backend's answer, and the attempt's status if it is known."""
    row = replace(intent, backend_id=attempt.backend_id, recorded=now())
    session.ledger.record(row)
    if status is None:
        return row
    session.observe(row, status)
    return row.updated(status)
