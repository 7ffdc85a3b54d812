"""Earlier scores of each task, as a line with its error band."""

from __future__ import annotations

from collections.abc import Sequence

from nel_action.report import figures
from nel_action.report.html.element import Safe, el
from nel_action.report.model import Report, TrendPoint
from nel_action.report.rows import Row

__all__ = ["trend_section"]

WIDTH = 320
HEIGHT = 110
_PAD = 10


def trend_section(report: Report, rows: Sequence[Row]) -> Safe | None:
    """Render a chart for each task with at least two points, its own present score the last one."""
    charts = [chart for row in rows if (chart := _chart(report, row))]
    return el("section", el("h2", "Trend"), el("div", *charts, class_="trends")) if charts else None


def _chart(report: Report, row: Row) -> Safe | None:
    points = [
        one for one in report.facts.trend if (one.task, one.model, one.metric) == (row.task, row.model, row.metric)
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
    if len(points) < 2:  # noqa: PLR2004 - a line has two ends
        return None
    first, last = points[0], points[-1]
    said = f"{row.task}: {len(points)} scores from {_told(first, row)} to {_told(last, row)}"
    return el("figure", _picture(points, row, said), el("figcaption", el("strong", row.task), f" {_told(last, row)}"))


def _picture(points: Sequence[TrendPoint], row: Row, said: str) -> Safe:
    lows = [point.value - (point.stderr or 0) for point in points]
    highs = [point.value + (point.stderr or 0) for point in points]
    low, high = min(lows), max(highs)
    span = (high - low) or abs(high) * 0.1 or 1.0

    def at(index: int, value: float) -> tuple[float, float]:
        x = _PAD + index * (WIDTH - 2 * _PAD) / (len(points) - 1)
        return round(x, 1), round(HEIGHT - _PAD - (value - low) / span * (HEIGHT - 2 * _PAD), 1)

    def line(values: Sequence[float], indices: Sequence[int]) -> str:
        return " ".join(f"{x},{y}" for x, y in (at(index, value) for index, value in zip(indices, values, strict=True)))

    forth = range(len(points))
    band = f"{line(highs, forth)} {line(lows[::-1], forth[::-1])}"
    dots = [_dot(*at(index, point.value), point, row) for index, point in enumerate(points)]
    shapes = [
        el("polygon", points=band, class_="band"),
        el("polyline", points=line([point.value for point in points], forth), class_="line"),
        *dots,
    ]
    size = {"viewBox": f"0 0 {WIDTH} {HEIGHT}", "width": WIDTH, "height": HEIGHT}
    return el("svg", *shapes, role="img", aria_label=said, class_="chart", **size)


def _dot(x: float, y: float, point: TrendPoint, row: Row) -> Safe:
    kind = point.verdict.value if point.verdict else "none"
    return el("circle", el("title", _told(point, row)), cx=x, cy=y, r=4, class_=f"dot {kind}")


def _told(point: TrendPoint, row: Row) -> str:
    commit = f", {point.commit[:7]}" if point.commit else ""
    return f"{figures.score(point.value, point.stderr, percent=row.percent)} ({point.when[:10]}{commit})"
