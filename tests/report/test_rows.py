from __future__ import annotations

from dataclasses import replace

from tests.support import reports

from nel_action.formatting import Unit
from nel_action.gating.verdict import GateReport, TaskVerdict, Verdict
from nel_action.model.results import JobOutcome
from nel_action.report.model import Report
from nel_action.report.rows import has_no_measurable_change, models_of, rows_of


def test_rows_are_sorted_by_severity() -> None:
    rows = rows_of(reports.failed())
    assert [row.task for row in rows] == ["gsm8k", "mmlu", "ifeval", "style", "arc"]
    assert [row.verdict_text for row in rows] == ["fail", "unmeasurable", "inconclusive", "fail (advisory)", "pass"]


def test_results_without_a_verdict_have_rows() -> None:
    results = reports.passed().results
    failed = reports.result("arc", outcome=JobOutcome.FAILED)
    results = results.model_copy(update={"tasks": (*results.tasks, failed)})
    rows = rows_of(Report(results=results, gate=GateReport(verdict=Verdict.UNMEASURABLE, exit_code=3)))
    assert [(row.task, row.verdict_text, row.has_problem) for row in rows] == [
        ("arc", "no result", True),
        ("ifeval", "not gated", False),
        ("gsm8k", "not gated", False),
    ]


def test_all_figures_of_a_row_decide_its_unit() -> None:
    verdict = reports.verdict("gsm8k", Verdict.PASS)
    report = reports.passed()
    units = {}
    for name, change in (
        ("proportion", {}),
        ("floor above 1", {"floor": 80.0}),
        ("lower", {"higher_is_better": False}),
    ):
        gate = report.gate.model_copy(update={"tasks": (verdict.model_copy(update=change),)})
        units[name] = rows_of(replace(report, gate=gate))[0].unit
    assert units == {"proportion": Unit.PROPORTION, "floor above 1": Unit.PLAIN, "lower": Unit.PLAIN}


def test_models_of_leaves_out_tasks_without_any_result() -> None:
    report = reports.passed()
    missing = TaskVerdict(task="arc", model="", verdict=Verdict.UNMEASURABLE, reasons=("no results",))
    gate = report.gate.model_copy(update={"tasks": (*report.gate.tasks, missing)})
    assert models_of(rows_of(replace(report, gate=gate))) == ("acme-7b",)


def test_no_measurable_change_needs_intervals_that_contain_zero() -> None:
    report = reports.passed()
    assert has_no_measurable_change(report, rows_of(report))
    improved = reports.verdict("gsm8k", Verdict.PASS, difference=0.05)
    changed = replace(report, gate=report.gate.model_copy(update={"tasks": (improved,)}))
    assert not has_no_measurable_change(changed, rows_of(changed))
