"""Progress of running jobs: bars in a terminal, plain lines in a log."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from nel_action.formatting import duration, progress
from nel_action.model.job import JobState
from nel_action.report.text_table import single_line

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

    from nel_action.lifecycle.session import JobView

__all__ = ["JobRow", "ProgressView", "job_rows"]

_STYLES: Final = {
    JobState.PENDING: "dim",
    JobState.RUNNING: "cyan",
    JobState.SUCCEEDED: "green",
    JobState.FAILED: "bold red",
    JobState.CANCELLED: "yellow",
    JobState.UNKNOWN: "magenta",
}
_PRIORITY: Final = (JobState.RUNNING, JobState.UNKNOWN, JobState.FAILED, JobState.CANCELLED, JobState.PENDING)
"""Order in which jobs are kept if the terminal has too few lines; succeeded jobs are dropped first."""
_GAP: Final = 2
_STATE_WIDTH: Final = max(len(state.value) for state in JobState)
_MIN_NAME_WIDTH: Final = 12
_BAR_WIDTHS: Final = ((100, 20), (70, 10))
"""Least width of the terminal, and the width of the bars there; narrower terminals have none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRow:
    """Observed progress of one job."""

    name: str
    state: JobState
    done: int | None = None
    """Completed items."""
    total: int | None = None
    started: str | None = None
    """RFC 3339, UTC; the rate is computed from it."""
    ended: str | None = None
    """RFC 3339, UTC."""
    eta: float | None = None
    """Seconds left; computed from the rate if None."""
    detail: str | None = None
    """Message of the backend. Untrusted text."""


def job_rows(views: Sequence[JobView]) -> list[JobRow]:
    """Convert job views to progress rows."""
    return [
        JobRow(
            name=view.job.name,
            state=view.state,
            done=view.progress.done if view.progress else None,
            total=view.progress.total if view.progress else None,
            eta=view.progress.seconds_left if view.progress else None,
            started=view.attempt.started if view.attempt else None,
            ended=view.attempt.ended if view.attempt else None,
            detail=view.attempt.detail if view.attempt else None,
        )
        for view in views
    ]


