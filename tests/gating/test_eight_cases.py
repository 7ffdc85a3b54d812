"""Eight cases that nemo-evaluator 0.3.0 (`nel gate`, `nel compare`) judges wrongly."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from tests.support.gate_results import judge_results, make_policy, make_results, make_run

from nel_action.errors import SpecError
from nel_action.gating.judge import judge_result_set
from nel_action.gating.result_set import ResultSet
from nel_action.gating.verdict import GateReport, Verdict
from nel_action.model.results import Results


def gate(baseline: ResultSet, candidate: ResultSet, **limits: object) -> GateReport:
    policy = make_policy({"tasks": {"gsm8k": limits}})
    return judge_result_set(candidate, policy=policy, baseline=baseline, expected=["gsm8k"])


def make_flips(n: int, worse: int, better: int, *, correct: int) -> tuple[list[float], list[float]]:
    """Return the binary items of both runs.

    Args:
        n: number of items.
        worse: items that only the baseline solves.
        better: items that only the candidate solves.
        correct: items that the baseline solves.
    """
    before = [1.0] * correct + [0.0] * (n - correct)
    after = [0.0] * worse + [1.0] * (correct - worse + better) + [0.0] * (n - correct - better)
    return before, after


def test_lower_judge_score_without_zero_rewards_fails(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    before = np.clip(random.normal(0.803, 0.1, 300), 0.05, 1)
    after = np.clip(before - 0.202 + random.normal(0, 0.05, 300), 0.01, 1)
    report = gate(make_run(tmp_path / "a", before.tolist()), make_run(tmp_path / "b", after.tolist()), max_drop=0.05)
    assert (report.verdict, report.exit_code) == (Verdict.FAIL, 1)
    assert "more than the allowed 5 pp" in report.reasons[0]


def test_significant_drop_within_margin_passes(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    before = np.clip(random.normal(0.7, 0.1, 401), 0, 1)
    after = np.clip(before - 0.003 + random.normal(0, 0.0045, 401), 0, 1)
    report = gate(make_run(tmp_path / "a", before.tolist()), make_run(tmp_path / "b", after.tolist()), max_drop=0.05)
    assert (report.verdict, report.exit_code) == (Verdict.PASS, 0)


def test_balanced_flips_among_many_items_pass(tmp_path: Path) -> None:
    before, after = make_flips(14_042, 300, 300, correct=9000)
    report = gate(make_run(tmp_path / "a", before), make_run(tmp_path / "b", after), max_drop=0.05)
    assert report.verdict is Verdict.PASS
    comparison = report.tasks[0].comparison
    assert comparison is not None
    assert comparison.interval is not None
    assert comparison.interval.high == pytest.approx(0.0029, abs=2e-4)
    drop = comparison.minimum_detectable
    assert drop is not None
    # NOTE: the variance at the alternative, where the drop itself adds flips to the 600 observed ones
    stderr = math.sqrt((600 / 14_042 + drop - drop**2) / 14_042)
    assert drop == pytest.approx(0.05 + (1.645 + 0.842) * stderr, abs=2e-4)
    assert (comparison.n_worse, comparison.n_better, len(comparison.worse)) == (300, 300, 300)


def test_two_flips_of_198_rule_out_a_drop_of_five_points(tmp_path: Path) -> None:
    before, after = make_flips(198, 2, 0, correct=120)
    report = gate(make_run(tmp_path / "a", before), make_run(tmp_path / "b", after), max_drop=0.05)
    assert report.verdict is Verdict.PASS
    assert report.tasks[0].reasons[0].startswith("fell 1.01 pp; a loss of more than 5 pp is ruled out")


def test_candidate_with_20_of_198_items_is_unmeasurable(tmp_path: Path) -> None:
    before, _ = make_flips(198, 0, 0, correct=120)
    report = gate(make_run(tmp_path / "a", before), make_run(tmp_path / "b", before[:20]), max_drop=0.05)
    assert (report.verdict, report.exit_code) == (Verdict.UNMEASURABLE, 3)
    assert "198 in the baseline, 20 now" in report.reasons[0]


def test_empty_results_do_not_pass() -> None:
    empty = Results(invocation="0" * 16, created="2026-11-22T10:30:45Z", tool_version="0.1.0")
    assert judge_results(empty, None).exit_code == 3
    with pytest.raises(SpecError, match="no task to gate"):
        judge_results(empty, {"tasks": {}})
    policy = {"tasks": {"gsm8k": {"min": 0.1}}}
    assert judge_results(make_results(), policy, expected=["gsm8k", "lost"]).exit_code == 3


def test_ten_identical_items_are_inconclusive(tmp_path: Path) -> None:
    for name, items in (("binary", [1.0] * 7 + [0.0] * 3), ("graded", [0.25, 0.5] * 5)):
        run = make_run(tmp_path / name, items)
        report = gate(run, run, max_drop=0.01)
        assert (report.verdict, report.exit_code) == (Verdict.INCONCLUSIVE, 4)
        comparison = report.tasks[0].comparison
        assert comparison is not None
        assert comparison.interval is not None
        assert comparison.interval.low < -0.15
        assert "would settle it" in report.tasks[0].reasons[0]


def test_relative_drop_from_three_to_two_of_thirty_is_inconclusive(tmp_path: Path) -> None:
    before, after = make_flips(30, 1, 0, correct=3)
    report = gate(make_run(tmp_path / "a", before), make_run(tmp_path / "b", after), max_relative_drop=0.1)
    assert (report.verdict, report.exit_code) == (Verdict.INCONCLUSIVE, 4)
    assert "lost 33.3 % of the baseline" in report.tasks[0].reasons[0]
