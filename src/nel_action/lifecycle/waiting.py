"""Waiting: a loop over one poll for all jobs, with backoff, a deadline and a clean way out."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from threading import Event

from nel_action.executors.interface import Pooling, poll_attempts
from nel_action.ledger import AttemptRow
from nel_action.lifecycle.session import JobView, Session
from nel_action.model.job import Attempt, JobStatus, Key, attempt_name

__all__ = ["finished", "refresh", "refresh_all", "wait"]

BACKOFF = 1.5
"""How much longer each quiet look waits than the one before."""


def refresh(session: Session) -> list[JobView]:
    """Look once at everything that can still change, and record what was seen."""
    rows = _open_rows(session)
    return _note(session, rows, poll_attempts(session.executor, [row.backend_attempt for row in rows]) if rows else {})


def refresh_all(sessions: Sequence[Session]) -> list[list[JobView]]:
    """Look once at several invocations; those on the same backend in the same look."""
    groups: dict[str, list[int]] = {}
    for index, session in enumerate(sessions):
        executor = session.executor
        groups.setdefault(executor.poll_group if isinstance(executor, Pooling) else str(index), []).append(index)
    found: dict[int, list[JobView]] = {}
    for members in groups.values():
        open_rows = {index: _open_rows(sessions[index]) for index in members}
        seen = _look(sessions, open_rows)
        for index, rows in open_rows.items():
            statuses = {attempt.key: seen[_name(attempt)] for attempt in (row.backend_attempt for row in rows)}
            found[index] = _note(sessions[index], rows, statuses)
    return [found[index] for index in range(len(sessions))]


def _name(attempt: Attempt) -> str:
    return attempt_name(attempt.key, attempt.number)


def _look(sessions: Sequence[Session], open_rows: Mapping[int, Sequence[AttemptRow]]) -> dict[str, JobStatus]:
    """Let the first session's executor look at the attempts of all; at most one of each key at a time."""
    leader = sessions[next(iter(open_rows))].executor
    wanted: dict[str, Attempt] = {}
    for index, rows in open_rows.items():
        attempts = [row.backend_attempt for row in rows]
        wanted |= {_name(attempt): attempt for attempt in attempts}
        if isinstance(leader, Pooling):
            leader.adopt(sessions[index].executor, attempts)
    seen: dict[str, JobStatus] = {}
    while left := [attempt for name, attempt in wanted.items() if name not in seen]:
        batch = {attempt.key: attempt for attempt in left}
        statuses = poll_attempts(leader, list(batch.values()))
        seen |= {_name(attempt): statuses[key] for key, attempt in batch.items()}
    return seen


def _open_rows(session: Session) -> list[AttemptRow]:
    return [row for row in session.attempts().values() if row.backend_id and not row.state.final]


def _note(session: Session, rows: Sequence[AttemptRow], statuses: Mapping[Key, JobStatus]) -> list[JobView]:
    """Record what was seen of these attempts."""
    if not rows:
        return session.views()
    before = session.attempts()
    for row in rows:
        session.observe(row, statuses[row.backend_attempt.key])
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
