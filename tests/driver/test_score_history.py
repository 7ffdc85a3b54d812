from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.support import reports
from tests.support.project import Project

from nel_action.driver.score_history import earlier_scores
from nel_action.ledger import InvocationRow, Ledger
from nel_action.model.results import TaskResult, write_results
from nel_action.report.model import Report
from nel_action.report.store import load_report

pytestmark = pytest.mark.slow


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "home")


def run_of(day: int, value: float, **changes: object) -> Report:
    """Make the report of a run of gsm8k."""
    base = reports.failed()
    task = reports.result("gsm8k", value=value).model_copy(update={"key": f"nel-{day:016x}", **changes})
    verdict = next(task for task in base.gate.tasks if task.task == "gsm8k").model_copy(update={"score": value})
    results = base.results.model_copy(
        update={"invocation": f"{day:016x}", "created": f"2026-11-{day:02}T02:00:00Z", "tasks": (task,)}
    )
    return replace(base, results=results, gate=base.gate.model_copy(update={"tasks": (verdict,)}))


def save_run(ledger: Ledger, report: Report, *, judged: bool = True) -> Path:
    """Write a run directory and add it to the ledger."""
    results = report.results
    folder = ledger.path.parent.parent / results.invocation
    write_results(results, folder / "results.json")
    if judged:
        (folder / "gate.json").write_text(report.gate.model_dump_json())
    row = InvocationRow(id=results.invocation, created=results.created, run_dir=folder, spec="s.yaml", executor="local")
    ledger.add(row)
    return folder


def test_earlier_scores_are_ordered_by_time(ledger: Ledger) -> None:
    for day, value in ((3, 0.7), (1, 0.5), (2, 0.6)):
        save_run(ledger, run_of(day, value))
    points = earlier_scores(run_of(4, 0.8), ledger)
    assert [point.value for point in points] == [0.5, 0.6, 0.7, 0.8]
    assert {(point.task, point.metric, point.commit) for point in points} == {("gsm8k", "exact_match", "a1b2c3d")}
    assert {point.verdict for point in points} == {"fail"}


@pytest.mark.parametrize(
    "changes",
    [
        {"params": {"temperature": 1.0}},
        {"model": "another"},
        {"harness": "inspect"},
        {"task_version": "2"},
        {"n_shot": 5},
    ],
)
def test_earlier_scores_of_other_settings_are_excluded(ledger: Ledger, changes: dict[str, object]) -> None:
    save_run(ledger, run_of(1, 0.5, **changes))
    assert [point.value for point in earlier_scores(run_of(2, 0.6, task_version="1"), ledger)] == [0.6]


def test_a_reused_evaluation_is_one_point(ledger: Ledger) -> None:
    same = {"key": "nel-00000000000000ff"}
    for day in (1, 2, 3):
        save_run(ledger, run_of(day, 0.5, **same))
    points = earlier_scores(run_of(4, 0.5, **same), ledger)
    assert [point.when for point in points] == ["2026-11-04T02:00:00Z"]


def test_runs_of_another_repository_are_excluded(ledger: Ledger) -> None:
    other = run_of(1, 0.5)
    save_run(ledger, replace(other, results=other.results.model_copy(update={"repository": "acme/other"})))
    assert len(earlier_scores(run_of(2, 0.6), ledger)) == 1


def test_damaged_and_deleted_runs_are_skipped(ledger: Ledger) -> None:
    save_run(ledger, run_of(1, 0.5), judged=False)
    (save_run(ledger, run_of(2, 0.6)) / "results.json").write_text("{")
    (save_run(ledger, run_of(3, 0.7)) / "results.json").unlink()
    (save_run(ledger, run_of(4, 0.8)) / "gate.json").write_text('{"tasks": 3}')
    points = earlier_scores(run_of(5, 0.9), ledger)
    assert [(point.value, point.verdict) for point in points] == [(0.5, None), (0.8, None), (0.9, "fail")]


def test_a_result_without_score_is_no_point(ledger: Ledger) -> None:
    broken = TaskResult.model_validate(run_of(1, 0.5).results.tasks[0].model_dump() | {"scores": ()})
    report = run_of(1, 0.5)
    save_run(ledger, replace(report, results=report.results.model_copy(update={"tasks": (broken,)})))
    assert len(earlier_scores(run_of(2, 0.6), ledger)) == 1


def test_repeated_runs_of_a_spec_extend_its_trend(tmp_path: Path) -> None:
    project = Project(tmp_path / "p", tasks=("alpha",))
    for count in (1, 2, 3):
        assert project.run("--fresh", "--wait").returncode == 0
        trend = load_report(project.runs[-1]).metadata.trend
        assert [point.task for point in trend] == ["alpha"] * count
    assert "alpha: 3 scores from 75.0 ± 5.0 %" in (project.runs[-1] / "report.html").read_text()
