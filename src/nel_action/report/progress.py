"""Progress while jobs run: bars in a terminal, plain lines in a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from nel_action.executors.interface import JobState
from nel_action.report.figures import duration
from nel_action.report.terminal import one_line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table

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


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRow:
    """What is known of one job, just now."""

    name: str
    state: JobState
    done: int | None = None
    """Items so far."""
    total: int | None = None
    started: str | None = None
    """RFC 3339, UTC; the rate is told from it."""
    ended: str | None = None
    """RFC 3339, UTC."""
    eta: float | None = None
    """Seconds left; told from the rate where not given."""
    detail: str | None = None
    """The backend's words. Untrusted text."""


class ProgressView:
    """Shows rows as they come: call `update` as often as there is news, `close` once.

    In a terminal all rows are drawn in place. Elsewhere (a CI log, a pipe) a row is a line: one at each change
    of its state, and one each minute for those that run.
    """

    def __init__(
        self,
        console: Console | None = None,
        *,
        every: float = 60.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        from rich.console import Console as RichConsole

        self._console = console or RichConsole(stderr=True)
        self._every = every
        self._clock = clock
        self._live: Live | None = None
        self._states: dict[str, JobState] = {}
        self._told: dict[str, float] = {}

    def update(self, rows: Sequence[JobRow]) -> None:
        """Show what is known now."""
        if self._console.is_terminal:
            self._draw(rows)
        else:
            self._tell(rows)

    def close(self) -> None:
        """Leave the last picture standing and give the terminal back; safe to call again."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _draw(self, rows: Sequence[JobRow]) -> None:
        from rich.live import Live

        if self._live is None:
            self._live = Live(console=self._console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
            self._live.start()
        self._live.update(self._table(rows), refresh=True)

    def _table(self, rows: Sequence[JobRow]) -> Table:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        for _ in range(5):
            table.add_column(overflow="ellipsis", no_wrap=True)
        for row in rows:
            whole = row.total or 1
            shown = whole if row.state is JobState.SUCCEEDED else min(row.done or 0, whole)
            table.add_row(
                Text(one_line(row.name)),
                ProgressBar(total=whole, completed=shown, width=20),
                Text(_items(row)),
                Text(row.state.value, style=_STYLES[row.state]),
                Text(self._rest(row)),
            )
        return table

    def _tell(self, rows: Sequence[JobRow]) -> None:
        now = self._clock()
        for row in rows:
            turned = self._states.get(row.name) is not row.state
            due = row.state is JobState.RUNNING and now - self._told.get(row.name, now) >= self._every
            if turned or due:
                parts = (row.name, row.state.value, _items(row), self._rest(row))
                line = "  ".join(one_line(part) for part in parts if part)
                self._console.print(line, markup=False, highlight=False, soft_wrap=True)
                self._states[row.name], self._told[row.name] = row.state, now

    def _rest(self, row: JobRow) -> str:
        """Tell rate and time left of what runs, the duration of what ended, and the reason."""
        parts = [_took(row)] if row.state.final else self._speed(row)
        if row.detail:
            parts.append(one_line(row.detail))
        return "  ".join(part for part in parts if part)

    def _speed(self, row: JobRow) -> list[str]:
        elapsed = self._clock() - _seconds(row.started) if row.started else 0.0
        rate = row.done / elapsed if row.done and elapsed > 0 else None
        left = row.eta
        if left is None and rate and row.total is not None:
            left = max(row.total - (row.done or 0), 0) / rate
        parts = [f"{rate:.1f}/s"] if rate else []
        return [*parts, f"{duration(left)} left"] if left is not None else parts


def _items(row: JobRow) -> str:
    if row.done is None:
        return "" if row.total is None else f"0/{row.total}"
    return str(row.done) if row.total is None else f"{row.done}/{row.total}"


def _took(row: JobRow) -> str:
    if not row.started or not row.ended:
        return ""
    return duration(_seconds(row.ended) - _seconds(row.started))


def _seconds(when: str) -> float:
    # NOTE: a time without a zone is UTC, as everywhere in our records.
    read = datetime.fromisoformat(when)
    return (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()


def job_rows(views: Sequence[JobView]) -> list[JobRow]:
    """Turn jobs into lines of progress."""
    return [
        JobRow(
            name=view.job.name,
            state=view.state,
            done=view.progress.done if view.progress else None,
            total=view.progress.total if view.progress else None,
            started=view.attempt.started if view.attempt else None,
            ended=view.attempt.ended if view.attempt else None,
            detail=view.attempt.detail if view.attempt else None,
        )
        for view in views
    ]
