"""Ending jobs, verified."""

from __future__ import annotations

from collections.abc import Collection

from nel_action.executors.interface import Releasing
from nel_action.lifecycle.session import JobView, Session
from nel_action.lifecycle.submit import recover
from nel_action.lifecycle.waiting import refresh

__all__ = ["cancel"]


def cancel(session: Session, jobs: Collection[int] | None = None) -> list[JobView]:
    """End every job that has not ended, or those of these indexes; return what is then seen.

    A job whose submitter died before the answer is looked up first; one that is not there then is still pending.

    Raises:
        ExecutorError: some still run, by name.
    """
    recover(session)
    rows = [
        row
        for row in session.attempts().values()
        if row.backend_id and not row.state.final and (jobs is None or row.job in jobs)
    ]
    if rows:
        session.executor.cancel([row.backend_attempt for row in rows])
    everything = jobs is None or {job.index for job in session.invocation.plan.jobs} <= set(jobs)
    if everything and isinstance(session.executor, Releasing):
        # NOTE: what serves the model may be there before the first job is.
        session.executor.release(session.invocation.id)
    return refresh(session)
