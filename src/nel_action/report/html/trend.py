"""Charts of each task's earlier scores with their standard errors, and the same scores as a table."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from nel_action.formatting import MISSING
from nel_action.report.html.element import Safe, el
from nel_action.report.model import Report, TrendPoint
from nel_action.report.rows import Row

__all__ = ["Plot", "ticks", "trend_section"]

_LISTED: Final = 60
"""Newest scores in the table."""
_SMALL_DOTS: Final = 40
"""Number of points from which on they are drawn smaller."""
_WIDTH: Final = 360
_HEIGHT: Final = 170
_LEFT: Final = 50
"""Margin for the labels of the vertical axis."""
_MARGIN: Final = 10
_BOTTOM: Final = 26
"""Margin for the labels of the horizontal axis."""
_STEPS: Final = (1, 2, 5, 10)


def trend_section(report: Report, rows: Sequence[Row]) -> Safe | None:
    """Render a chart for each task with two or more scores; the last one is this run's."""
    charts = [_figure(series) for row in rows if len((series := _series(report, row)).points) > 1]
    return el("section", el("h2", "Trend"), el("div", *charts, class_="trends"), id="trend") if charts else None


@dataclass(frozen=True, slots=True)
class _Series:
    """Scores of one task, oldest first."""

    row: Row
    points: Sequence[TrendPoint]

    def describe(self, point: TrendPoint) -> str:
        """Return a score with its date and commit."""
        commit = f", {point.commit[:7]}" if point.commit else ""
        return f"{self.row.unit.score(point.value, point.stderr)} ({point.when[:10]}{commit})"

    def reference_lines(self) -> list[tuple[str, float]]:
        """Return class and value of the limit and of the baseline, as far as they are near the scores."""
        values = [point.value for point in self.points]
        distance = 1.5 * (max(values) - min(values)) or abs(values[0]) * 0.1
        limit = self.row.task_verdict.floor if self.row.task_verdict else None
        baseline = self.row.comparison.baseline if self.row.comparison else None
        return [
            (kind, value)
            for kind, value in (("limit", limit), ("zero", baseline))
            if value is not None and min(values) - distance <= value <= max(values) + distance
        ]


def _series(report: Report, row: Row) -> _Series:
    points = [
        point
        for point in report.metadata.trend
        if (point.task, point.model, point.metric) == (row.task, row.model, row.metric)
        and point.when != report.results.created
    ]
    if row.score is not None:
        current = TrendPoint(
            task=row.task,
            model=row.model,
            metric=row.metric or "",
            when=report.results.created,
            value=row.score,
            stderr=row.stderr,
            commit=report.results.commit,
            verdict=row.verdict,
        )
        points.append(current)
    return _Series(row, points)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """Map from points and values to positions in the chart."""

    low: float
    high: float
    count: int
    """Number of points, at equal distances."""
    left: int = _LEFT
    right: int = _WIDTH - _MARGIN
    height: int = _HEIGHT

    @classmethod
    def over(cls, values: Sequence[float], count: int) -> Plot:
        """Return a plot that shows all values with a margin.

        Args:
            values: everything that is drawn.
            count: number of points.
        """
        low, high = min(values), max(values)
        margin = (high - low) * 0.05 or abs(high) * 0.05 or 1.0
        return cls(low=low - margin, high=high + margin, count=count)

    def x(self, index: int) -> float:
        """Return the horizontal position of a point."""
        return round(self.left + 4 + index * (self.right - self.left - 8) / (self.count - 1), 1)

    def y(self, value: float) -> float:
        """Return the vertical position of a value."""
        fraction = (value - self.low) / (self.high - self.low)
        return round(self.height - _BOTTOM - fraction * (self.height - _BOTTOM - _MARGIN), 1)

    def path(self, values: Sequence[float], *, reverse: bool = False) -> str:
        """Return the vertices of a line through one value per point.

        Args:
            values: one per point.
            reverse: from right to left.
        """
        vertices = [f"{self.x(index)},{self.y(value)}" for index, value in enumerate(values)]
        return " ".join(vertices[::-1] if reverse else vertices)


