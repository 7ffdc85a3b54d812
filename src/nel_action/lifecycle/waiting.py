"""Polling: one round trip for all jobs, with backoff, until they are final or the caller leaves."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from threading import Event
from typing import Final

from nel_action.errors import UnreachableError
from nel_action.executors.interface import Pooling, poll_attempts
from nel_action.ledger import AttemptRow
from nel_action.lifecycle.session import JobView, Session
from nel_action.model.job import Attempt, JobStatus, Key, attempt_name
from nel_action.retry import Backoff

__all__ = ["poll_until_settled", "refresh", "refresh_all", "settled"]

logger = logging.getLogger(__name__)

_DEFERRED_INTERVAL: Final = 60.0
"""Seconds between tries to submit deferred jobs while no other job finishes."""

_FACTOR: Final = 1.5
"""Growth of the polling interval while nothing changes."""


def refresh(session: Session) -> list[JobView]:
    """Poll all jobs that are not final, record their statuses and return all jobs."""
    rows = _open_rows(session)
    attempts = [row.backend_attempt for row in rows]
    return _record(session, rows, poll_attempts(session.executor, attempts) if rows else {})


def refresh_all(sessions: Sequence[Session]) -> list[list[JobView]]:
    """Refresh several invocations; those on the same backend are polled in the same round trip.

    Args:
        sessions: the invocations.

    Returns:
        The jobs of each, in the order of `sessions`.
    """
    groups: dict[str, list[int]] = {}
    for index, session in enumerate(sessions):
        executor = session.executor
        groups.setdefault(executor.poll_group if isinstance(executor, Pooling) else str(index), []).append(index)
    views: dict[int, list[JobView]] = {}
    for members in groups.values():
        open_rows = {index: _open_rows(sessions[index]) for index in members}
        statuses = _poll_group(sessions, open_rows)
        for index, rows in open_rows.items():
            views[index] = _record(sessions[index], rows, {row.key: statuses[_name(row)] for row in rows})
    return [views[index] for index in range(len(sessions))]


def _name(attempt: Attempt | AttemptRow) -> str:
    return attempt_name(attempt.key, attempt.number)


def _poll_group(sessions: Sequence[Session], open_rows: Mapping[int, Sequence[AttemptRow]]) -> dict[str, JobStatus]:
    """Poll the attempts of all sessions with the executor of the first; at most one attempt per key at a time."""
    leader = sessions[next(iter(open_rows))].executor
    pending: dict[str, Attempt] = {}
    for index, rows in open_rows.items():
        attempts = [row.backend_attempt for row in rows]
        pending |= {_name(attempt): attempt for attempt in attempts}
        if isinstance(leader, Pooling):
            leader.adopt(sessions[index].executor, attempts)
    statuses: dict[str, JobStatus] = {}
    while pending:
        batch = {attempt.key: attempt for attempt in pending.values()}
        polled = poll_attempts(leader, list(batch.values()))
        for key, attempt in batch.items():
            statuses[_name(attempt)] = polled[key]
            del pending[_name(attempt)]
    return statuses


def _open_rows(session: Session) -> list[AttemptRow]:
    return [row for row in session.attempts().values() if row.backend_id and not row.state.final]


def _record(session: Session, rows: Sequence[AttemptRow], statuses: Mapping[Key, JobStatus]) -> list[JobView]:
    """Record the statuses of these attempts."""
    if not rows:
        return session.views()
    before = session.attempts()
    for row in rows:
        session.observe(row, statuses[row.key])
    if session.attempts() != before:
        session.save()
    return session.views(statuses)


def _try_to_submit(submit_deferred: Callable[[], object]) -> None:
    try:
        submit_deferred()
    except UnreachableError as error:
        logger.warning("cannot submit the deferred jobs now: %s", error.problems[0].message)


def settled(views: Sequence[JobView]) -> bool:
    """Return whether all jobs are final."""
    return all(view.state.final for view in views)


def poll_until_settled(
    session: Session,
    *,
    stop: Event,
    deadline: float | None = None,
    once: bool = False,
    submit_deferred: Callable[[], object] | None = None,
) -> Iterator[list[JobView]]:
    """Poll until all jobs are final, the deadline passes or `stop` is set; the jobs run on in any case.

    Args:
        session: the invocation; any number of processes may poll it.
        stop: requests to leave, usually set by a signal handler.
        deadline: on the monotonic clock, in seconds; None for no limit. One more poll is made when it passes.
        once: poll a single time.
        submit_deferred: submits jobs that were deferred at submission; called when others have finished, and every
            minute while there are any.

    Yields:
        All jobs, after each poll; `settled` of the last list tells whether all jobs are final.
    """
    initial, maximum = session.executor.poll_interval
    backoff = Backoff(initial=initial, factor=_FACTOR, maximum=maximum)
    delays, last = backoff.delays(), None
    tried = time.monotonic()
    active: int | None = None
    while True:
        views = refresh(session)
        if submit_deferred is not None and not once and any(view.submitted is None for view in views):
            previous, active = active, sum(1 for view in views if view.submitted and not view.state.final)
            if time.monotonic() - tried > _DEFERRED_INTERVAL or (previous is not None and active < previous):
                _try_to_submit(submit_deferred)
                tried, views = time.monotonic(), session.views()
        yield views
        if once or settled(views) or stop.is_set():
            return
        observed = [(view.state, view.progress) for view in views]
        if observed != last:
            delays, last = backoff.delays(), observed
        pause = next(delays)
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            return
        logger.debug("invocation %s: next poll in %.1f s", session.invocation.id, pause)
        stop.wait(pause if left is None else min(pause, left))
