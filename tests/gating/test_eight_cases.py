"""Eight cases that the best gate of today judges wrongly (nemo-evaluator 0.3.0, run and seen), judged rightly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.support.gate_results import results, rule, saved, verdict

from nel_action.errors import SpecError
from nel_action.gating.judge import judge_runs
from nel_action.gating.result_set import ResultSet
from nel_action.gating.verdict import GateReport, Verdict
from nel_action.model.results import Results


def gate(baseline: ResultSet, candidate: ResultSet, **rules: object) -> GateReport:
    policy = rule({"tasks": {"gsm8k": rules}})
    return judge_runs(candidate, policy=policy, baseline=baseline, expected=["gsm8k"])


def flipped(n: int, worse: int, better: int, *, right: int) -> tuple[list[float], list[float]]:
    """Return both sides' items: `right` are right at first, then `worse` of them turn and `better` others."""
    before = [1.0] * right + [0.0] * (n - right)
    after = [0.0] * worse + [1.0] * (right - worse + better) + [0.0] * (n - right - better)
    return before, after


def test_a_judge_that_gives_less_is_seen_though_no_reward_is_zero(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    before = np.clip(random.normal(0.803, 0.1, 300), 0.05, 1)
    after = np.clip(before - 0.202 + random.normal(0, 0.05, 300), 0.01, 1)
    report = gate(saved(tmp_path / "a", before.tolist()), saved(tmp_path / "b", after.tolist()), max_drop=0.05)
    assert (report.verdict, report.exit_code) == (Verdict.FAIL, 1)
    assert "more than the 5 pp allowed" in report.reasons[0]


def test_a_tiny_drop_is_no_failure_however_certain(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    before = np.clip(random.normal(0.7, 0.1, 401), 0, 1)
    after = np.clip(before - 0.003 + random.normal(0, 0.0045, 401), 0, 1)
    report = gate(saved(tmp_path / "a", before.tolist()), saved(tmp_path / "b", after.tolist()), max_drop=0.05)
    assert (report.verdict, report.exit_code) == (Verdict.PASS, 0)


def test_as_many_flips_each_way_among_many_items_are_enough_to_pass(tmp_path: Path) -> None:
    before, after = flipped(14_042, 300, 300, right=9000)
    report = gate(saved(tmp_path / "a", before), saved(tmp_path / "b", after), max_drop=0.05)
    assert report.verdict is Verdict.PASS
    compared = report.tasks[0].comparison
    assert compared is not None
    assert compared.interval is not None
    assert compared.interval.high == pytest.approx(0.0029, abs=2e-4)
    assert compared.minimum_detectable == pytest.approx(0.05 + (1.645 + 0.842) * 0.00174, abs=2e-4)
    assert (compared.n_worse, compared.n_better, len(compared.worse)) == (300, 300, 300)


def test_two_flips_of_198_rule_out_a_drop_of_five_points(tmp_path: Path) -> None:
    before, after = flipped(198, 2, 0, right=120)
    report = gate(saved(tmp_path / "a", before), saved(tmp_path / "b", after), max_drop=0.05)
    assert report.verdict is Verdict.PASS
    assert report.tasks[0].reasons[0].startswith("fell 1.01 pp; a loss of more than 5 pp is ruled out")


def test_twenty_of_198_items_are_no_result(tmp_path: Path) -> None:
    before, _ = flipped(198, 0, 0, right=120)
    report = gate(saved(tmp_path / "a", before), saved(tmp_path / "b", before[:20]), max_drop=0.05)
    assert (report.verdict, report.exit_code) == (Verdict.UNMEASURABLE, 3)
    assert "198 in the baseline, 20 now" in report.reasons[0]


def test_two_empty_runs_are_no_pass() -> None:
    empty = Results(invocation="0" * 16, created="2026-11-22T10:30:45Z", tool_version="0.1.0")
    assert verdict(empty, None).exit_code == 3
    with pytest.raises(SpecError, match="no task to gate"):
        verdict(empty, {"tasks": {}})
    assert verdict(results(), {"tasks": {"gsm8k": {"min": 0.1}}}, expected=["gsm8k", "lost"]).exit_code == 3


def test_ten_identical_items_are_no_certainty(tmp_path: Path) -> None:
    for name, items in (("binary", [1.0] * 7 + [0.0] * 3), ("graded", [0.25, 0.5] * 5)):
        run = saved(tmp_path / name, items)
        report = gate(run, run, max_drop=0.01)
        assert (report.verdict, report.exit_code) == (Verdict.INCONCLUSIVE, 4)
        compared = report.tasks[0].comparison
        assert compared is not None
        assert compared.interval is not None
        assert compared.interval.low < -0.15
        assert "would settle it" in report.tasks[0].reasons[0]


def test_three_right_to_two_of_thirty_is_no_relative_drop_of_a_third(tmp_path: Path) -> None:
    before, after = flipped(30, 1, 0, right=3)
    report = gate(saved(tmp_path / "a", before), saved(tmp_path / "b", after), max_relative_drop=0.1)
    assert (report.verdict, report.exit_code) == (Verdict.INCONCLUSIVE, 4)
    assert "lost 33.3% of the baseline" in report.tasks[0].reasons[0]
