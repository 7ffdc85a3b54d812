"""Cancellation of jobs, verified on the backend."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import replace
from typing import Final

from nel_action.executors.interface import Releasing
from nel_action.ledger import now
from nel_action.lifecycle.session import JobView, Session
from nel_action.lifecycle.submit import recover
from nel_action.lifecycle.waiting import refresh
from nel_action.model.job import JobState, JobStatus

__all__ = ["DETACHED", "cancel"]

logger = logging.getLogger(__name__)

NEVER_SUBMITTED: Final = "none"
"""Placeholder backend ID of a deferred job that was cancelled."""

WITHDRAWN: Final = "cancelled before it was submitted"
"""Detail of such a job."""

DETACHED: Final = "detached; the job belongs to another invocation and runs on"
"""Detail of a job that this invocation had joined and no longer waits for."""


def cancel(session: Session, jobs: Collection[int] | None = None, *, shared: bool = False) -> list[JobView]:
    """Cancel jobs that are not final and wait until they have stopped.

    A submission whose answer was lost is looked up first; a job that the backend does not have stays pending. The jobs
    of other invocations that this one joined run on: this invocation detaches from them.

    Args:
        session: the invocation.
        jobs: indexes of the jobs to cancel; None for all.
        shared: also cancel the jobs of other invocations that this one joined.

    Returns:
        All jobs of the invocation, as observed afterwards.

    Raises:
        ExecutorError: some are still running; the message names them.
        UnreachableError: the backend did not answer.
    """
    recover(session)
    rows = [
        row
        for row in session.attempts().values()
        if row.backend_id and not row.state.final and (jobs is None or row.job in jobs)
    ]
    deferred = [
        row
        for row in session.attempts().values()
        if not row.submitted and row.detail and (jobs is None or row.job in jobs)
    ]
    for row in deferred:
        withdrawn = replace(row, backend_id=NEVER_SUBMITTED, recorded=now())
        session.ledger.record(withdrawn.updated(JobStatus(state=JobState.CANCELLED, detail=WITHDRAWN)))
    detached = [row for row in rows if row.reused and not shared]
    own = [row for row in rows if row not in detached]
    if own:
        logger.info("invocation %s: cancelling %d jobs", session.invocation.id, len(own))
        session.executor.cancel([row.backend_attempt for row in own])
    for row in detached:
        session.observe(row, JobStatus(state=JobState.CANCELLED, detail=DETACHED))
    if detached or deferred:
        session.save()
    complete = jobs is None or {job.index for job in session.invocation.plan.jobs} <= set(jobs)
    if complete and isinstance(session.executor, Releasing):
        # NOTE: the model server may exist before the first job does.
        session.executor.release(session.invocation.id)
    return refresh(session)
