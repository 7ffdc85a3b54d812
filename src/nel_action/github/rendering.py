"""Markdown that only GitHub shows: progress while jobs run, and trend charts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from nel_action.formatting import Unit, count
from nel_action.model.job import JobState
from nel_action.report import escape
from nel_action.report.model import Report, TrendPoint
from nel_action.report.progress import JobRow

__all__ = ["progress_table", "progress_title", "render_trend", "trend_units"]

MAX_ROWS: Final = 100
"""Rows of a progress table."""
MAX_CHARTS: Final = 12
MAX_POINTS: Final = 30
"""Points of a chart; the newest are drawn."""

TrendKey = tuple[str, str, str]
"""Task, model and metric."""


def progress_title(rows: Sequence[JobRow]) -> str:
    """Summarise the progress in one line."""
    finished = sum(row.state.final for row in rows)
    unsuccessful = sum(row.state in {JobState.FAILED, JobState.CANCELLED} for row in rows)
    title = f"{finished} of {len(rows)} jobs finished"
    return f"{title}, {unsuccessful} unsuccessful" if unsuccessful else title


def progress_table(rows: Sequence[JobRow]) -> str:
    """Render the state and items of each job: failed ones first, then running ones, then finished ones."""
    order = list(JobState)
    ordered = sorted(rows, key=lambda row: (row.state is not JobState.FAILED, row.state.final, order.index(row.state)))
    lines = ["| task | state | items | |", "|---|---|---|---|"]
    lines += [
        f"| {escape.text(row.name)} | {row.state.value} | {_items(row)} | {escape.text(row.detail or '', limit=120)} |"
        for row in ordered[:MAX_ROWS]
    ]
    omitted = len(ordered) - MAX_ROWS
    return "\n".join([*lines, *([f"\n{omitted} more"] if omitted > 0 else [])]) + "\n"


def _items(row: JobRow) -> str:
    if row.done is None:
        return ""
    return f"{count(row.done)} of {count(row.total)}" if row.total is not None else count(row.done)


def trend_units(report: Report) -> dict[TrendKey, Unit]:
    """Return the unit of each metric in a report's trend."""
    values: dict[TrendKey, list[float | None]] = {}
    for point in report.metadata.trend:
        values.setdefault(_key(point), []).append(point.value)
    higher = {(task.task, task.model, task.metric): task.higher_is_better for task in report.gate.tasks}
    return {key: Unit.of(*points, higher_is_better=higher.get(key)) for key, points in values.items()}


def render_trend(
    points: Sequence[TrendPoint], *, units: Mapping[TrendKey, Unit] | None = None, max_charts: int = MAX_CHARTS
) -> str:
    """Render a folded Mermaid chart for each metric with two or more points; empty if there is none.

    GitHub draws Mermaid charts itself, so the Markdown refers to no image.

    Args:
        points: scores of all metrics, oldest first.
        units: unit of each metric; plain numbers where it is missing.
        max_charts: charts that are drawn; the number of further ones is stated.
    """
    series: dict[TrendKey, list[TrendPoint]] = {}
    for point in points:
        series.setdefault(_key(point), []).append(point)
    charts = [
        _chart(key, line[-MAX_POINTS:], (units or {}).get(key, Unit.PLAIN))
        for key, line in series.items()
        if len(line) > 1
    ]
    if not charts:
        return ""
    omitted = f"\n{len(charts) - max_charts} more in the history.\n" if len(charts) > max_charts else ""
    return "<details><summary>Over time</summary>\n\n" + "\n".join(charts[:max_charts]) + omitted + "\n</details>\n"


def _key(point: TrendPoint) -> TrendKey:
    return point.task, point.model, point.metric


def _chart(key: TrendKey, points: Sequence[TrendPoint], unit: Unit) -> str:
    task, model, metric = key
    scale, suffix = (100, " in percent") if unit is Unit.PROPORTION else (1, "")
    values = [point.value * scale for point in points]
    low, high = min(values), max(values)
    margin = (high - low) * 0.1 or abs(high) * 0.05 or 1.0
    labels = ", ".join(f'"{_plain(point.when[5:10] + " " + (point.commit or "")[:7])}"' for point in points)
    return "\n".join(
        [
            f"**{escape.text(task)}** · {escape.text(metric)} · {escape.text(model)}",
            "",
            "```mermaid",
            "xychart-beta",
            f'    title "{_plain(task + " " + metric)}"',
            f"    x-axis [{labels}]",
            f'    y-axis "{_plain(metric)}{suffix}" {low - margin:.6g} --> {high + margin:.6g}',
            f"    line [{', '.join(f'{value:.6g}' for value in values)}]",
            "```",
            "",
        ]
    )


def _plain(text: str) -> str:
    """Keep the characters that have no meaning in Mermaid or in the fence around it."""
    return re.sub(r"[^A-Za-z0-9 ._-]+", " ", text).strip()[:60]
