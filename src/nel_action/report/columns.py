"""Columns of the score table, shared by the terminal, the Markdown comment and the HTML page.

To add a column, append a `ScoreColumn` to `SCORE_COLUMNS`: every output that it names shows it. Cells with more than
text (symbols, bold, charts, links) are decorated by their output, by the key of the column.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from nel_action.formatting import percentage
from nel_action.report.model import Report
from nel_action.report.rows import Row

__all__ = ["SCORE_COLUMNS", "Output", "ScoreColumn", "columns_for"]


class Output(Enum):
    """Where the score table is shown."""

    TERMINAL = "terminal"
    MARKDOWN = "markdown"
    HTML = "html"


ALL: Final = frozenset(Output)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreColumn:
    """One column of the score table."""

    key: str
    """Name for decorations and CSS classes."""
    header: str | Callable[[Report, Output], str]
    cell: Callable[[Row], str]
    """Returns plain text; each output escapes it. Empty if the row has no value."""
    right: bool = False
    """Align to the right."""
    outputs: frozenset[Output] = ALL

    def title(self, report: Report, output: Output) -> str:
        """Return the header."""
        return self.header if isinstance(self.header, str) else self.header(report, output)


def columns_for(output: Output) -> tuple[ScoreColumn, ...]:
    """Return the columns that an output shows, left to right."""
    return tuple(column for column in SCORE_COLUMNS if output in column.outputs)


def _difference_header(report: Report, output: Output) -> str:
    intervals = [task.comparison.interval for task in report.gate.tasks if task.comparison and task.comparison.interval]
    level = f" ({percentage(intervals[0].level)})" if intervals and output is Output.TERMINAL else ""
    return f"difference{level}"


def _baseline_header(report: Report, output: Output) -> str:
    return "baseline" if output is Output.TERMINAL else report.gate.baseline or "baseline"


def _baseline(row: Row) -> str:
    return row.unit.score(row.comparison.baseline) if row.comparison else ""


def _difference(row: Row) -> str:
    if row.comparison is None:
        return ""
    difference, interval = row.unit.difference(row.comparison.difference), row.unit.interval(row.comparison.interval)
    return f"{difference} {interval}".rstrip()


SCORE_COLUMNS: Final[tuple[ScoreColumn, ...]] = (
    ScoreColumn(
        key="task",
        header=lambda _, output: "" if output is Output.MARKDOWN else "task",
        cell=lambda row: row.task,
    ),
    ScoreColumn(key="metric", header="metric", cell=lambda row: row.metric or ""),
    ScoreColumn(
        key="score",
        header=lambda _, output: "score" if output is Output.TERMINAL else "this change",
        cell=lambda row: row.unit.score(row.score, row.stderr),
    ),
    ScoreColumn(key="baseline", header=_baseline_header, cell=_baseline),
    ScoreColumn(key="difference", header=_difference_header, cell=_difference),
    ScoreColumn(
        key="limit",
        header="against its limit",
        cell=lambda _row: "",
        outputs=frozenset({Output.HTML}),
    ),
    ScoreColumn(
        key="verdict",
        header="verdict",
        cell=lambda row: f"{row.verdict_text}: {row.reason}" if row.reason else row.verdict_text,
    ),
)
