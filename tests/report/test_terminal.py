from __future__ import annotations

from dataclasses import replace

import pytest
from tests.support import reports

from nel_action.gating.verdict import Comparison, Flip, GateReport, TaskVerdict, Verdict
from nel_action.model.results import Health
from nel_action.report.model import Report
from nel_action.report.terminal import print_report, render_terminal


def test_table_has_one_line_per_task_and_one_unit_per_row() -> None:
    lines = render_terminal(reports.failed(), width=160).splitlines()
    assert lines[0].split() == ["task", "metric", "score", "baseline", "difference", "(90", "%)", "verdict"]
    assert lines[1].split(maxsplit=6)[:6] == ["gsm8k", "exact_match", "81.2", "±", "1.9", "%"]
    assert "86.5 %" in lines[1]
    assert "−5.3 pp [−7.3, −3.3]" in lines[1]
    assert "fail: gsm8k dropped by 5.3 pp, more than the allowed 3 pp" in lines[1]


def test_verdict_comes_last_with_exit_code_baseline_and_link() -> None:
    last = render_terminal(reports.failed(), link="runs/x/report.html").splitlines()[-1]
    assert last == "fail (exit 1) against main a1b2c3d · report: runs/x/report.html"
    assert "note: the pull request changes evals/gate.yaml" in render_terminal(reports.failed())


def test_reasons_that_the_table_does_not_show_follow_it() -> None:
    report = reports.failed()
    first, *rest = report.gate.tasks
    judged = first.model_copy(update={"reasons": ("the first reason", "the second reason")})
    reasons = (f"{first.task}: the first reason", "no task was judged")
    gate = report.gate.model_copy(update={"tasks": (judged, *rest), "reasons": reasons})
    text = render_terminal(replace(report, gate=gate))
    assert text.count("the first reason") == 1
    assert f"\n{first.task}: the second reason\n" in text
    assert "\nno task was judged\n" in text


def test_items_that_got_worse_are_named_up_to_five() -> None:
    worse = tuple(Flip(id=f"w{n}", baseline=1, candidate=0) for n in range(7))
    compared = Comparison(baseline=0.8, difference=-0.1, n_paired=50, worse=worse, n_worse=7, n_better=1)
    task = TaskVerdict(task="t", model="m", verdict=Verdict.FAIL, score=0.7, comparison=compared)
    results = reports.passed().results.model_copy(update={"tasks": ()})
    report = Report(results=results, gate=GateReport(verdict=Verdict.FAIL, exit_code=1, tasks=(task,)))
    assert "t: 7 items got worse, 1 better; worse: w0, w1, w2, w3, w4, …" in render_terminal(report)


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_no_table_line_is_wider_than_the_terminal(width: int) -> None:
    table = render_terminal(reports.failed(), width=width).split("\n\n")[0]
    assert max(map(len, table.splitlines())) <= width


def test_color_only_adds_to_words() -> None:
    plain, colored = (render_terminal(reports.failed(), color=color) for color in (False, True))
    assert "\x1b[" not in plain
    assert "\x1b[" in colored


def test_outside_text_cannot_control_the_terminal() -> None:
    assert "\x1b" not in render_terminal(reports.hostile())


def models_report() -> Report:
    report = replace(reports.passed(), results=reports.passed().results.model_copy(update={"tasks": ()}))
    tasks = tuple(
        reports.verdict(task, Verdict.PASS, model=model) for task in ("gsm8k", "ifeval") for model in ("small", "large")
    )
    return replace(report, gate=GateReport(verdict=Verdict.PASS, exit_code=0, tasks=tasks))


def test_each_model_has_a_column() -> None:
    lines = render_terminal(models_report()).splitlines()
    assert lines[0].split()[:4] == ["task", "metric", "large", "small"]
    assert [line.split()[0] for line in lines[1:3]] == ["gsm8k", "ifeval"]


def test_reasons_of_failed_tasks_follow_the_table_of_several_models() -> None:
    report = models_report()
    failed = reports.verdict("gsm8k", Verdict.FAIL, model="large", reason="the score dropped by 5 pp")
    gate = report.gate.model_copy(update={"tasks": (failed, *report.gate.tasks[:1], *report.gate.tasks[2:])})
    assert "gsm8k (large): the score dropped by 5 pp" in render_terminal(replace(report, gate=gate))


def test_task_without_any_result_keeps_the_table_of_one_model() -> None:
    missing = TaskVerdict(task="arc", model="", verdict=Verdict.UNMEASURABLE, reasons=("no results for arc",))
    report = reports.passed()
    tasks = (*report.gate.tasks, missing)
    lines = render_terminal(replace(report, gate=report.gate.model_copy(update={"tasks": tasks}))).splitlines()
    assert lines[0].split()[-1] == "verdict"
    assert "unmeasurable: no results for arc" in lines[1]


def test_task_names_are_not_wrapped_from_80_columns_on() -> None:
    table = render_terminal(reports.failed(), width=80).split("\n\n")[0]
    assert {line.split(" ")[0] for line in table.splitlines()} == {
        "",
        "task",
        "gsm8k",
        "mmlu",
        "ifeval",
        "style",
        "arc",
    }


def test_printed_report_fits_the_width_of_the_output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    print_report(reports.failed())
    printed = capsys.readouterr().out
    assert printed == render_terminal(reports.failed(), width=60)


def with_health(report: Report, **counts: int) -> Report:
    health = Health.model_validate({"requests": 200, **counts})
    tasks = tuple(task.model_copy(update={"health": health}) for task in report.results.tasks[:1])
    return replace(report, results=report.results.model_copy(update={"tasks": (*tasks, *report.results.tasks[1:])}))


def test_every_share_of_answers_that_is_not_zero_is_in_one_line() -> None:
    report = reports.failed()
    name = report.results.tasks[0].task
    text = render_terminal(with_health(report, unanswered=3, retried=30, cut=1))
    assert f"\n{name} answers: 1.5 % unanswered, 0.5 % cut, 15 % retried\n" in text
    assert "answers:" not in render_terminal(with_health(report))
