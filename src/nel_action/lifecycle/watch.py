"""Waiting: a loop over one poll for all jobs, with backoff, a deadline and a clean way out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from threading import Event

from nel_action.executors.interface import JobState
from nel_action.lifecycle.session import JobView, Session, attempt_of

__all__ = ["finished", "refresh", "wait"]

BACKOFF = 1.5
"""How much longer each quiet look waits than the one before."""


def refresh(session: Session) -> list[JobView]:
    """Look once at everything that can still change, and record what was seen."""
    rows = [row for row in session.attempts().values() if row.backend_id and not JobState(row.state).final]
    if not rows:
        return session.views()
    statuses = session.executor.poll([attempt_of(row) for row in rows])
    before = session.attempts()
    for row in rows:
        session.observe(row, statuses[attempt_of(row).key])
    if session.attempts() != before:
        session.save()
    return session.views(statuses)


def finished(views: Sequence[JobView]) -> bool:
    """Tell whether no job can change any more."""
    return all(view.state.final for view in views)


def wait(
    session: Session,
    *,
    on_look: Callable[[Sequence[JobView]], None],
    stop: Event,
    deadline: float | None = None,
) -> list[JobView]:
    """Look until every job has ended, the deadline has come or somebody sets `stop`.

    Args:
        session: the invocation to wait for; any process may wait, as many as like.
        on_look: called after each look, with every job.
        stop: set by a signal handler; the jobs go on without whoever waits.
        deadline: on the monotonic clock, in seconds; None waits without end.

    Returns:
        The jobs as they were last seen; `finished` tells how the waiting ended.
    """
    first, longest = session.executor.poll_interval
    pause, known = first, None
    while True:
        views = refresh(session)
        on_look(views)
        if finished(views) or stop.is_set():
            return views
        seen = [(view.state, view.progress) for view in views]
        pause = first if seen != known else min(pause * BACKOFF, longest)
        known = seen
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            return views
        stop.wait(pause if left is None else min(pause, left))
