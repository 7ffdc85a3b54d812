"""How things stand, as Markdown."""

from __future__ import annotations

import time
from typing import Any

import pytest
from tests.support.reports import HOSTILE

from nel_action.github.progress import ROWS, Ticker, progress_table, progress_title
from nel_action.model.job import JobState
from nel_action.report.progress import JobRow


def row(name: str, state: JobState, **more: Any) -> JobRow:  # noqa: ANN401 - fields of the row
    return JobRow(name=name, state=state, **more)


def test_the_title_counts_and_tells_of_what_ended_badly() -> None:
    rows = [row("a", JobState.SUCCEEDED), row("b", JobState.FAILED), row("c", JobState.UNKNOWN)]
    assert progress_title(rows[:1]) == "1 of 1 jobs ended"
    assert progress_title(rows) == "2 of 3 jobs ended, 1 of them badly"


def test_unknown_has_not_ended() -> None:
    assert progress_title([row("a", JobState.UNKNOWN)]) == "0 of 1 jobs ended"


def test_what_failed_stands_first_and_what_succeeded_last() -> None:
    rows = [row("done", JobState.SUCCEEDED), row("runs", JobState.RUNNING), row("broke", JobState.FAILED)]
    lines = progress_table(rows).splitlines()[2:]
    assert [line.split(" | ")[0].strip("| ") for line in lines] == ["broke", "runs", "done"]


def test_items_are_shown_with_and_without_a_total() -> None:
    assert "| 1,234 of 5,000 |" in progress_table([row("a", JobState.RUNNING, done=1234, total=5000)])
    assert "| 7 |" in progress_table([row("a", JobState.RUNNING, done=7)])


def test_a_thousand_jobs_are_counted_and_the_failed_ones_are_among_those_shown() -> None:
    rows = [*(row(f"job{n}", JobState.SUCCEEDED) for n in range(999)), row("broke", JobState.FAILED)]
    table = progress_table(rows)
    assert table.count("\n| ") - 1 <= ROWS
    assert "broke" in table
    assert f"{1000 - ROWS} more" in table


def test_names_and_details_mean_nothing_to_markdown() -> None:
    table = progress_table([row(HOSTILE, JobState.RUNNING, detail=HOSTILE)])
    assert len(table.splitlines()) == 3
    assert "<img" not in table
    assert "@octocat" not in table


def test_a_ticker_is_due_once_in_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    ticker = Ticker(30.0)
    assert (ticker.due(), ticker.due()) == (True, False)
    now = 130.0
    assert ticker.due()
