"""Intervals drawn against margin and floor, as inline SVG with the same figures in words."""

from __future__ import annotations

from dataclasses import dataclass

from nel_action.report.html.element import Safe, el
from nel_action.report.rows import Row

__all__ = ["Scale", "difference_chart", "score_chart", "shared_scale"]

WIDTH = 220
HEIGHT = 30
_FOOT = 14
"""Room below for the figures of the lines."""
_PAD = 6
_LETTER = 6.2
"""Width of a small figure, about."""


@dataclass(frozen=True, slots=True)
class Scale:
    """From values to places between the chart's edges."""

    low: float
    high: float

    def place(self, value: float) -> float:
        """Return the place of a value, kept inside the chart."""
        share = (value - self.low) / (self.high - self.low)
        return round(_PAD + min(max(share, 0.0), 1.0) * (WIDTH - 2 * _PAD), 1)


def shared_scale(rows: list[Row]) -> Scale:
    """Make one scale for all rows, with nothing-changed in the middle, so that they can be compared by eye."""
    ends = [abs(end) for row in rows for end in _ends(row)]
    reach = max([*ends, 1e-6]) * 1.1
    return Scale(-reach, reach)


def _ends(row: Row) -> list[float]:
    compared = row.comparison
    if compared is None:
        return []
    margin = [row.judged.margin] if row.judged and row.judged.margin is not None else []
    bounds = [compared.interval.low, compared.interval.high] if compared.interval else []
    return [compared.difference, *bounds, *margin]


def difference_chart(row: Row, scale: Scale) -> Safe | None:
    """Draw the difference and its interval against no change and against the allowed drop."""
    compared = row.comparison
    if compared is None:
        return None
    limit = row.judged.margin if row.judged else None
    lower_is_better = row.judged is not None and row.judged.higher_is_better is False
    edge = None if limit is None else limit if lower_is_better else -limit
    bounds = compared.interval
    said = f"difference {row.unit.difference(compared.difference)}"
    said += f", interval {row.unit.interval(bounds)}" if bounds else ""
    said += f", allowed down to {row.unit.difference(edge)}" if edge is not None else ""
    shapes = [_forbidden(scale, edge, rightward=lower_is_better)] if edge is not None else []
    shapes += [_rule(scale.place(0.0), "zero")]
    named = [(edge, row.unit.difference(edge))] if edge is not None else []
    shapes += _labels(scale, [*named, (0.0, "0")])
    shapes += [_span(scale, bounds.low, bounds.high)] if bounds else []
    return _chart(said, [*shapes, _dot(scale.place(compared.difference), row)])


def score_chart(row: Row) -> Safe | None:
    """Draw the score and its interval against its limit."""
    judged = row.judged
    if judged is None or judged.floor is None or row.score is None:
        return None
    bounds = judged.interval
    ends = [row.score, judged.floor, *([bounds.low, bounds.high] if bounds else [])]
    room = (max(ends) - min(ends)) * 0.25 or 0.01
    scale = Scale(min(ends) - room, max(ends) + room)
    said = f"score {row.unit.score(row.score, row.stderr)}"
    said += f", limit {row.unit.limit(judged.floor)}"
    shapes = [_forbidden(scale, judged.floor, rightward=judged.higher_is_better is False)]
    shapes += _labels(scale, [(judged.floor, f"limit {row.unit.limit(judged.floor)}")])
    shapes += [_span(scale, bounds.low, bounds.high)] if bounds else []
    return _chart(said, [*shapes, _dot(scale.place(row.score), row)])


def _chart(said: str, shapes: list[Safe]) -> Safe:
    size = {"viewBox": f"0 0 {WIDTH} {HEIGHT + _FOOT}", "width": WIDTH, "height": HEIGHT + _FOOT}
    return el("svg", el("title", said), *shapes, role="img", aria_label=said, class_="chart", **size)


def _forbidden(scale: Scale, edge: float, *, rightward: bool) -> Safe:
    """Shade the side of a limit where the gate fails."""
    at = scale.place(edge)
    x, width = (at, WIDTH - at) if rightward else (0, at)
    shade = el("rect", x=x, y=0, width=round(width, 1), height=HEIGHT, class_="forbidden")
    return Safe(shade + _rule(at, "limit"))


def _labels(scale: Scale, named: list[tuple[float, str]]) -> list[Safe]:
    """Write figures under their lines, as long as one does not run into the one before."""
    labels: list[Safe] = []
    taken: list[tuple[float, float]] = []
    for value, text in named:
        half = len(text) * _LETTER / 2
        x = min(max(scale.place(value), half), WIDTH - half)
        if all(abs(x - other) > half + width + 2 for other, width in taken):
            taken.append((x, half))
            labels.append(el("text", text, x=round(x, 1), y=HEIGHT + _FOOT - 3, text_anchor="middle", class_="tick"))
    return labels


def _rule(x: float, kind: str) -> Safe:
    return el("line", x1=x, x2=x, y1=0, y2=HEIGHT, class_=kind)


def _span(scale: Scale, low: float, high: float) -> Safe:
    return el("line", x1=scale.place(low), x2=scale.place(high), y1=HEIGHT / 2, y2=HEIGHT / 2, class_="span")


def _dot(x: float, row: Row) -> Safe:
    return el("circle", cx=x, cy=HEIGHT / 2, r=5, class_=f"dot {row.verdict.value if row.verdict else 'none'}")
