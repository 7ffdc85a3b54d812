from __future__ import annotations

import io

import pytest
from rich.console import Console

from nel_action.executors.interface import JobState
from nel_action.report.progress import JobRow, ProgressView

START = "2026-11-22T10:30:00Z"
NOON = 1795343400.0  # START in seconds


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def row(state: JobState, done: int | None = None, detail: str | None = None) -> JobRow:
    return JobRow(name="gsm8k", state=state, done=done, total=400, started=START, detail=detail)


def test_log_has_a_line_at_each_change_and_one_a_minute(clock: Clock) -> None:
    out = io.StringIO()
    view = ProgressView(Console(file=out, width=80), clock=clock)
    view.update([row(JobState.PENDING)])
    for _ in range(13):
        clock.now += 10
        view.update([row(JobState.RUNNING, done=int(clock.now - NOON))])
    view.update([row(JobState.SUCCEEDED, done=400)])
    view.update([row(JobState.SUCCEEDED, done=400)])
    view.close()
    lines = out.getvalue().splitlines()
    assert [line.split()[1] for line in lines] == ["pending", "running", "running", "running", "succeeded"]
    assert lines[2].split() == ["gsm8k", "running", "70/400", "1.0/s", "5m30s", "left"]


def test_terminal_draws_in_place_and_is_given_back(clock: Clock) -> None:
    out = io.StringIO()
    console = Console(file=out, width=100, force_terminal=True)
    view = ProgressView(console, clock=clock)
    clock.now += 100
    view.update([row(JobState.RUNNING, done=100)])
    view.update([row(JobState.FAILED, done=100, detail="out of\x1b[2Jmemory")])
    view.close()
    view.close()
    shown = out.getvalue()
    assert "100/400" in shown
    assert "5m00s left" in shown
    assert "\x1b[2J" not in shown
    assert shown.rstrip().endswith("\x1b[?25h")


def test_unknown_progress_is_not_made_up(clock: Clock) -> None:
    out = io.StringIO()
    view = ProgressView(Console(file=out, width=80), clock=clock)
    view.update([JobRow(name="x", state=JobState.UNKNOWN, detail="could not see")])
    assert out.getvalue().split() == ["x", "unknown", "could", "not", "see"]
