"""Every line that a policy can have is in effect: with it the answer is another one than without it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.support.gate_results import results, rule, saved, task, verdict

from nel_action.gating.judge import judge_runs
from nel_action.gating.result_set import ResultSet
from nel_action.gating.verdict import GateReport
from nel_action.model.results import Score
from nel_action.spec.policy import Difference

RIGHT = [1.0] * 160 + [0.0] * 40
FELL = [0.0] * 40 + [1.0] * 120 + [0.0] * 40
ROSE = [1.0] * 190 + [0.0] * 10


def against(before: ResultSet, after: ResultSet, policy: dict[str, Any]) -> GateReport:
    return judge_runs(after, policy=rule(policy), baseline=before, expected=["gsm8k"])


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ResultSet]:
    root = tmp_path_factory.mktemp("runs")
    return {name: saved(root / name, items) for name, items in (("right", RIGHT), ("fell", FELL), ("rose", ROSE))}


@pytest.mark.parametrize(
    ("before", "after", "rules", "code"),
    [
        ("right", "fell", {"max_drop": 0.05}, 1),
        ("right", "fell", {"max_drop": 0.3}, 0),
        ("right", "fell", {"max_relative_drop": 0.05}, 1),
        ("right", "fell", {"max_relative_drop": 0.5}, 0),
        ("right", "rose", {"min_gain": 0.05}, 0),
        ("right", "rose", {"min_gain": 0.3}, 1),
        ("right", "right", {"min_gain": 0.05}, 1),
        ("right", "fell", {"min": 0.5}, 0),
        ("right", "fell", {"min": 0.7}, 1),
        ("right", "rose", {"max": 0.99}, 0),
        ("right", "rose", {"max": 0.9}, 1),
        ("right", "fell", {"max_drop": 0.05, "direction": "lower_is_better"}, 0),
        ("right", "rose", {"max_drop": 0.05, "direction": "lower_is_better"}, 1),
        ("right", "rose", {"max_relative_drop": 0.05, "direction": "lower_is_better"}, 1),
        ("right", "fell", {"max_relative_drop": 0.05, "direction": "lower_is_better"}, 0),
        ("right", "fell", {"max_drop": 0.05, "tier": "advisory"}, 0),
        ("right", "fell", {"max_drop": 0.05, "metric": "acc"}, 1),
        ("right", "fell", {"max_drop": 0.05, "metric": "f1"}, 3),
        ("right", "right", {"max_drop": 0.05, "min_items": 200}, 0),
        ("right", "right", {"max_drop": 0.05, "min_items": 201}, 3),
        ("right", "right", {"max_drop": 0.01}, 4),
        ("right", "right", {"max_drop": 0.01, "confidence": 0.6}, 0),
        ("right", "right", {"max_drop": 0.001, "on_inconclusive": "fail"}, 1),
        ("right", "right", {"max_drop": 0.001, "on_inconclusive": "pass"}, 0),
        ("right", "right", {"min": 0.79}, 4),
        ("right", "right", {"min": 0.79, "floor": "point"}, 0),
        ("right", "right", {"max": 0.79, "floor": "point"}, 1),
        ("right", "right", {"max_drop": 0.1, "bounds": [0, 1]}, 0),
        ("right", "right", {"max_drop": 0.1, "bounds": [0, 0.5]}, 3),
    ],
)
def test_a_tasks_lines(runs: dict[str, ResultSet], before: str, after: str, rules: dict[str, Any], code: int) -> None:
    for policy in ({"tasks": {"gsm8k": rules}}, {"defaults": rules}):
        report = against(runs[before], runs[after], policy)
        assert report.exit_code == code, (policy, report.tasks[0].reasons)


def test_an_entry_comes_before_the_defaults_key_by_key(runs: dict[str, ResultSet]) -> None:
    lax = {"defaults": {"max_drop": 0.05, "min": 0.5}, "tasks": {"gsm8k": {"max_drop": 0.3}}}
    assert against(runs["right"], runs["fell"], lax).exit_code == 0
    kept = {"defaults": {"max_drop": 0.3, "min": 0.7}, "tasks": {"gsm8k": {"max_drop": 0.35}}}
    assert against(runs["right"], runs["fell"], kept).tasks[0].failed == ("min",)


@pytest.mark.parametrize(
    "key", ["cost_usd", "latency_ms", "prompt_tokens", "completion_tokens", "error_rate", "seconds"]
)
def test_every_limit_on_costs(key: str) -> None:
    def held(spent: float | None) -> GateReport:
        fields: dict[str, Any] = {"seconds": spent} if key == "seconds" else {"usage": {key: spent} if spent else {}}
        return verdict(results(task(**fields)), {"tasks": {"gsm8k": {"limits": {key: 0.5}}}})

    assert held(0.4).exit_code == 0
    assert held(0.6).exit_code == 1
    assert held(0.6).tasks[0].failed == ("limits",)
    assert held(None).exit_code == 3
    assert held(float("nan")).exit_code == 3
    assert held(-1.0).exit_code == 3


def test_the_policys_own_lines(runs: dict[str, ResultSet]) -> None:
    wide = {"tasks": {"gsm8k": {"max_drop": 0.01}}}
    assert against(runs["right"], runs["right"], wide).exit_code == 4
    assert against(runs["right"], runs["right"], {**wide, "confidence": 0.6}).exit_code == 0
    assert against(runs["right"], runs["right"], {**wide, "on_inconclusive": "fail"}).exit_code == 1
    assert against(runs["right"], runs["right"], {**wide, "on_inconclusive": "pass"}).exit_code == 0
    first = {"tasks": {"gsm8k": {"max_drop": 0.1}}}
    assert verdict(results(), first).exit_code == 0
    assert verdict(results(), {**first, "on_missing_baseline": "fail"}).exit_code == 1


def test_every_difference_has_a_name_that_lets_it_pass() -> None:
    from nel_action.gating.compatibility import differences

    ours = task()
    other = task(
        harness="x", harness_version="2", task_version="2", task_hash="h", n_shot=3, chat_template="t", n_items=199,
        params={"limit_samples": 5},
    )  # fmt: skip
    named = {name for name, _ in differences(ours, other)}
    assert named == set(Difference) - {Difference.INPUTS}


@pytest.mark.parametrize(
    "line", [{"max_dorp": 0.1}, {"max_drop": -0.1}, {"max_drop": float("nan")}, {"min": float("inf")}, {"tier": "big"},
             {"max_relative_drop": 1.0}, {"confidence": 0.4}, {"min": 0.9, "max": 0.1}, {"min_items": 0},
             {"bounds": [1, 0]}, {"allow": ["everything"]}, {"limits": {"euros": 3}}],
)  # fmt: skip
def test_what_is_no_policy_is_refused(line: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        rule({"tasks": {"gsm8k": line}})


def test_scores_of_other_units_are_not_compared(tmp_path: Path) -> None:
    percent = Score(metric="acc", value=80.0, stderr=2.8, n=200, higher_is_better=True)
    before = saved(tmp_path / "share", RIGHT)
    after = saved(tmp_path / "percent", RIGHT, scores=(percent,))
    report = against(before, after, {"tasks": {"gsm8k": {"max_drop": 0.1}}})
    assert report.exit_code == 3
    assert "a percentage on one side" in report.reasons[0]


def test_few_common_items_are_few_items(tmp_path: Path) -> None:
    before = saved(
        tmp_path / "a", {f"a{place}" if place > 5 else str(place): value for place, value in enumerate(RIGHT)}
    )
    after = saved(
        tmp_path / "b", {f"b{place}" if place > 5 else str(place): value for place, value in enumerate(RIGHT)}
    )
    rules = {"max_drop": 0.9, "allow": ["items"], "min_items": 100}
    report = against(before, after, {"tasks": {"gsm8k": rules}})
    assert report.exit_code == 3
    assert "only 6 items are on both sides" in report.reasons[0]


def test_two_results_of_one_task_are_both_judged_and_never_compared(runs: dict[str, ResultSet]) -> None:
    bad = task(scores=(Score(metric="acc", value=0.2, stderr=0.03, n=200, higher_is_better=True),))
    both = results(task(), bad)
    assert [one.verdict.value for one in verdict(both, {"tasks": {"gsm8k": {"min": 0.5}}}).tasks] == ["pass", "fail"]
    compared = verdict(both, {"tasks": {"gsm8k": {"max_drop": 0.5}}}, baseline=runs["right"])
    assert compared.exit_code == 3
    assert "more than once" in compared.reasons[0]


def test_another_model_is_no_baseline_unless_each_run_has_one_alone(runs: dict[str, ResultSet]) -> None:
    renamed = runs["right"].results.tasks[0].model_copy(update={"model": "acme-8b", "samples": None})
    one = verdict(results(renamed), {"tasks": {"gsm8k": {"max_drop": 0.5}}}, baseline=runs["right"])
    assert one.exit_code == 0
    assert any("the model is called acme-8b, and acme-7b in the baseline" in note for note in one.notes)
    two = results(renamed, renamed.model_copy(update={"model": "acme-7b"}))
    report = verdict(two, {"tasks": {"gsm8k": {"max_drop": 0.5}}}, baseline=runs["right"], expected=["gsm8k"])
    assert report.exit_code == 3
    assert "no result of this task on acme-8b" in report.reasons[0]


def test_what_a_comparison_does_not_mean_is_said(runs: dict[str, ResultSet]) -> None:
    same = against(runs["right"], runs["right"], {"tasks": {"gsm8k": {"max_drop": 0.1}}})
    assert "the baseline is this very run: nothing could have changed" in same.notes
    free = judge_runs(runs["fell"], policy=None, baseline=runs["right"], expected=["gsm8k"])
    assert "there is no policy: nothing that fell can fail this gate" in free.notes
    assert free.tasks[0].comparison is not None
    assert free.tasks[0].comparison.n_worse == 40
