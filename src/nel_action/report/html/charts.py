"""Charts of differences and scores against their limits, as inline SVG with the same figures in words."""

from __future__ import annotations

from dataclasses import dataclass

from nel_action.report.html.element import Safe, el
from nel_action.report.rows import Row

__all__ = ["Scale", "difference_chart", "score_chart", "shared_scale"]

WIDTH = 220
HEIGHT = 30
_FOOTER = 14
"""Height of the labels below the chart."""
_PADDING = 6
_CHARACTER = 6.2
"""Approximate width of a character of a label."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Linear map from values to horizontal positions."""

    low: float
    high: float

    def x(self, value: float) -> float:
        """Return the position of a value; values outside the scale are moved to its edge."""
        fraction = (value - self.low) / (self.high - self.low)
        return round(_PADDING + min(max(fraction, 0.0), 1.0) * (WIDTH - 2 * _PADDING), 1)


def shared_scale(rows: list[Row]) -> Scale:
    """Return one scale for the differences of all rows, with zero in the middle, so that charts are comparable."""
    largest = max([*(abs(value) for row in rows for value in _extremes(row)), 1e-6]) * 1.1
    return Scale(-largest, largest)


def _extremes(row: Row) -> list[float]:
    comparison = row.comparison
    if comparison is None:
        return []
    margin = [row.task_verdict.margin] if row.task_verdict and row.task_verdict.margin is not None else []
    bounds = [comparison.interval.low, comparison.interval.high] if comparison.interval else []
    return [comparison.difference, *bounds, *margin]


def difference_chart(row: Row, scale: Scale) -> Safe | None:
    """Draw the difference and its interval, with lines for no change and for the largest allowed drop.

    Args:
        row: the row; without a comparison there is no chart.
        scale: the scale that the charts of all rows share.
    """
    comparison = row.comparison
    if comparison is None:
        return None
    margin = row.task_verdict.margin if row.task_verdict else None
    lower_is_better = row.task_verdict is not None and row.task_verdict.higher_is_better is False
    limit = None if margin is None else margin if lower_is_better else -margin
    interval = comparison.interval
    label = f"difference {row.unit.difference(comparison.difference)}"
    label += f", interval {row.unit.interval(interval)}" if interval else ""
    label += f", limit {row.unit.difference(limit)}" if limit is not None else ""
    shapes = [_failing_side(scale, limit, right=lower_is_better)] if limit is not None else []
    shapes += [_line(scale.x(0.0), "zero")]
    marked = [(limit, row.unit.difference(limit))] if limit is not None else []
    shapes += _labels(scale, [*marked, (0.0, "0")])
    shapes += [_span(scale, interval.low, interval.high)] if interval else []
    return _chart(label, [*shapes, _dot(scale.x(comparison.difference), row)])


def score_chart(row: Row) -> Safe | None:
    """Draw the score and its interval, with a line for its floor or ceiling; None without one."""
    verdict = row.task_verdict
    if verdict is None or verdict.floor is None or row.score is None:
        return None
    interval = verdict.interval
    values = [row.score, verdict.floor, *([interval.low, interval.high] if interval else [])]
    padding = (max(values) - min(values)) * 0.25 or 0.01
    scale = Scale(min(values) - padding, max(values) + padding)
    limit = f"limit {row.unit.limit(verdict.floor)}"
    label = f"score {row.unit.score(row.score, row.stderr)}, {limit}"
    shapes = [_failing_side(scale, verdict.floor, right=verdict.higher_is_better is False)]
    shapes += _labels(scale, [(verdict.floor, limit)])
    shapes += [_span(scale, interval.low, interval.high)] if interval else []
    return _chart(label, [*shapes, _dot(scale.x(row.score), row)])


def _chart(label: str, shapes: list[Safe]) -> Safe:
    size = {"viewBox": f"0 0 {WIDTH} {HEIGHT + _FOOTER}", "width": WIDTH, "height": HEIGHT + _FOOTER}
    return el("svg", el("title", label), *shapes, role="img", aria_label=label, class_="chart", **size)


def _failing_side(scale: Scale, limit: float, *, right: bool) -> Safe:
    """Shade the values that fail the gate."""
    edge = scale.x(limit)
    x, width = (edge, WIDTH - edge) if right else (0, edge)
    area = el("rect", x=x, y=0, width=round(width, 1), height=HEIGHT, class_="failing")
    return Safe(area + _line(edge, "limit"))


def _labels(scale: Scale, marked: list[tuple[float, str]]) -> list[Safe]:
    """Write labels below their lines; a label that would overlap an earlier one is left out."""
    labels: list[Safe] = []
    taken: list[tuple[float, float]] = []
    for value, text in marked:
        half = len(text) * _CHARACTER / 2
        x = min(max(scale.x(value), half), WIDTH - half)
        if all(abs(x - other) > half + width + 2 for other, width in taken):
            taken.append((x, half))
            y = HEIGHT + _FOOTER - 3
            labels.append(el("text", text, x=round(x, 1), y=y, text_anchor="middle", class_="tick"))
    return labels


def _line(x: float, kind: str) -> Safe:
    return el("line", x1=x, x2=x, y1=0, y2=HEIGHT, class_=kind)


def _span(scale: Scale, low: float, high: float) -> Safe:
    return el("line", x1=scale.x(low), x2=scale.x(high), y1=HEIGHT / 2, y2=HEIGHT / 2, class_="span")


def _dot(x: float, row: Row) -> Safe:
    return el("circle", cx=x, cy=HEIGHT / 2, r=5, class_=f"dot {row.verdict.value if row.verdict else 'none'}")
