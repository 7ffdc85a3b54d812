"""Charts that GitHub draws itself, from names that are not ours."""

from __future__ import annotations

from nel_action.github.trend import render_trend
from nel_action.report.model import TrendPoint


def points(*values: float, task: str = "gsm8k") -> list[TrendPoint]:
    return [
        TrendPoint(task=task, model="m", metric="acc", when=f"2026-11-{at + 1:02d}T", value=value, commit="a1b2c3d4")
        for at, value in enumerate(values)
    ]


def test_a_chart_shows_every_point_inside_its_axis() -> None:
    text = render_trend(points(0.7, 0.8, 0.75))
    assert "line [0.7, 0.8, 0.75]" in text
    assert 'x-axis ["11-01 a1b2c3d", "11-02 a1b2c3d", "11-03 a1b2c3d"]' in text
    assert "0.69 --> 0.81" in text


def test_one_point_is_no_trend() -> None:
    assert render_trend(points(0.7)) == ""


def test_a_flat_line_and_zeros_have_an_axis() -> None:
    assert "-1 --> 1" in render_trend(points(0, 0))


def test_only_the_newest_points_are_drawn() -> None:
    assert render_trend(points(*([0.5] * 99))).count("a1b2c3d") == 30


def test_a_name_cannot_leave_its_chart() -> None:
    evil = 'x"]\n```\n<script>@everyone ![](https://evil.example/p.png)'
    text = render_trend(points(0.1, 0.2, task=evil))
    assert text.count("```") == 2
    assert "<script>" not in text
    assert "@everyone" not in text
    assert "](http" not in text


def test_many_tasks_are_counted_and_not_all_drawn() -> None:
    many = [point for number in range(20) for point in points(0.1, 0.2, task=f"t{number}")]
    text = render_trend(many)
    assert text.count("xychart-beta") == 12
    assert "8 more" in text
