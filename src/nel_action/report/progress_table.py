"""The picture of jobs under way, made to fit a terminal: what matters is never pushed out by a long name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from nel_action.model.job import JobState
from nel_action.report.progress_row import JobRow, items_of
from nel_action.report.terminal import one_line

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["picture"]

_STYLES: Final = {
    JobState.PENDING: "dim",
    JobState.RUNNING: "cyan",
    JobState.SUCCEEDED: "green",
    JobState.FAILED: "bold red",
    JobState.CANCELLED: "yellow",
    JobState.UNKNOWN: "magenta",
}
_FIRST: Final = (JobState.RUNNING, JobState.UNKNOWN, JobState.FAILED, JobState.CANCELLED, JobState.PENDING)
"""What is shown first where not all has room; what succeeded goes last."""
_GAP: Final = 2
_STATE: Final = max(len(state.value) for state in JobState)
_SHORTEST: Final = 12
_BARS: Final = ((100, 20), (70, 10))
"""Width of the terminal, and of its bars."""


def picture(
    rows: Sequence[JobRow], rest: Callable[[JobRow], str], *, width: int, height: int | None = None
) -> RenderableType:
    """Draw one line for each job.

    Args:
        rows: the jobs.
        rest: what is told of a job besides: rate, time left, duration, reason.
        width: of the terminal.
        height: lines that there are; where jobs are more, those that need no look are counted instead.
    """
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    shown = list(rows) if height is None or len(rows) <= height else _chosen(rows, height - 1)
    widths = _widths(rows, width)
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, _GAP, 0, 0))
    for one in widths.values():
        table.add_column(width=one, overflow="ellipsis", no_wrap=True)
    for row in shown:
        whole = row.total or 1
        done = whole if row.state is JobState.SUCCEEDED else min(row.done or 0, whole)
        cells: dict[str, RenderableType] = {
            "name": Text(_short(one_line(row.name), widths["name"])),
            "bar": ProgressBar(total=whole, completed=done, width=widths.get("bar")),
            "items": Text(items_of(row)),
            "state": Text(row.state.value, style=_STYLES[row.state]),
            "rest": Text(rest(row)),
        }
        table.add_row(*(cells[name] for name in widths))
    if len(shown) == len(rows):
        return table
    left = Counter(row.state.value for row in rows if row not in shown)
    told = ", ".join(f"{count} {state}" for state, count in left.items())
    return Group(table, Text(f"and {told}", style="dim"))


def _chosen(rows: Sequence[JobRow], count: int) -> list[JobRow]:
    order = {state: place for place, state in enumerate(_FIRST)}
    kept = sorted(rows, key=lambda row: order.get(row.state, len(order)))[: max(count, 1)]
    return [row for row in rows if row in kept]


def _widths(rows: Sequence[JobRow], width: int) -> dict[str, int]:
    """Share the width out: state and items whole, a name at most a third, the rest what is left."""
    items = max((len(items_of(row)) for row in rows), default=0)
    bar = next((size for least, size in _BARS if width >= least), 0)
    name = min(max((len(row.name) for row in rows), default=1), max(_SHORTEST, width // 3))
    fixed = {"name": name, "bar": bar, "items": items, "state": _STATE}
    kept = {column: size for column, size in fixed.items() if size}
    left = width - sum(kept.values()) - _GAP * (len(kept) + 1)
    return {**kept, "rest": max(left, 1)}


def _short(name: str, width: int) -> str:
    """Cut a name at its front: the end tells tasks of one harness apart."""
    return name if len(name) <= width else f"…{name[1 - width :]}"
