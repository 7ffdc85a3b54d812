"""The trend of a series of scheduled runs: false alarms, delay of detection, recovery, and changes of the series."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.support.gate_results import make_policy, make_run

from nel_action.gating.judge import judge_result_set
from nel_action.gating.trend import TrendEntry, TrendVerdict, group_by_task, judge_trend, trend_entries
from nel_action.gating.verdict import Verdict

pytestmark = pytest.mark.slow

STDERR = 0.01


def make_entry(value: float | None, **changes: object) -> TrendEntry:
    fields: dict[str, object] = {
        "task": "t", "model": "m", "metric": "acc", "value": value, "stderr": 0.02, "n": 400, "verdict": Verdict.PASS,
        "baseline": 0.8, "noise": STDERR, "higher": True, "limits": {"max_drop": 0.02},
    }  # fmt: skip
    return TrendEntry.model_validate({**fields, **changes})


def judge_random_series(random: np.random.Generator, true_scores: list[float], **changes: object) -> TrendVerdict:
    """Judge a series with random errors: one of the baseline for all runs, and one of each run."""
    baseline_error = random.normal(0, STDERR * 0.7)
    scores = [score + baseline_error + random.normal(0, STDERR * 0.7) for score in true_scores]
    return judge_trend([make_entry(score, **changes) for score in scores])


def test_false_alarm_rate_holds_over_a_hundred_runs_at_the_limit() -> None:
    random = np.random.default_rng(4)
    at_margin = [judge_random_series(random, [0.78] * 100).regressed for _ in range(150)]
    assert sum(at_margin) / len(at_margin) <= 0.05
    at_minimum = [judge_random_series(random, [0.7] * 100, limits={"min": 0.7}).regressed for _ in range(100)]
    assert sum(at_minimum) / len(at_minimum) <= 0.05


def test_sudden_and_slow_declines_are_detected() -> None:
    random = np.random.default_rng(5)
    sudden = [judge_random_series(random, [0.8] * 30 + [0.7] * 4).regressed for _ in range(20)]
    assert sum(sudden) >= 18
    slow = [0.8 - 0.003 * run for run in range(36)]
    assert all(judge_random_series(random, slow).regressed for _ in range(20))
    moving = [make_entry(score, baseline=max(0.8, score + 0.003)) for score in slow]
    assert judge_trend(moving).regressed, "the first baseline is the reference, not one that follows the decline"


def test_recovery_ends_a_regression_and_restarts_the_test() -> None:
    regressed = [make_entry(0.8)] * 5 + [make_entry(0.7)] * 4
    assert judge_trend(regressed).regressed
    recovered = [*regressed, make_entry(0.8)]
    assert not judge_trend(recovered).regressed
    assert judge_trend([*recovered, *[make_entry(0.7)] * 4]).regressed


@pytest.mark.parametrize("change", [{"asked": "other"}, {"n": 200}, {"metric": "f1"}])
def test_change_of_prompt_items_or_metric_starts_a_new_series(change: dict[str, object]) -> None:
    assert not judge_trend([*[make_entry(0.7)] * 6, make_entry(0.79, **change)]).regressed


def test_new_fixed_baseline_starts_a_new_series() -> None:
    regressed = [make_entry(0.7, fixed=True)] * 6
    assert judge_trend(regressed).regressed
    assert not judge_trend([*regressed, make_entry(0.7, fixed=True, baseline=0.7)]).regressed


def test_unlimited_unmeasured_and_errorless_runs_raise_no_alarm() -> None:
    assert not judge_trend([make_entry(0.1, limits={})] * 9).regressed
    assert not judge_trend([make_entry(None)] * 9).regressed
    bare = {"stderr": None, "noise": None, "n": None}
    assert not judge_trend([make_entry(0.1, **bare)] * 9).regressed


def test_series_without_a_tested_limit_is_unmeasurable() -> None:
    assert judge_trend([make_entry(0.8)] * 3).judged
    assert not judge_trend([make_entry(0.8, limits={})] * 3).judged
    lost = judge_trend([make_entry(0.8), make_entry(0.8), make_entry(None)])
    assert not lost.judged
    assert lost.left_out == ("1 of 3 runs could not be measured",)
    assert not judge_trend([make_entry(0.8, stderr=None, noise=None, n=None)] * 3).judged


@pytest.mark.parametrize("score", [0.3, 1.3])
def test_unknown_direction_of_a_series_is_unmeasurable(score: float) -> None:
    """A word error rate that improved from 0.76 to 0.26 was a regression, and one that rose to 1.26 was none."""
    verdict = judge_trend([make_entry(score, higher=None)] * 6)
    assert not verdict.regressed
    assert not verdict.judged
    assert "set direction" in verdict.reason


def test_each_limit_is_tested_in_its_direction() -> None:
    increased = [make_entry(0.9, higher=False)] * 6
    assert judge_trend(increased).regressed
    assert not judge_trend([make_entry(0.7, higher=False)] * 6).regressed
    assert judge_trend([make_entry(0.6, limits={"max_relative_drop": 0.1})] * 6).regressed
    assert not judge_trend([make_entry(0.75, limits={"max_relative_drop": 0.1})] * 6).regressed
    assert judge_trend([make_entry(0.7, limits={"min_gain": 0.05})] * 6).regressed
    assert judge_trend([make_entry(0.6, limits={"max": 0.4})] * 6).regressed


def test_limit_of_another_version_in_the_history_is_ignored() -> None:
    assert not judge_trend([make_entry(0.1, limits={"max_surprise": 0.5, "seconds": 9})] * 9).regressed


def test_reason_states_limit_and_evidence() -> None:
    assert judge_trend([make_entry(0.7)] * 6).reason.startswith("max_drop 2 pp: e-value ")


def test_two_runs_above_a_usage_limit_are_a_regression() -> None:
    expensive = make_entry(0.8, failed=("limits",))
    assert not judge_trend([make_entry(0.8), expensive]).regressed
    assert judge_trend([expensive, expensive]).regressed


def test_trend_entries_contain_scores_and_limits_of_a_verdict(tmp_path: Path) -> None:
    before = make_run(tmp_path / "a", [1.0] * 160 + [0.0] * 40)
    after = make_run(tmp_path / "b", [0.0] * 10 + [1.0] * 150 + [0.0] * 40)
    policy = make_policy({"tasks": {"gsm8k": {"max_drop": 0.02, "min": 0.5}}})
    report = judge_result_set(after, policy=policy, baseline=before, expected=["gsm8k"])
    (entry,) = trend_entries(after.results, report, policy, fixed=True)
    assert (entry.value, entry.baseline, entry.limits, entry.fixed) == (0.75, 0.8, {"min": 0.5, "max_drop": 0.02}, True)
    assert entry.noise == pytest.approx(0.0165, abs=1e-3)
    advisory = make_policy({"tasks": {"gsm8k": {"max_drop": 0.02, "tier": "advisory"}}})
    advisory_report = judge_result_set(after, policy=advisory, baseline=before, expected=["gsm8k"])
    assert trend_entries(after.results, advisory_report, advisory, fixed=True)[0].limits == {}
    assert list(group_by_task([[entry], [entry]]).values()) == [[entry, entry]]