class ProgressView:
    """Display of jobs; call `update` for each observation and `close` at the end.

    A terminal shows all rows in place. Any other output (a CI log, a pipe) gets one line for each change of a job's
    state, and one per minute for each running job.
    """

    def __init__(
        self,
        console: Console | None = None,
        *,
        every: float = 60.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Create a display.

        Args:
            console: where to print; standard error by default.
            every: seconds between two lines about the same running job in a log.
            clock: returns the current time in seconds since 1970.
        """
        from rich.console import Console as RichConsole

        self._console = console or RichConsole(stderr=True)
        self._every = every
        self._clock = clock
        self._live: Live | None = None
        self._last: tuple[JobRow, ...] = ()
        self._states: dict[str, JobState] = {}
        self._printed: dict[str, float] = {}

    def update(self, rows: Sequence[JobRow]) -> None:
        """Show the current state of all jobs."""
        if self._console.is_terminal:
            self._draw(rows)
        else:
            self._print_changes(rows)

    def close(self) -> None:
        """Leave the last state of every job on the terminal and release it; repeated calls are ignored."""
        if self._live is not None:
            # NOTE: the final state lists every job, even if there are more of them than lines.
            self._live.vertical_overflow = "visible"
            self._live.update(_render(self._last, self._status, width=self._console.size.width))
            self._live.stop()
            self._live = None

    def _draw(self, rows: Sequence[JobRow]) -> None:
        from rich.live import Live

        if self._live is None:
            self._live = Live(console=self._console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
            self._live.start()
        self._last = tuple(rows)
        size = self._console.size
        self._live.update(_render(rows, self._status, width=size.width, height=size.height - 1), refresh=True)

    def _print_changes(self, rows: Sequence[JobRow]) -> None:
        now = self._clock()
        for row in rows:
            changed = self._states.get(row.name) is not row.state
            due = row.state is JobState.RUNNING and now - self._printed.get(row.name, now) >= self._every
            if changed or due:
                parts = (row.name, row.state.value, progress(row.done, row.total), self._status(row))
                line = "  ".join(single_line(part) for part in parts if part)
                self._console.print(line, markup=False, highlight=False, soft_wrap=True)
                self._states[row.name], self._printed[row.name] = row.state, now

    def _status(self, row: JobRow) -> str:
        """Return rate and remaining time of a running job, or the duration of a finished one, and its message."""
        parts = [_elapsed(row)] if row.state.final else self._rate(row)
        if row.detail:
            parts.append(single_line(row.detail))
        return "  ".join(part for part in parts if part)

    def _rate(self, row: JobRow) -> list[str]:
        elapsed = self._clock() - _timestamp(row.started) if row.started else 0.0
        rate = row.done / elapsed if row.done and elapsed > 0 else None
        left = row.eta
        if left is None and rate and row.total is not None:
            left = max(row.total - (row.done or 0), 0) / rate
        parts = [f"{rate:.1f}/s"] if rate else []
        return [*parts, f"{duration(left)} left"] if left is not None else parts


def _elapsed(row: JobRow) -> str:
    return duration(_timestamp(row.ended) - _timestamp(row.started)) if row.started and row.ended else ""


def _timestamp(when: str) -> float:
    # NOTE: all records are in UTC, with or without a zone.
    moment = datetime.fromisoformat(when)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _render(
    rows: Sequence[JobRow], status: Callable[[JobRow], str], *, width: int, height: int | None = None
) -> RenderableType:
    """Render one line per job, fitted to the terminal: a long name or message truncates nothing else.

    Args:
        rows: the jobs.
        status: returns the text behind a job's state.
        width: columns of the terminal.
        height: lines available; jobs without a line of their own are counted by state. None shows all jobs.
    """
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    shown = list(rows) if height is None or len(rows) <= height else _most_important(rows, height - 1)
    widths = _widths(rows, width)
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, _GAP, 0, 0))
    for column_width in widths.values():
        table.add_column(width=column_width, overflow="ellipsis", no_wrap=True)
    for row in shown:
        total = row.total or 1
        done = total if row.state is JobState.SUCCEEDED else min(row.done or 0, total)
        cells: dict[str, RenderableType] = {
            "name": Text(_shorten(single_line(row.name), widths["name"])),
            "bar": ProgressBar(total=total, completed=done, width=widths.get("bar")),
            "items": Text(progress(row.done, row.total)),
            "state": Text(row.state.value, style=_STYLES[row.state]),
            "status": Text(status(row)),
        }
        table.add_row(*(cells[name] for name in widths))
    if len(shown) == len(rows):
        return table
    hidden = Counter(row.state.value for row in rows if row not in shown)
    counts = ", ".join(f"{number} {state}" for state, number in hidden.items())
    return Group(table, Text(f"and {counts}", style="dim"))


def _most_important(rows: Sequence[JobRow], limit: int) -> list[JobRow]:
    priority = {state: index for index, state in enumerate(_PRIORITY)}
    kept = sorted(rows, key=lambda row: priority.get(row.state, len(priority)))[: max(limit, 1)]
    return [row for row in rows if row in kept]


def _widths(rows: Sequence[JobRow], width: int) -> dict[str, int]:
    """Return the width of each column: items and state in full, names at most a third, the status what is left."""
    items = max((len(progress(row.done, row.total)) for row in rows), default=0)
    bar = next((size for least, size in _BAR_WIDTHS if width >= least), 0)
    name = min(max((len(row.name) for row in rows), default=1), max(_MIN_NAME_WIDTH, width // 3))
    fixed = {"name": name, "bar": bar, "items": items, "state": _STATE_WIDTH}
    kept = {column: size for column, size in fixed.items() if size}
    left = width - sum(kept.values()) - _GAP * (len(kept) + 1)
    return {**kept, "status": max(left, 1)}


def _shorten(name: str, width: int) -> str:
    """Cut a name at its start, since tasks of one harness differ at the end."""
    return name if len(name) <= width else f"…{name[1 - width :]}"
