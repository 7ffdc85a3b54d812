"""Earlier scores of each task, as a line with its error band, and as a table for who reads figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from nel_action.report.html.axis import WIDTH, Plot, ticks
from nel_action.report.html.element import Safe, el
from nel_action.report.model import Report, TrendPoint
from nel_action.report.rows import Row

__all__ = ["trend_section"]

_TABLE: Final = 60
"""Newest scores that are listed as figures."""
_CROWD: Final = 40
"""Points beyond which each is drawn small."""


def trend_section(report: Report, rows: Sequence[Row]) -> Safe | None:
    """Render a chart for each task with at least two points, its own present score the last one."""
    charts = [_figure(line) for row in rows if len((line := _line(report, row)).points) > 1]
    return el("section", el("h2", "Trend"), el("div", *charts, class_="trends"), id="trend") if charts else None


@dataclass(frozen=True, slots=True)
class _Line:
    """One task's scores, oldest first."""

    row: Row
    points: Sequence[TrendPoint]

    def told(self, point: TrendPoint) -> str:
        """Tell a score, its day and its commit."""
        commit = f", {point.commit[:7]}" if point.commit else ""
        score = self.row.unit.score(point.value, point.stderr)
        return f"{score} ({point.when[:10]}{commit})"

    def marks(self) -> list[tuple[str, float]]:
        """Name the levels that scores are held against, as far as they are near enough to be drawn."""
        values = [point.value for point in self.points]
        reach = 1.5 * (max(values) - min(values)) or abs(values[0]) * 0.1
        floor = self.row.judged.floor if self.row.judged else None
        base = self.row.comparison.baseline if self.row.comparison else None
        known = [("limit", floor), ("zero", base)]
        return [(kind, at) for kind, at in known if at is not None and min(values) - reach <= at <= max(values) + reach]


def _line(report: Report, row: Row) -> _Line:
    place = (row.task, row.model, row.metric)
    points = [
        one
        for one in report.metadata.trend
        if (one.task, one.model, one.metric) == place and one.when != report.results.created
    ]
    if row.score is not None:
        now = TrendPoint(
            task=row.task,
            model=row.model,
            metric=row.metric or "",
            when=report.results.created,
            value=row.score,
            stderr=row.stderr,
            commit=report.results.commit,
            verdict=row.verdict,
        )
        points.append(now)
    return _Line(row, points)


def _figure(line: _Line) -> Safe:
    row, last = line.row, line.points[-1]
    caption = el(
        "figcaption",
        el("strong", row.task),
        el("span", f" · {row.model} · {row.metric}", class_="quiet"),
        el("span", line.told(last), class_="now"),
    )
    return el("figure", caption, _picture(line), _table(line))


def _picture(line: _Line) -> Safe:
    points, marks = line.points, line.marks()
    ends = [point.value + side * (point.stderr or 0) for point in points for side in (-1, 1)]
    plot = Plot.over([*ends, *(at for _, at in marks)], len(points))
    values = [point.value for point in points]
    said = (
        f"{line.row.task}: {len(points)} scores from {line.told(points[0])} to {line.told(points[-1])}, "
        f"between {line.row.unit.score(min(values))} "
        f"and {line.row.unit.score(max(values))}"
    )
    shapes = [
        *_axes(plot, line),
        el("polygon", points=f"{plot.path(ends[1::2])} {plot.path(ends[::2], back=True)}", class_="band"),
        *(el("line", x1=plot.left, x2=plot.right, y1=plot.y(at), y2=plot.y(at), class_=kind) for kind, at in marks),
        el("polyline", points=plot.path(values), class_="line"),
        *_dots(plot, line),
    ]
    size = {"viewBox": f"0 0 {WIDTH} {plot.height}", "width": WIDTH, "height": plot.height}
    return el("svg", *shapes, role="img", aria_label=said, class_="chart", **size)


def _axes(plot: Plot, line: _Line) -> Iterator[Safe]:
    for value in ticks(plot.low, plot.high):
        y = plot.y(value)
        yield el("line", x1=plot.left, x2=plot.right, y1=y, y2=y, class_="grid")
        yield el("text", line.row.unit.tick(value), x=plot.left - 6, y=y + 4, text_anchor="end", class_="tick")
    first, last = line.points[0].when[:10], line.points[-1].when[:10]
    yield el("text", first, x=plot.left, y=plot.height - 4, class_="tick")
    if last != first:
        yield el("text", last, x=plot.right, y=plot.height - 4, text_anchor="end", class_="tick")


def _dots(plot: Plot, line: _Line) -> Iterator[Safe]:
    size = 4 if len(line.points) <= _CROWD else 2
    for index, point in enumerate(line.points):
        kind = point.verdict.value if point.verdict else "none"
        place = {"cx": plot.x(index), "cy": plot.y(point.value), "r": size}
        yield el("circle", el("title", line.told(point)), class_=f"dot {kind}", **place)


def _table(line: _Line) -> Safe:
    rows = [
        el(
            "tr",
            el("td", el("time", point.when[:16].replace("T", " "), datetime=point.when)),
            el("td", (point.commit or "–")[:7]),
            el("td", line.row.unit.score(point.value, point.stderr)),
            el("td", point.verdict.value if point.verdict else "–"),
        )
        for point in line.points[: -_TABLE - 1 : -1]
    ]
    heads = el("tr", *(el("th", name, scope="col") for name in ("when (UTC)", "commit", "score", "verdict")))
    more = "" if len(line.points) <= _TABLE else f", the newest {_TABLE} of {len(line.points)}"
    table = el("table", el("thead", heads), el("tbody", *rows), class_="points")
    return el("details", el("summary", f"figures{more}"), table)
