from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console
from tests.support import reports

from nel_action.gating.verdict import GateReport, Verdict
from nel_action.report.model import Report
from nel_action.report.terminal import print_table, standard_output


def shown(report: Report, width: int = 160, *, colour: bool = False) -> str:
    out = io.StringIO()
    print_table(report, Console(file=out, width=width, force_terminal=colour, no_color=not colour))
    return out.getvalue()


def test_table_reads_like_a_sentence() -> None:
    lines = shown(reports.failed()).splitlines()
    assert lines[0].split() == ["task", "metric", "score", "baseline", "difference", "(90%)", "verdict"]
    assert lines[1].split(maxsplit=5)[:5] == ["gsm8k", "exact_match", "81.2", "±", "1.9"]
    assert "−5.3 pp [−7.3, −3.3]" in lines[1]
    assert "fail: gsm8k fell 5.3 pp, more than the allowed 3" in lines[1]


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    assert max(map(len, shown(reports.failed(), width).splitlines())) <= width


def test_colour_only_adds_to_words() -> None:
    assert "\x1b[" not in shown(reports.failed())
    assert "\x1b[" in shown(reports.failed(), colour=True)


def test_terminal_cannot_be_moved_by_a_task_name() -> None:
    assert "\x1b" not in shown(reports.hostile())


def test_each_model_has_a_column() -> None:
    report = replace(reports.passed(), results=reports.passed().results.model_copy(update={"tasks": ()}))
    tasks = tuple(
        reports.verdict(task, Verdict.PASS, model=model) for task in ("gsm8k", "ifeval") for model in ("small", "large")
    )
    lines = shown(replace(report, gate=GateReport(verdict=Verdict.PASS, exit_code=0, tasks=tasks))).splitlines()
    assert lines[0].split()[:4] == ["task", "metric", "large", "small"]


def test_names_are_whole_where_there_is_room_and_a_log_has_room(monkeypatch: pytest.MonkeyPatch) -> None:
    starts = {line.split(" ")[0] for line in shown(reports.failed(), 80).splitlines()}
    assert starts == {"", "task", "gsm8k", "mmlu", "ifeval", "style", "arc", "note:"}
    monkeypatch.setattr("sys.stdout", io.StringIO())
    monkeypatch.delenv("COLUMNS", raising=False)
    assert standard_output().width == 120
    monkeypatch.setenv("COLUMNS", "90")
    assert standard_output().width == 90
