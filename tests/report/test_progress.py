from __future__ import annotations

import io

import pytest
from rich.console import Console

from nel_action.model.job import JobState
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


def test_log_has_one_line_per_state_change_and_per_minute(clock: Clock) -> None:
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


def test_terminal_is_redrawn_in_place_and_released(clock: Clock) -> None:
    out = io.StringIO()
    console = Console(file=out, width=100, force_terminal=True)
    view = ProgressView(console, clock=clock)
    clock.now += 100
    view.update([row(JobState.RUNNING, done=100)])
    view.update([row(JobState.FAILED, done=100, detail="out of\x1b[2Jmemory")])
    view.close()
    view.close()
    output = out.getvalue()
    assert "100/400" in output
    assert "5m00s left" in output
    assert "\x1b[2J" not in output
    assert output.rstrip().endswith("\x1b[?25h")


def test_unknown_progress_is_left_out(clock: Clock) -> None:
    out = io.StringIO()
    view = ProgressView(Console(file=out, width=80), clock=clock)
    view.update([JobRow(name="x", state=JobState.UNKNOWN, detail="could not see")])
    assert out.getvalue().split() == ["x", "unknown", "could", "not", "see"]


def drawn(rows: list[JobRow], width: int, height: int = 40) -> list[str]:
    """Return the last picture that a terminal of this size gets while jobs run."""
    out = io.StringIO()
    console = Console(file=out, width=width, height=height, force_terminal=True, color_system=None)
    view = ProgressView(console, clock=lambda: NOON + 100)
    view.update(rows)
    lines = out.getvalue().replace("\x1b[?25l", "").splitlines()
    view.close()
    return [line.rstrip() for line in lines]


@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
def test_long_names_and_messages_truncate_nothing_else(width: int) -> None:
    long = JobRow(
        name="lm-evaluation-harness.a_very_long_name_of_a_group.ifeval",
        state=JobState.RUNNING,
        done=271,
        total=400,
        started=START,
    )
    broken = JobRow(name="mmlu", state=JobState.FAILED, started=START, ended=START, detail="no memory " * 30)
    first, second = drawn([long, broken], width)
    assert "ifeval" in first
    assert "271/400" in first
    assert "running" in first
    assert "failed" in second
    assert max(len(first), len(second)) <= width
    assert width < 80 or "2.7/s  48s left" in first


def test_unfinished_and_failed_jobs_are_kept_if_lines_are_few(clock: Clock) -> None:
    states = [JobState.SUCCEEDED] * 30 + [JobState.RUNNING] * 3 + [JobState.FAILED] * 2 + [JobState.PENDING] * 20
    rows = [JobRow(name=f"task{number}", state=state) for number, state in enumerate(states)]
    lines = drawn(rows, 100, height=12)
    assert len(lines) <= 11
    assert sum("running" in line for line in lines) == 3
    assert sum("failed" in line for line in lines) == 2
    assert lines[-1] == "and 30 succeeded, 15 pending"
    out = io.StringIO()
    view = ProgressView(Console(file=out, width=100, height=12, force_terminal=True), clock=clock)
    view.update(rows)
    view.close()
    assert all(row.name in out.getvalue().rpartition("and ")[2] for row in rows)
