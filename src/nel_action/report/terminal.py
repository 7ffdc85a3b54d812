"""The report as text for terminals and logs: score table, reasons, notes and verdict."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Final

import click

from nel_action.formatting import MISSING, count, plural
from nel_action.gating.messages import baseline_summary
from nel_action.report.answers import answer_lines
from nel_action.report.columns import Output, columns_for
from nel_action.report.model import Report
from nel_action.report.rows import Row, models_of, rows_of
from nel_action.report.text_table import Cell, Column, output_width, render_table, single_line, use_color

__all__ = ["print_report", "render_terminal"]

_MAX_ITEMS: Final = 5
"""Items that are named per task; JSON and HTML have them all."""
_TASK_WIDTH: Final = 28
"""Task names of up to this length are not wrapped on a terminal of `_NARROW` columns or more."""
_NARROW: Final = 80
_COLORS: Final = {"pass": "green", "fail": "red", "inconclusive": "yellow", "unmeasurable": "magenta"}


def print_report(report: Report, *, link: str | None = None) -> None:
    """Print the report on standard output, fitted to the terminal.

    Args:
        report: the report.
        link: path or address of the full report, shown with the verdict.
    """
    text = render_terminal(report, width=output_width(sys.stdout), color=use_color(sys.stdout), link=link)
    click.echo(text, nl=False, color=True)


def render_terminal(report: Report, *, width: int | None = None, color: bool = False, link: str | None = None) -> str:
    """Render the score table, the reasons and notes that it has no room for, and the verdict with its exit code.

    Args:
        report: the report.
        width: columns of the terminal; None never wraps the table.
        color: colour the verdicts.
        link: path or address of the full report, shown with the verdict.
    """
    rows = rows_of(report)
    pivot = len(models_of(rows)) > 1
    table = (_model_table if pivot else _score_table)(report, rows, width=width, color=color)
    gate = report.gate
    baseline = f" against {single_line(baseline_summary(gate.baseline, gate.baseline_facts))}" if gate.baseline else ""
    address = f" · report: {link}" if link else ""
    verdict = f"{gate.verdict.value} (exit {gate.exit_code}){baseline}{address}"
    parts = [table, "\n".join(single_line(line) for line in _details(report, rows, pivot=pivot)), verdict]
    return "\n\n".join(part for part in parts if part) + "\n"


def _score_table(report: Report, rows: Sequence[Row], *, width: int | None, color: bool) -> str:
    columns = columns_for(Output.TERMINAL)
    layout = [
        Column(
            header=column.title(report, Output.TERMINAL),
            right=column.right,
            min_width=_task_width(rows, width) if column.key == "task" else 0,
        )
        for column in columns
    ]
    cells = [[_cell(column.key, column.cell(row), row) for column in columns] for row in rows]
    return render_table(layout, cells, width=width, color=color)


def _model_table(report: Report, rows: Sequence[Row], *, width: int | None, color: bool) -> str:  # noqa: ARG001
    """Lay out one column per model, for runs of several models."""
    models = models_of(rows)
    layout: list[Column | str] = [Column(header="task", min_width=_task_width(rows, width)), "metric", *models]
    cells: list[list[Cell | str]] = []
    for task, metric in dict.fromkeys((row.task, row.metric) for row in rows):
        by_model = {row.model: row for row in rows if (row.task, row.metric) == (task, metric)}
        cells.append([task, metric or "", *(_model_cell(by_model.get(model)) for model in models)])
    return render_table(layout, cells, width=width, color=color)


def _task_width(rows: Sequence[Row], width: int | None) -> int:
    longest = max((len(row.task) for row in rows), default=0)
    return min(_TASK_WIDTH, longest) if width is None or width >= _NARROW else 0


def _cell(key: str, text: str, row: Row) -> Cell | str:
    return Cell(text, _COLORS.get(row.style), bold=row.style == "fail") if key == "verdict" else text


def _model_cell(row: Row | None) -> Cell | str:
    if row is None:
        return MISSING
    difference = row.unit.difference(row.comparison.difference) if row.comparison else ""
    interval = row.unit.interval(row.comparison.interval) if row.comparison else ""
    change = f" ({f'{difference} {interval}'.rstrip()})" if difference else ""
    symbol = row.symbol if row.style != "none" else ""
    text = f"{row.unit.score(row.score, row.stderr)}{change} {symbol}".rstrip()
    return Cell(text, _COLORS.get(row.style), bold=row.style == "fail")


def _details(report: Report, rows: Sequence[Row], *, pivot: bool) -> Iterator[str]:
    """Yield the reasons that the table does not show, the items that changed, missing answers, and the notes."""
    shown = set()
    for row in rows:
        name = f"{row.task} ({row.model})" if pivot and row.model else row.task
        # NOTE: with one column per model there is no room for reasons; those of passes are left to the full report.
        reasons = row.reasons[1:] if not pivot else row.reasons if row.has_problem else ()
        shown |= {f"{row.task}: {reason}" for reason in row.reasons}
        yield from (f"{name}: {reason}" for reason in reasons)
        if row.has_problem and row.comparison and row.comparison.n_paired:
            yield f"{name}: {_changed_items(row)}"
    for row, shares in answer_lines(rows):
        yield f"{row.task} ({row.model}) answers: {shares}" if pivot and row.model else f"{row.task} answers: {shares}"
    yield from (reason for reason in report.gate.reasons if reason not in shown)
    yield from (f"note: {note}" for note in report.gate.notes)


def _changed_items(row: Row) -> str:
    comparison = row.comparison
    assert comparison is not None  # noqa: S101 - checked by the caller
    text = f"{plural(comparison.n_worse, 'item')} got worse, {count(comparison.n_better)} better"
    ids = ", ".join(flip.id for flip in comparison.worse[:_MAX_ITEMS])
    more = ", …" if comparison.n_worse > _MAX_ITEMS else ""
    return f"{text}; worse: {ids}{more}" if ids else text
