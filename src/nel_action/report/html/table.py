"""The score table of the HTML page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from nel_action.formatting import Unit, count, percentage, plural
from nel_action.report.anchors import samples_anchor
from nel_action.report.columns import Output, ScoreColumn, columns_for
from nel_action.report.html.charts import Scale, difference_chart, score_chart, shared_scale
from nel_action.report.html.element import Safe, breakable, el, join, mark
from nel_action.report.model import Report
from nel_action.report.rows import Row, models_of

__all__ = ["table_section"]


def table_section(report: Report, rows: Sequence[Row]) -> Safe:
    """Render the table, failures first, with charts of each difference and score against its limit."""
    if not rows:
        return el("section", el("h2", "Scores"), el("p", "There are no tasks."), id="scores")
    columns = columns_for(Output.HTML)
    titles = {column.key: column.title(report, Output.HTML) for column in columns}
    head = el(
        "tr",
        *(el("th", titles[column.key], scope="col", role="columnheader", class_=_class(column)) for column in columns),
        role="row",
    )
    proportions = shared_scale([row for row in rows if row.unit is Unit.PROPORTION])
    several = len(models_of(rows)) > 1
    # NOTE: explicit roles, since small screens show rows as cards, which removes the implicit ones.
    body = []
    for row in rows:
        scale = proportions if row.unit is Unit.PROPORTION else shared_scale([row])
        cells = [_cell(column, titles[column.key], row, scale, several=several) for column in columns]
        body.append(el("tr", *cells, role="row", class_="problem" if row.has_problem else None))
    table = el(
        "table",
        el("caption", _caption(report)),
        el("thead", head, role="rowgroup"),
        el("tbody", *body, role="rowgroup"),
        role="table",
        class_="scores",
    )
    return el("section", el("h2", "Scores"), table, id="scores")


def _caption(report: Report) -> str:
    gate = report.gate
    return (
        f"± is one standard error; intervals consist of two one-sided {percentage(gate.confidence)} bounds; multiple "
        f"tests are corrected by the method {gate.correction}. In the charts, values in the shaded area fail the gate "
        "and the dashed line marks no change."
    )


def _cell(column: ScoreColumn, title: str, row: Row, scale: Scale, *, several: bool) -> Safe:
    if column.key == "task":
        name = breakable(row.task)
        name = join(name, " · ", el("span", breakable(row.model), class_="quiet")) if several else name
        return el("th", name, scope="row", role="rowheader")
    decorate = _DECORATIONS.get(column.key)
    children = decorate(row, scale) if decorate else (column.cell(row),)
    label = "baseline" if column.key == "baseline" else title
    empty = "" if any(children) else " empty"
    return el("td", *children, role="cell", data_label=label, class_=f"{_class(column)}{empty}")


def _class(column: ScoreColumn) -> str:
    return f"is-{column.key}{' right' if column.right else ''}"


def _metric(row: Row, _scale: Scale) -> tuple[str, ...]:
    return (el("span", breakable(row.metric), class_="metric"),) if row.metric else ()


def _score(row: Row, _scale: Scale) -> tuple[str, ...]:
    return row.unit.score(row.score, row.stderr), _small("" if row.n is None else plural(row.n, "item"))


def _difference(row: Row, _scale: Scale) -> tuple[str, ...]:
    if row.comparison is None:
        return ()
    interval = row.unit.interval(row.comparison.interval)
    return row.unit.difference(row.comparison.difference), _small(interval), _changed_items(row)


def _limit(row: Row, scale: Scale) -> tuple[str, ...]:
    return tuple(chart for chart in (difference_chart(row, scale), score_chart(row)) if chart)


def _verdict(row: Row, _scale: Scale) -> tuple[str, ...]:
    verdict = el("span", mark(row.style), row.verdict_text, class_="verdict")
    return verdict, *(el("p", reason) for reason in row.reasons)


_DECORATIONS: Final[Mapping[str, Callable[[Row, Scale], tuple[str, ...]]]] = {
    "metric": _metric,
    "score": _score,
    "difference": _difference,
    "limit": _limit,
    "verdict": _verdict,
}
"""Content of the cells with more than text, by the key of their column."""


def _small(text: str) -> Safe:
    return el("small", text) if text else join()


def _changed_items(row: Row) -> Safe:
    """Render how many items changed, as a link to the samples if there are any."""
    comparison = row.comparison
    if comparison is None or not (comparison.n_worse or comparison.n_better):
        return join()
    text = f"{count(comparison.n_worse)} worse, {count(comparison.n_better)} better"
    linked = row.result is not None and row.result.samples is not None
    return el("a", text, href=f"#{samples_anchor(row.task, row.model)}") if linked else _small(text)
