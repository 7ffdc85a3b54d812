"""The scores, one row for each task and model."""

from __future__ import annotations

from collections.abc import Sequence

from nel_action.formatting import Unit
from nel_action.report.anchors import samples_anchor
from nel_action.report.html.element import Safe, breakable, el, join
from nel_action.report.html.summary import mark
from nel_action.report.html.svg import Scale, difference_chart, score_chart, shared_scale
from nel_action.report.model import Report
from nel_action.report.rows import Row, models_of

__all__ = ["table_section"]


def table_section(report: Report, rows: Sequence[Row]) -> Safe:
    """Render the table, bad news first, each difference drawn against its margin and each score against its floor."""
    if not rows:
        return el("section", el("h2", "Scores"), el("p", "There are no tasks."), id="scores")
    several = len(models_of(rows)) > 1
    shares = shared_scale([row for row in rows if row.unit is Unit.PROPORTION])
    heads = ["task", "metric", "this change", report.gate.baseline or "baseline", "difference", "against its limit"]
    head = el("tr", *(el("th", text, scope="col", role="columnheader") for text in [*heads, "verdict"]), role="row")
    # NOTE: roles are written out, since on a phone rows are laid out as cards, which would hide that it is a table.
    body = [_row(row, shares if row.unit is Unit.PROPORTION else shared_scale([row]), several=several) for row in rows]
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
        f"± is one standard error; each side of an interval holds at {gate.confidence:.0%}; tests are corrected by "
        f"{gate.correction}. In the pictures the shaded side fails the gate and the dashed line is no change."
    )


def _row(row: Row, scale: Scale, *, several: bool) -> Safe:
    name = breakable(row.task)
    name = join(name, " · ", el("span", breakable(row.model), class_="quiet")) if several else name
    pictures = join(difference_chart(row, scale), score_chart(row))
    moved = row.unit.difference(row.comparison.difference) if row.comparison else ""
    spread = row.unit.interval(row.comparison.interval) if row.comparison else ""
    baseline = row.unit.score(row.comparison.baseline) if row.comparison else ""
    return el(
        "tr",
        el("th", name, scope="row", role="rowheader"),
        _cell("metric", el("span", breakable(row.metric), class_="metric") if row.metric else ""),
        _cell("this change", row.unit.score(row.score, row.stderr), _small(_items(row))),
        _cell("baseline", baseline),
        _cell("difference", moved, _small(spread), _flips(row)),
        _cell("against its limit", pictures),
        _cell("verdict", _verdict(row), *(el("p", reason) for reason in row.reasons)),
        role="row",
        class_="bad" if row.bad else None,
    )


def _cell(label: str, *children: str | None) -> Safe:
    return el(
        "td",
        *children,
        role="cell",
        data_label=label,
        class_=f"is-{label.split(maxsplit=1)[0]}{'' if any(children) else ' empty'}",
    )


def _small(text: str) -> Safe:
    return el("small", text) if text else join()


def _items(row: Row) -> str:
    return "" if row.n is None else f"{row.n:,} items"


def _verdict(row: Row) -> Safe:
    return el("span", mark(row.kind), row.word, class_="verdict")


def _flips(row: Row) -> Safe | None:
    """Say how many items changed; where they are kept, as a way to them."""
    compared = row.comparison
    if compared is None or not (compared.n_worse or compared.n_better):
        return None
    told = f"{compared.n_worse:,} worse, {compared.n_better:,} better"
    kept = row.result is not None and row.result.samples is not None
    return el("a", told, href=f"#{samples_anchor(row.task, row.model)}") if kept else _small(told)
