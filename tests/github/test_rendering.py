"""Markdown of progress and trends, with untrusted names."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.support.gate_reports import make_report
from tests.support.reports import HOSTILE

from nel_action.formatting import Unit
from nel_action.github.rendering import MAX_ROWS, progress_table, progress_title, render_trend, trend_units
from nel_action.model.job import JobState
from nel_action.report.model import TrendPoint
from nel_action.report.progress import JobRow


def points(*values: float, task: str = "gsm8k") -> list[TrendPoint]:
    return [
        TrendPoint(task=task, model="m", metric="acc", when=f"2026-11-{index + 1:02d}T", value=value, commit="a1b2c3d4")
        for index, value in enumerate(values)
    ]


def test_chart_contains_all_points_within_its_axis() -> None:
    text = render_trend(points(0.7, 0.8, 0.75))
    assert "line [0.7, 0.8, 0.75]" in text
    assert 'x-axis ["11-01 a1b2c3d", "11-02 a1b2c3d", "11-03 a1b2c3d"]' in text
    assert "0.69 --> 0.81" in text


def test_single_point_has_no_chart() -> None:
    assert render_trend(points(0.7)) == ""


def test_constant_values_have_an_axis_with_extent() -> None:
    assert "-1 --> 1" in render_trend(points(0, 0))


def test_chart_contains_newest_points_only() -> None:
    assert render_trend(points(*([0.5] * 99))).count("a1b2c3d") == 30


def test_chart_escapes_untrusted_names() -> None:
    hostile = 'x"]\n```\n<script>@everyone ![](https://evil.example/p.png)'
    text = render_trend(points(0.1, 0.2, task=hostile))
    assert text.count("```") == 2
    assert "<script>" not in text
    assert "@everyone" not in text
    assert "](http" not in text


def test_charts_beyond_maximum_are_counted() -> None:
    many = [point for number in range(20) for point in points(0.1, 0.2, task=f"t{number}")]
    text = render_trend(many)
    assert text.count("xychart-beta") == 12
    assert "8 more" in text


def row(name: str, state: JobState, **more: Any) -> JobRow:  # noqa: ANN401 - fields of the row
    return JobRow(name=name, state=state, **more)


def test_progress_title_counts_finished_and_unsuccessful_jobs() -> None:
    rows = [row("a", JobState.SUCCEEDED), row("b", JobState.FAILED), row("c", JobState.UNKNOWN)]
    assert progress_title(rows[:1]) == "1 of 1 jobs finished"
    assert progress_title(rows) == "2 of 3 jobs finished, 1 unsuccessful"


def test_progress_title_does_not_count_unknown_state_as_finished() -> None:
    assert progress_title([row("a", JobState.UNKNOWN)]) == "0 of 1 jobs finished"


def test_progress_table_orders_failed_running_succeeded() -> None:
    rows = [row("done", JobState.SUCCEEDED), row("runs", JobState.RUNNING), row("broke", JobState.FAILED)]
    lines = progress_table(rows).splitlines()[2:]
    assert [line.split(" | ")[0].strip("| ") for line in lines] == ["broke", "runs", "done"]


def test_progress_table_shows_items_with_and_without_total() -> None:
    assert "| 1,234 of 5,000 |" in progress_table([row("a", JobState.RUNNING, done=1234, total=5000)])
    assert "| 7 |" in progress_table([row("a", JobState.RUNNING, done=7)])


def test_progress_table_limits_rows_and_keeps_failed_jobs() -> None:
    rows = [*(row(f"job{n}", JobState.SUCCEEDED) for n in range(999)), row("broke", JobState.FAILED)]
    table = progress_table(rows)
    assert table.count("\n| ") - 1 <= MAX_ROWS
    assert "broke" in table
    assert f"{1000 - MAX_ROWS} more" in table


def test_progress_table_escapes_names_and_details() -> None:
    table = progress_table([row(HOSTILE, JobState.RUNNING, detail=HOSTILE)])
    assert len(table.splitlines()) == 3
    assert "<img" not in table
    assert "@octocat" not in table


@pytest.mark.parametrize(
    ("values", "higher_is_better", "unit"),
    [((0.7, 0.8), True, Unit.PROPORTION), ((0.7, 0.8), False, Unit.PLAIN), ((0.7, 8.0), True, Unit.PLAIN)],
)
def test_trend_units_follow_values_and_direction(
    values: tuple[float, ...],
    unit: Unit,
    *,
    higher_is_better: bool,
) -> None:
    report = make_report()
    task = report.gate.tasks[0].model_copy(
        update={"task": "gsm8k", "model": "m", "metric": "acc", "higher_is_better": higher_is_better}
    )
    gate = report.gate.model_copy(update={"tasks": (task,)})
    report = replace(report, gate=gate, metadata=replace(report.metadata, trend=tuple(points(*values))))
    assert trend_units(report) == {("gsm8k", "m", "acc"): unit}


def test_chart_of_a_proportion_is_in_percent() -> None:
    text = render_trend(points(0.7, 0.8, 0.75), units={("gsm8k", "m", "acc"): Unit.PROPORTION})
    assert "line [70, 80, 75]" in text
    assert '"acc in percent" 69 --> 81' in text
