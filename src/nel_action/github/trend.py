"""Scores over time as Mermaid charts, which GitHub draws itself: no picture comes from anywhere else."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from nel_action.report import escape
from nel_action.report.model import TrendPoint

__all__ = ["render_trend"]

CHARTS: Final = 12
POINTS: Final = 30


def render_trend(points: Sequence[TrendPoint], *, charts: int = CHARTS) -> str:
    """Render one folded chart for each task and metric that has at least two points; empty where none has."""
    lines: dict[tuple[str, str, str], list[TrendPoint]] = {}
    for point in points:
        lines.setdefault((point.task, point.model, point.metric), []).append(point)
    drawn = [_chart(key, line[-POINTS:]) for key, line in lines.items() if len(line) > 1]
    if not drawn:
        return ""
    left = f"\n{len(drawn) - charts} more in the history.\n" if len(drawn) > charts else ""
    return "<details><summary>Over time</summary>\n\n" + "\n".join(drawn[:charts]) + left + "\n</details>\n"


def _chart(key: tuple[str, str, str], line: Sequence[TrendPoint]) -> str:
    task, model, metric = key
    values = [point.value for point in line]
    low, high = min(values), max(values)
    room = (high - low) * 0.1 or abs(high) * 0.05 or 1.0
    labels = ", ".join(f'"{_plain(point.when[5:10] + " " + (point.commit or "")[:7])}"' for point in line)
    return "\n".join(
        [
            f"**{escape.text(task)}** · {escape.text(metric)} · {escape.text(model)}",
            "",
            "```mermaid",
            "xychart-beta",
            f'    title "{_plain(task + " " + metric)}"',
            f"    x-axis [{labels}]",
            f'    y-axis "{_plain(metric)}" {low - room:.6g} --> {high + room:.6g}',
            f"    line [{', '.join(f'{value:.6g}' for value in values)}]",
            "```",
            "",
        ]
    )


def _plain(text: str) -> str:
    """Keep what means nothing to Mermaid, nor to the fence around it."""
    return re.sub(r"[^A-Za-z0-9 ._-]+", " ", text).strip()[:60]
