"""A history is judged as a whole: no false alarm in a hundred nights, and what fell is found soon."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.support.gate_results import rule, saved

from nel_action.gating.judge import judge_runs
from nel_action.gating.trend import TrendEntry, TrendVerdict, group_by_task, judge_trend, trend_entries
from nel_action.gating.verdict import Verdict

NOISE = 0.01


def night(value: float | None, **changes: object) -> TrendEntry:
    fields: dict[str, object] = {
        "task": "t", "model": "m", "metric": "acc", "value": value, "stderr": 0.02, "n": 400, "verdict": Verdict.PASS,
        "baseline": 0.8, "noise": NOISE, "higher": True, "limits": {"max_drop": 0.02},
    }  # fmt: skip
    return TrendEntry.model_validate({**fields, **changes})


def judged(random: np.random.Generator, true: list[float], **changes: object) -> TrendVerdict:
    """Draw nights: the baseline's luck is the same for all, each night's answers are its own."""
    luck = random.normal(0, NOISE * 0.7)
    return judge_trend([night(value + luck + random.normal(0, NOISE * 0.7), **changes) for value in true])


def test_at_the_margin_few_histories_of_a_hundred_nights_ever_cry_wolf() -> None:
    random = np.random.default_rng(4)
    at_margin = [judged(random, [0.78] * 100).regressed for _ in range(150)]
    assert sum(at_margin) / len(at_margin) <= 0.05
    floors = [judged(random, [0.7] * 100, limits={"min": 0.7}).regressed for _ in range(100)]
    assert sum(floors) / len(floors) <= 0.05


def test_a_drop_is_found_within_days_and_a_slow_decline_too() -> None:
    random = np.random.default_rng(5)
    assert all(judged(random, [0.8] * 30 + [0.7] * 4).regressed for _ in range(20))
    slow = [0.8 - 0.003 * place for place in range(30)]
    assert all(judged(random, slow).regressed for _ in range(20))
    moving = [night(value, baseline=max(0.8, value + 0.003)) for value in slow]
    assert judge_trend(moving).regressed, "the first baseline counts, not one that moves along"


def test_it_ends_when_the_score_comes_back_and_may_begin_again() -> None:
    fell = [night(0.8)] * 5 + [night(0.7)] * 4
    assert judge_trend(fell).regressed
    back = [*fell, night(0.8)]
    assert not judge_trend(back).regressed
    assert judge_trend([*back, *[night(0.7)] * 4]).regressed


@pytest.mark.parametrize("change", [{"asked": "other"}, {"n": 200}, {"metric": "f1"}])
def test_nights_that_asked_something_else_are_another_history(change: dict[str, object]) -> None:
    assert not judge_trend([*[night(0.7)] * 6, night(0.79, **change)]).regressed


def test_a_new_fixed_baseline_begins_anew() -> None:
    fell = [night(0.7, fixed=True)] * 6
    assert judge_trend(fell).regressed
    assert not judge_trend([*fell, night(0.7, fixed=True, baseline=0.7)]).regressed


def test_what_is_not_limited_not_measured_or_advisory_raises_no_alarm() -> None:
    assert not judge_trend([night(0.1, limits={})] * 9).regressed
    assert not judge_trend([night(None)] * 9).regressed
    bare = {"stderr": None, "noise": None, "n": None}
    assert not judge_trend([night(0.1, **bare)] * 9).regressed


def test_lower_is_better_relative_limits_and_gains() -> None:
    up = [night(0.9, higher=False)] * 6
    assert judge_trend(up).regressed
    assert not judge_trend([night(0.7, higher=False)] * 6).regressed
    assert judge_trend([night(0.6, limits={"max_relative_drop": 0.1})] * 6).regressed
    assert not judge_trend([night(0.75, limits={"max_relative_drop": 0.1})] * 6).regressed
    assert judge_trend([night(0.8, limits={"min_gain": 0.05})] * 6).regressed
    assert judge_trend([night(0.5, limits={"max": 0.4})] * 6).regressed


def test_costs_are_no_sample_two_nights_are_enough() -> None:
    dear = night(0.8, failed=("limits",))
    assert not judge_trend([night(0.8), dear]).regressed
    assert judge_trend([dear, dear]).regressed


def test_marks_are_taken_from_a_verdict(tmp_path: Path) -> None:
    before = saved(tmp_path / "a", [1.0] * 160 + [0.0] * 40)
    after = saved(tmp_path / "b", [0.0] * 10 + [1.0] * 150 + [0.0] * 40)
    policy = rule({"tasks": {"gsm8k": {"max_drop": 0.02, "min": 0.5}}})
    report = judge_runs(after, policy=policy, baseline=before, expected=["gsm8k"])
    (mark,) = trend_entries(after.results, report, policy, fixed=True)
    assert (mark.value, mark.baseline, mark.limits, mark.fixed) == (0.75, 0.8, {"min": 0.5, "max_drop": 0.02}, True)
    assert mark.noise == pytest.approx(0.0165, abs=1e-3)
    advisory = rule({"tasks": {"gsm8k": {"max_drop": 0.02, "tier": "advisory"}}})
    quiet = judge_runs(after, policy=advisory, baseline=before, expected=["gsm8k"])
    assert trend_entries(after.results, quiet, advisory, fixed=True)[0].limits == {}
    assert list(group_by_task([[mark], [mark]]).values()) == [[mark, mark]]
