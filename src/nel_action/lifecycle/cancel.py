"""Cancellation of jobs, verified on the backend."""

from __future__ import annotations

import logging
from collections.abc import Collection

from nel_action.executors.interface import Releasing
from nel_action.lifecycle.session import JobView, Session
from nel_action.lifecycle.submit import recover
from nel_action.lifecycle.waiting import refresh

__all__ = ["cancel"]

logger = logging.getLogger(__name__)


def cancel(session: Session, jobs: Collection[int] | None = None) -> list[JobView]:
    """Cancel jobs that are not final and wait until they have stopped.

    A submission whose answer was lost is looked up first; a job that the backend does not have stays pending.

    Args:
        session: the invocation.
        jobs: indexes of the jobs to cancel; None for all.

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
    if rows:
        logger.info("invocation %s: cancelling %d jobs", session.invocation.id, len(rows))
        session.executor.cancel([row.backend_attempt for row in rows])
    complete = jobs is None or {job.index for job in session.invocation.plan.jobs} <= set(jobs)
    if complete and isinstance(session.executor, Releasing):
        # NOTE: the model server may exist before the first job does.
        session.executor.release(session.invocation.id)
    return refresh(session)
