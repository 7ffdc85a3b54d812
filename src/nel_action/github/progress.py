"""How things stand while jobs run, as Markdown for the check and the comment."""

from __future__ import annotations

import time
from collections.abc import Sequence

from nel_action.model.job import JobState
from nel_action.report import escape
from nel_action.report.progress import JobRow

__all__ = ["Ticker", "progress_table", "progress_title"]

ROWS = 100
"""Jobs that are shown one by one."""


def progress_title(rows: Sequence[JobRow]) -> str:
    """Say in one line how far it is."""
    done = sum(row.state.final for row in rows)
    broken = sum(row.state in {JobState.FAILED, JobState.CANCELLED} for row in rows)
    said = f"{done} of {len(rows)} jobs ended"
    return f"{said}, {broken} of them badly" if broken else said


def progress_table(rows: Sequence[JobRow]) -> str:
    """Show each job's state and items; those that failed and those that run first."""
    order = list(JobState)
    shown = sorted(rows, key=lambda row: (row.state is not JobState.FAILED, row.state.final, order.index(row.state)))
    lines = ["| task | state | items | |", "|---|---|---|---|"]
    lines += [
        f"| {escape.text(row.name)} | {row.state.value} | {_items(row)} | {escape.text(row.detail or '', limit=120)} |"
        for row in shown[:ROWS]
    ]
    left = [f"\n{len(shown) - ROWS} more"] if len(shown) > ROWS else []
    return "\n".join([*lines, *left]) + "\n"


def _items(row: JobRow) -> str:
    if row.done is None:
        return ""
    return f"{row.done:,} of {row.total:,}" if row.total is not None else f"{row.done:,}"


class Ticker:
    """Says yes once in so many seconds."""

    def __init__(self, every: float) -> None:
        self._every = every
        self._last = float("-inf")

    def due(self) -> bool:
        """Whether it is time again; asking starts the next wait."""
        now = time.monotonic()
        if now - self._last < self._every:
            return False
        self._last = now
        return True