def ticks(low: float, high: float, most: int = 4) -> list[float]:
    """Return round values at equal distances between two bounds.

    Args:
        low: lower bound.
        high: upper bound; above `low`.
        most: number of values at most.
    """
    least = (high - low) / most
    power = 10.0 ** math.floor(math.log10(least))
    step = next(power * factor for factor in _STEPS if power * factor >= least)
    return [round(number * step, 12) for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _figure(series: _Series) -> Safe:
    row = series.row
    caption = el(
        "figcaption",
        el("strong", row.task),
        el("span", f" · {row.model} · {row.metric}", class_="quiet"),
        el("span", series.describe(series.points[-1]), class_="now"),
    )
    return el("figure", caption, _chart(series), _table(series))


def _chart(series: _Series) -> Safe:
    points, references, unit = series.points, series.reference_lines(), series.row.unit
    bounds = [point.value + sign * (point.stderr or 0) for point in points for sign in (-1, 1)]
    plot = Plot.over([*bounds, *(value for _, value in references)], len(points))
    values = [point.value for point in points]
    label = (
        f"{series.row.task}: {len(points)} scores from {series.describe(points[0])} to {series.describe(points[-1])}, "
        f"between {unit.score(min(values))} and {unit.score(max(values))}"
    )
    shapes = [
        *_axes(plot, series),
        el("polygon", points=f"{plot.path(bounds[1::2])} {plot.path(bounds[::2], reverse=True)}", class_="band"),
        *(
            el("line", x1=plot.left, x2=plot.right, y1=plot.y(value), y2=plot.y(value), class_=kind)
            for kind, value in references
        ),
        el("polyline", points=plot.path(values), class_="line"),
        *_dots(plot, series),
    ]
    size = {"viewBox": f"0 0 {_WIDTH} {plot.height}", "width": _WIDTH, "height": plot.height}
    return el("svg", *shapes, role="img", aria_label=label, class_="chart", **size)


def _axes(plot: Plot, series: _Series) -> Iterator[Safe]:
    for value in ticks(plot.low, plot.high):
        y = plot.y(value)
        yield el("line", x1=plot.left, x2=plot.right, y1=y, y2=y, class_="grid")
        yield el("text", series.row.unit.tick(value), x=plot.left - 6, y=y + 4, text_anchor="end", class_="tick")
    first, last = series.points[0].when[:10], series.points[-1].when[:10]
    yield el("text", first, x=plot.left, y=plot.height - 4, class_="tick")
    if last != first:
        yield el("text", last, x=plot.right, y=plot.height - 4, text_anchor="end", class_="tick")


def _dots(plot: Plot, series: _Series) -> Iterator[Safe]:
    radius = 4 if len(series.points) <= _SMALL_DOTS else 2
    for index, point in enumerate(series.points):
        style = point.verdict.value if point.verdict else "none"
        position = {"cx": plot.x(index), "cy": plot.y(point.value), "r": radius}
        yield el("circle", el("title", series.describe(point)), class_=f"dot {style}", **position)


def _table(series: _Series) -> Safe:
    rows = [
        el(
            "tr",
            el("td", el("time", point.when[:16].replace("T", " "), datetime=point.when)),
            el("td", (point.commit or MISSING)[:7]),
            el("td", series.row.unit.score(point.value, point.stderr)),
            el("td", point.verdict.value if point.verdict else MISSING),
        )
        for point in series.points[: -_LISTED - 1 : -1]
    ]
    titles = el("tr", *(el("th", title, scope="col") for title in ("time (UTC)", "commit", "score", "verdict")))
    more = "" if len(series.points) <= _LISTED else f", the newest {_LISTED} of {len(series.points)}"
    table = el("table", el("thead", titles), el("tbody", *rows), class_="points")
    return el("details", el("summary", f"scores{more}"), table)
