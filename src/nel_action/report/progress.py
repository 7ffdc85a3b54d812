"""Progress while jobs run: bars in a terminal, plain lines in a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from nel_action.formatting import duration
from nel_action.model.job import JobState
from nel_action.report.progress_row import JobRow, items_of
from nel_action.report.progress_table import picture
from nel_action.report.terminal import one_line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live

    from nel_action.lifecycle.session import JobView

__all__ = ["JobRow", "ProgressView", "job_rows"]


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
        self._last: tuple[JobRow, ...] = ()
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
            # NOTE: in the end every job is told, also where they are more than the terminal has lines.
            self._live.vertical_overflow = "visible"
            self._live.update(picture(self._last, self._rest, width=self._console.size.width))
            self._live.stop()
            self._live = None

    def _draw(self, rows: Sequence[JobRow]) -> None:
        from rich.live import Live

        if self._live is None:
            self._live = Live(console=self._console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
            self._live.start()
        self._last = tuple(rows)
        size = self._console.size
        self._live.update(picture(rows, self._rest, width=size.width, height=size.height - 1), refresh=True)

    def _tell(self, rows: Sequence[JobRow]) -> None:
        now = self._clock()
        for row in rows:
            turned = self._states.get(row.name) is not row.state
            due = row.state is JobState.RUNNING and now - self._told.get(row.name, now) >= self._every
            if turned or due:
                parts = (row.name, row.state.value, items_of(row), self._rest(row))
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
