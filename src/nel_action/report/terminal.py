"""The score table at a terminal or in a log: readable at any width, with and without colour."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from nel_action.formatting import VERDICT_SYMBOLS
from nel_action.report.model import Report
from nel_action.report.rows import Row, models_of, rows_of

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

__all__ = ["one_line", "print_table", "standard_output", "table_text"]

_LOG_WIDTH: Final = 120
"""Characters, where nobody says how wide the paper is: a log has no edge, and words are cut least there."""

_NARROW: Final = 80
_NAMES: Final = 28
"""On a terminal of `_NARROW` characters or more, this much of a task's name is on one line."""

_STYLES: Final = {"pass": "green", "fail": "bold red", "inconclusive": "yellow", "unmeasurable": "magenta"}


def standard_output() -> Console:
    """Return the console for results: as wide as the terminal, or wide enough for sentences in a log."""
    from rich.console import Console

    console = Console()
    return console if console.is_terminal or "COLUMNS" in os.environ else Console(width=_LOG_WIDTH)


def print_table(report: Report, console: Console) -> None:
    """Print one line for each task; with several models, one column for each of them."""
    rows = rows_of(report)
    table = _one_model(report, rows) if len(models_of(rows)) <= 1 else _several_models(rows)
    if console.width >= _NARROW:
        table.columns[0].min_width = min(_NAMES, max((len(row.task) for row in rows), default=0))
    console.print(table)
    for note in report.gate.notes:
        console.print(f"note: {one_line(note)}", markup=False, highlight=False)


def table_text(report: Report, *, width: int = 120) -> str:
    """Return the table as plain text, for a file."""
    import io

    from rich.console import Console

    out = io.StringIO()
    print_table(report, Console(file=out, width=width, no_color=True))
    return out.getvalue()


def one_line(value: object) -> str:
    """Return outside text without anything that could move a terminal's cursor."""
    return "".join(character if character.isprintable() else " " for character in str(value))


def _new_table(*heads: str) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for head in heads:
        table.add_column(head, overflow="fold", no_wrap=False)
    return table


def _cell(value: object, style: str = "") -> Text:
    # NOTE: a Text, because a plain string would be read as rich's markup, and names come from outside.
    from rich.text import Text

    return Text(one_line(value), style=style)


def _one_model(report: Report, rows: Sequence[Row]) -> Table:
    level = next((row.comparison.interval.level for row in rows if row.comparison and row.comparison.interval), None)
    covered = f" ({level:.0%})" if level else ""
    compared = any(row.comparison for row in rows) or report.gate.baseline is not None
    heads = ("baseline", f"difference{covered}") if compared else ()
    table = _new_table("task", "metric", "score", *heads, "verdict")
    for row in rows:
        change = (_cell(_baseline(row)), _cell(_change(row))) if compared else ()
        table.add_row(_cell(row.task), _cell(row.metric or ""), _cell(_score(row)), *change, _verdict(row))
    return table


def _several_models(rows: Sequence[Row]) -> Table:
    models = models_of(rows)
    table = _new_table("task", "metric", *(one_line(model).replace("[", r"\[") for model in models))
    for task, metric in dict.fromkeys((row.task, row.metric) for row in rows):
        found = {row.model: row for row in rows if (row.task, row.metric) == (task, metric)}
        table.add_row(_cell(task), _cell(metric or ""), *(_model_cell(found.get(model)) for model in models))
    return table


def _model_cell(row: Row | None) -> Text:
    if row is None:
        return _cell("–")
    sign = VERDICT_SYMBOLS[row.verdict] if row.verdict else "!" if row.broken else ""
    change = f" ({_change(row)})" if row.comparison else ""
    return _cell(f"{_score(row)}{change} {sign}".rstrip(), _style(row))


def _score(row: Row) -> str:
    return row.unit.score(row.score, row.stderr)


def _baseline(row: Row) -> str:
    return row.unit.score(row.comparison.baseline) if row.comparison else "–"


def _change(row: Row) -> str:
    if row.comparison is None:
        return ""
    moved = row.unit.difference(row.comparison.difference)
    return f"{moved} {row.unit.interval(row.comparison.interval)}".rstrip()


def _verdict(row: Row) -> Text:
    return _cell(f"{row.word}: {row.reason}" if row.reason else row.word, _style(row))


def _style(row: Row) -> str:
    if row.verdict is None:
        return "magenta" if row.broken else ""
    return _STYLES[row.verdict]
