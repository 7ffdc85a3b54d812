from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.gate_results import results, rule, saved, task, verdict

from nel_action.gating.confirm import pooled, tasks_to_confirm
from nel_action.gating.judge import judge_runs
from nel_action.gating.run import Run
from nel_action.gating.verdict import GateReport, Verdict
from nel_action.results import JobOutcome
from nel_action.spec.policy import Confirm

GOOD = [1.0] * 160 + [0.0] * 40
BAD = [0.0] * 30 + [1.0] * 130 + [0.0] * 40


def judged(candidate: Run, baseline: Run) -> GateReport:
    policy = rule({"tasks": {"gsm8k": {"max_drop": 0.07}}})
    return judge_runs(candidate, policy=policy, baseline=baseline, expected=["gsm8k"])


def test_a_failure_that_comes_again_stands(tmp_path: Path) -> None:
    before, first, second = (saved(tmp_path / name, items) for name, items in (("a", GOOD), ("b", BAD), ("c", BAD)))
    report = judged(first, before)
    assert report.verdict is Verdict.FAIL
    again = tasks_to_confirm(report, Confirm(), first.results)
    assert again == ("gsm8k",)
    assert judged(pooled(first, second, again), before).verdict is Verdict.FAIL


def test_a_failure_that_does_not_come_again_is_no_failure(tmp_path: Path) -> None:
    before, first, second = (saved(tmp_path / name, items) for name, items in (("a", GOOD), ("b", BAD), ("c", GOOD)))
    assert judged(first, before).verdict is Verdict.FAIL
    both = pooled(first, second, ["gsm8k"])
    assert both.results.tasks[0].scores[0].value == pytest.approx(0.725)
    assert judged(both, before).verdict is not Verdict.FAIL


def test_a_second_run_that_did_not_finish_changes_nothing(tmp_path: Path) -> None:
    before, first = saved(tmp_path / "a", GOOD), saved(tmp_path / "b", BAD)
    second = saved(tmp_path / "c", GOOD, outcome=JobOutcome.FAILED)
    assert judged(pooled(first, second, ["gsm8k"]), before).verdict is Verdict.FAIL


def test_other_items_are_no_repeat(tmp_path: Path) -> None:
    before, first = saved(tmp_path / "a", GOOD), saved(tmp_path / "b", BAD)
    second = saved(tmp_path / "c", {f"x{place}": value for place, value in enumerate(GOOD)})
    report = judged(pooled(first, second, ["gsm8k"]), before)
    assert report.verdict is Verdict.UNMEASURABLE
    assert "other items" in report.reasons[0]


def test_the_budget_is_kept() -> None:
    both = results(task("a", seconds=100), task("b", seconds=100))
    report = verdict(both, {"defaults": {"min": 0.95}})
    assert tasks_to_confirm(report, Confirm(), both) == ("a", "b")
    assert tasks_to_confirm(report, Confirm(max_tasks=1), both) == ()
    assert tasks_to_confirm(report, Confirm(max_seconds=150), both) == ()
    assert tasks_to_confirm(verdict(both, None), Confirm(), both) == ()
