"""Limits that no score can violate or meet are errors, at planning where the range is known, else when judging."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from tests.support.gate_results import judge_results, make_policy, make_results, make_run, make_task

from nel_action.errors import SpecError
from nel_action.gating.external import open_run
from nel_action.gating.judge import judge_result_set
from nel_action.gating.policy import check_policy
from nel_action.gating.task_samples import TaskSamples
from nel_action.gating.verdict import GateReport, Verdict
from nel_action.model.results import Score
from nel_action.spec.limits import LIMITS
from nel_action.spec.metric_range import MetricRange, limit_range_problem, range_of_metric

PROPORTION, PERCENTAGE = MetricRange(0, 1), MetricRange(0, 100)
RIGHT = [1.0] * 170 + [0.0] * 30


def compare(root: Path, baseline: list[float], candidate: list[float], limits: dict[str, Any]) -> GateReport:
    """Judge items; the score is 100 times their mean if the items are 0 and 100."""
    runs = [make_run(root / name, items) for name, items in (("baseline", baseline), ("candidate", candidate))]
    policy = make_policy({"tasks": {"gsm8k": limits}})
    return judge_result_set(runs[1], policy=policy, baseline=runs[0], expected=["gsm8k"])


@pytest.mark.parametrize(
    ("key", "stated", "known", "fix"),
    [
        ("max_drop", 2, PROPORTION, "2 percentage points are written 0.02"),
        ("max_drop", 1, PROPORTION, "1 percentage point is written 0.01"),
        ("max", 90, PROPORTION, "90 % is written 0.9"),
        ("min", 80, PROPORTION, "80 % is written 0.8"),
        ("min", 0, PROPORTION, "state a value between 0 and 1"),
        ("max", 1, PROPORTION, "1 % is written 0.01"),
        ("min_gain", 1.5, PROPORTION, "1.5 percentage points are written 0.015"),
        ("min", 0.8, PERCENTAGE, "80 % is written 80"),
        ("max", 0.5, PERCENTAGE, "50 % is written 50"),
        ("max_drop", 100, PERCENTAGE, "state a value below 100"),
        ("max_drop", 2, MetricRange(-1, 1, stated=True), "state a value below 2"),
        ("min", -1, MetricRange(-1, 1, stated=True), "state a value between -1 and 1"),
    ],
)
def test_limit_outside_the_range_has_a_fix(key: str, stated: float, known: MetricRange, fix: str) -> None:
    problem = limit_range_problem(LIMITS[key], stated, known)
    assert problem is not None
    assert problem[0].startswith(f"{key}: {stated:g}")
    assert problem[1].startswith(fix)


@pytest.mark.parametrize(
    ("key", "stated", "known"),
    [
        ("max_drop", 0.99, PROPORTION),
        ("max_drop", 0, PROPORTION),
        ("min", 1, PROPORTION),
        ("max", 0, PROPORTION),
        ("min", 80, PERCENTAGE),
        ("min", 0.8, MetricRange(0, 100, stated=True)),
        ("min_gain", 0, PROPORTION),
        ("max_relative_drop", 0.9, PROPORTION),
        ("min_items", 500, PROPORTION),
        ("seconds", 500, PROPORTION),
    ],
)
def test_limit_within_the_range_is_accepted(key: str, stated: float, known: MetricRange) -> None:
    assert limit_range_problem(LIMITS[key], stated, known) is None


def test_range_is_that_of_the_program_and_the_metric() -> None:
    assert range_of_metric("lm_eval", "exact_match,strict-match") == PROPORTION
    assert range_of_metric("lm-evaluation-harness", "exact_match__strict-match") == PROPORTION
    assert range_of_metric("lm_eval", "word_perplexity") is None
    assert range_of_metric("nemo_skills", "accuracy") is None
    assert range_of_metric(None, "acc") is None


def test_check_of_a_policy_uses_bounds_before_the_catalog() -> None:
    policy = make_policy({"defaults": {"max_drop": 2}, "tasks": {"bleu": {"bounds": [0, 100]}}})
    problems = check_policy(policy, ["gsm8k", "bleu"], {"gsm8k": PROPORTION, "bleu": PROPORTION})
    assert [problem.message.partition(":")[0] for problem in problems] == ["gate.defaults.max_drop"]
    assert problems[0].hint == "gsm8k: 2 percentage points are written 0.02"


def test_limit_beyond_stated_bounds_is_a_mistake_of_the_policy() -> None:
    with pytest.raises(SpecError, match="max_drop: 3"):
        judge_results(make_results(), {"tasks": {"gsm8k": {"max_drop": 3, "bounds": [0, 2]}}})


@pytest.mark.parametrize(
    "limits", [{"max_drop": 2}, {"max_drop": 1}, {"max": 90}, {"min": 80}, {"min": 0}, {"min_gain": 2}]
)
def test_limit_that_cannot_bind_on_right_or_wrong_items_is_unmeasurable(tmp_path: Path, limits: dict[str, Any]) -> None:
    report = compare(tmp_path, RIGHT, [0.0] * 200, limits)
    assert report.exit_code == 3
    assert next(iter(limits)) in report.reasons[0]


def test_scale_is_taken_from_the_side_where_it_is_clear(tmp_path: Path) -> None:
    percent = [100 * item for item in RIGHT]
    assert compare(tmp_path / "a", percent, [0.0] * 200, {"max_drop": 2}).exit_code == 1
    assert compare(tmp_path / "b", percent, [0.0] * 200, {"min": 0.8}).exit_code == 3
    assert compare(tmp_path / "c", RIGHT, [0.0] * 200, {"max_drop": 0.02}).exit_code == 1


def test_score_with_the_standard_error_of_a_proportion_is_one() -> None:
    report = judge_results(make_results(), {"tasks": {"gsm8k": {"max": 90}}})
    assert report.exit_code == 3
    assert "90 % is written 0.9" in report.reasons[0]


def test_seconds_between_0_and_1_have_no_range() -> None:
    score = Score(metric="latency_s", value=0.4, stderr=0.01, n=200, higher_is_better=False)
    task = make_task(scores=(score,), primary_metric="latency_s")
    assert judge_results(make_results(task), {"tasks": {"gsm8k": {"max": 2}}}).exit_code == 0


def judge_unknown_scale(value: float, stderr: float, limits: dict[str, Any], metric: str = "wer") -> GateReport:
    """Judge a score without items, and with a standard error that no proportion has."""
    score = Score(metric=metric, value=value, stderr=stderr, n=500, higher_is_better="min" in limits)
    task = make_task(scores=(score,), primary_metric=metric, n_items=500, n_expected=500)
    return judge_results(make_results(task), {"tasks": {"gsm8k": limits}})


@pytest.mark.parametrize(
    ("value", "stderr", "limits", "fix"),
    [
        (12.0, 1.0, {"min": 0.7}, "70 % is written 70 with bounds: [0, 100]"),
        (1.5, 0.1, {"min": 0.7}, "otherwise state bounds"),
        (0.9, 0.01, {"max": 20}, "20 % is written 0.2 with bounds: [0, 1]"),
        (0.02, 0.001, {"max": 1.5}, "otherwise state bounds of the metric"),
    ],
)
def test_limit_and_score_of_different_scales_are_unmeasurable_unless_bounds_are_stated(
    value: float, stderr: float, limits: dict[str, Any], fix: str
) -> None:
    report = judge_unknown_scale(value, stderr, limits)
    assert report.exit_code == 3
    assert fix in report.reasons[0]
    assert judge_unknown_scale(value, stderr, limits | {"bounds": [0, 1000]}).exit_code != 3


@pytest.mark.parametrize(
    ("value", "limits"), [(86.0, {"min": 0.7}), (7.2, {"min": 1}), (0.9, {"max": 0.2}), (0.9, {"max": 300})]
)
def test_limits_whose_scale_is_plausible_are_judged(value: float, limits: dict[str, Any]) -> None:
    assert judge_unknown_scale(value, 0.01, limits).exit_code != 3


@pytest.mark.parametrize(
    "metric", ["latency_s", "time_to_first_token", "mean latency", "duration", "p95_ms", "seconds"]
)
def test_scale_of_times_is_known_by_their_name(metric: str) -> None:
    assert judge_unknown_scale(0.4, 0.01, {"max": 2}, metric).exit_code == 0


def test_score_of_more_items_than_were_evaluated_is_unmeasurable() -> None:
    score = Score(metric="acc", value=0.72, stderr=0.006, n=5000, higher_is_better=True)
    task = make_task(scores=(score,), primary_metric="acc", n_items=500, n_expected=500)
    report = judge_results(make_results(task), {"tasks": {"gsm8k": {"min": 0.7}}})
    assert report.exit_code == 3
    assert "acc claims 5,000 items, but the task evaluated 500 items" in report.reasons[0]


RECORDED = Path(__file__).parents[1] / "formats" / "recorded"


@pytest.mark.parametrize(
    "name",
    ["promptfoo.json", "junit_pytest.xml", "deepeval_results_folder.json", "every_eval_ever", "lighteval"],
)
def test_range_that_a_file_or_its_format_defines_is_known(name: str) -> None:
    run = open_run(RECORDED / name)
    result = run.results.tasks[0]
    for key, stated, fix in (("min", 80, "80 % is written 0.8"), ("max", 90, "90 % is written 0.9")):
        policy = make_policy({"tasks": {result.task: {key: stated}}})
        report = judge_result_set(run, policy=policy, baseline=None, expected=[result.task])
        assert report.exit_code == 3
        # NOTE: some of the recorded runs are incomplete as well, which is reported first.
        score = next(score for score in result.scores if score.metric == result.primary_metric)
        known = TaskSamples(result, score, score.n).known_range
        assert known == PROPORTION
        problem = limit_range_problem(LIMITS[key], stated, known)
        assert problem is not None
        assert fix in problem[1]


def test_bounds_of_a_score_must_be_ordered() -> None:
    with pytest.raises(ValidationError, match="bounds: 1 is not smaller than 0"):
        Score(metric="acc", value=0.5, bounds=(1.0, 0.0))


def test_two_items_of_0_do_not_pass_as_a_proportion_if_the_metric_is_a_percentage(tmp_path: Path) -> None:
    """A score of 0 fits both scales; `max_drop: 2` was 200 percentage points then."""
    every: list[dict[str, Any]] = [{"max_drop": 2}, {"max": 50}, {"max_drop": 2, "bounds": [0, 100]}]
    for number, limits in enumerate(every):
        report = compare(tmp_path / str(number), [0.0] * 2, [0.0] * 2, limits)
        assert report.verdict is Verdict.INCONCLUSIVE, limits


def test_items_of_0_are_not_right_or_wrong_ones_if_bounds_are_wider(tmp_path: Path) -> None:
    wide = compare(tmp_path / "a", [0.0] * 30, [0.0] * 30, {"max": 0.2, "bounds": [0, 5]})
    assert wide.verdict is Verdict.INCONCLUSIVE
    unit = compare(tmp_path / "b", [0.0] * 30, [0.0] * 30, {"max": 0.2, "bounds": [0, 1]})
    assert unit.verdict is Verdict.PASS
