"""Every key of a policy has an effect: the outcome differs from that of a policy without it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.support.gate_results import judge_results, make_policy, make_results, make_run, make_task

from nel_action.gating.judge import judge_result_set
from nel_action.gating.result_set import ResultSet
from nel_action.gating.validation import differences
from nel_action.gating.verdict import GateReport
from nel_action.model.results import Score
from nel_action.spec.policy import Difference

UNCHANGED = [1.0] * 160 + [0.0] * 40
LOWER = [0.0] * 40 + [1.0] * 120 + [0.0] * 40
HIGHER = [1.0] * 190 + [0.0] * 10


def compare(baseline: ResultSet, candidate: ResultSet, policy: dict[str, Any]) -> GateReport:
    return judge_result_set(candidate, policy=make_policy(policy), baseline=baseline, expected=["gsm8k"])


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ResultSet]:
    root = tmp_path_factory.mktemp("runs")
    items = {"unchanged": UNCHANGED, "lower": LOWER, "higher": HIGHER}
    runs = {name: make_run(root / name, values) for name, values in items.items()}
    undirected = {
        f"{name}, direction": make_run(root / f"{name}-u", values, higher=None) for name, values in items.items()
    }
    return runs | undirected


@pytest.mark.parametrize(
    ("candidate", "limits", "code"),
    [
        ("lower", {"max_drop": 0.05}, 1),
        ("lower", {"max_drop": 0.3}, 0),
        ("lower", {"max_relative_drop": 0.05}, 1),
        ("lower", {"max_relative_drop": 0.5}, 0),
        ("higher", {"min_gain": 0.05}, 0),
        ("higher", {"min_gain": 0.3}, 1),
        ("unchanged", {"min_gain": 0.05}, 1),
        ("lower", {"min": 0.5}, 0),
        ("lower", {"min": 0.7}, 1),
        ("higher", {"max": 0.99}, 0),
        ("higher", {"max": 0.9}, 1),
        ("lower", {"max_drop": 0.05, "direction": "lower_is_better"}, 0),
        ("higher", {"max_drop": 0.05, "direction": "lower_is_better"}, 1),
        ("higher", {"max_relative_drop": 0.05, "direction": "lower_is_better"}, 1),
        ("lower", {"max_relative_drop": 0.05, "direction": "lower_is_better"}, 0),
        ("lower", {"max_drop": 0.05, "tier": "advisory"}, 0),
        ("lower", {"max_drop": 0.05, "metric": "acc"}, 1),
        ("lower", {"max_drop": 0.05, "metric": "f1"}, 3),
        ("unchanged", {"max_drop": 0.05, "min_items": 200}, 0),
        ("unchanged", {"max_drop": 0.05, "min_items": 201}, 3),
        ("unchanged", {"max_drop": 0.01}, 4),
        ("unchanged", {"max_drop": 0.01, "confidence": 0.6}, 0),
        ("unchanged", {"max_drop": 0.001, "on_inconclusive": "fail"}, 1),
        ("unchanged", {"max_drop": 0.001, "on_inconclusive": "pass"}, 0),
        ("unchanged", {"min": 0.79}, 4),
        ("unchanged", {"min": 0.79, "floor": "point"}, 0),
        ("unchanged", {"max": 0.79, "floor": "point"}, 1),
        ("unchanged", {"max_drop": 0.1, "bounds": [0, 1]}, 0),
        ("unchanged", {"max_drop": 0.1, "bounds": [0, 0.5]}, 3),
    ],
)
def test_task_key_decides_exit_code(
    runs: dict[str, ResultSet], candidate: str, limits: dict[str, Any], code: int
) -> None:
    kind = ", direction" if "direction" in limits else ""
    for policy in ({"tasks": {"gsm8k": limits}}, {"defaults": limits}):
        report = compare(runs[f"unchanged{kind}"], runs[f"{candidate}{kind}"], policy)
        assert report.exit_code == code, (policy, report.tasks[0].reasons)


def test_task_entry_overrides_defaults_key_by_key(runs: dict[str, ResultSet]) -> None:
    overridden = {"defaults": {"max_drop": 0.05, "min": 0.5}, "tasks": {"gsm8k": {"max_drop": 0.3}}}
    assert compare(runs["unchanged"], runs["lower"], overridden).exit_code == 0
    inherited = {"defaults": {"max_drop": 0.3, "min": 0.7}, "tasks": {"gsm8k": {"max_drop": 0.35}}}
    assert compare(runs["unchanged"], runs["lower"], inherited).tasks[0].failed == ("min",)


@pytest.mark.parametrize(
    "key", ["cost_usd", "latency_ms", "prompt_tokens", "completion_tokens", "error_rate", "seconds"]
)
def test_usage_limit_decides_exit_code(key: str) -> None:
    def judge(value: float | None) -> GateReport:
        fields: dict[str, Any] = {"seconds": value} if key == "seconds" else {"usage": {key: value} if value else {}}
        return judge_results(make_results(make_task(**fields)), {"tasks": {"gsm8k": {"limits": {key: 0.5}}}})

    assert judge(0.4).exit_code == 0
    assert judge(0.6).exit_code == 1
    assert judge(0.6).tasks[0].failed == ("limits",)
    assert judge(None).exit_code == 3
    assert judge(float("nan")).exit_code == 3
    assert judge(-1.0).exit_code == 3


def test_policy_key_decides_exit_code(runs: dict[str, ResultSet]) -> None:
    policy = {"tasks": {"gsm8k": {"max_drop": 0.01}}}
    assert compare(runs["unchanged"], runs["unchanged"], policy).exit_code == 4
    assert compare(runs["unchanged"], runs["unchanged"], {**policy, "confidence": 0.6}).exit_code == 0
    assert compare(runs["unchanged"], runs["unchanged"], {**policy, "on_inconclusive": "fail"}).exit_code == 1
    assert compare(runs["unchanged"], runs["unchanged"], {**policy, "on_inconclusive": "pass"}).exit_code == 0
    without_baseline = {"tasks": {"gsm8k": {"max_drop": 0.1}}}
    assert judge_results(make_results(), without_baseline).exit_code == 0
    assert judge_results(make_results(), {**without_baseline, "on_missing_baseline": "fail"}).exit_code == 1


def test_every_difference_can_be_allowed() -> None:
    candidate = make_task()
    baseline = make_task(
        harness="x", harness_version="2", task_version="2", task_hash="h", n_shot=3, chat_template="t", n_items=199,
        params={"limit_samples": 5},
    )  # fmt: skip
    names = {name for name, _ in differences(candidate, baseline)}
    assert names == set(Difference) - {Difference.INPUTS}


@pytest.mark.parametrize(
    "entry", [{"max_dorp": 0.1}, {"max_drop": -0.1}, {"max_drop": float("nan")}, {"min": float("inf")}, {"tier": "big"},
              {"max_relative_drop": 1.0}, {"confidence": 0.4}, {"min": 0.9, "max": 0.1}, {"min_items": 0},
              {"bounds": [1, 0]}, {"allow": ["everything"]}, {"limits": {"euros": 3}}],
)  # fmt: skip
def test_invalid_policy_entry_is_rejected(entry: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        make_policy({"tasks": {"gsm8k": entry}})


def test_percentage_and_fraction_are_not_compared(tmp_path: Path) -> None:
    percentage = Score(metric="acc", value=80.0, stderr=2.8, n=200, higher_is_better=True)
    baseline = make_run(tmp_path / "fraction", UNCHANGED)
    candidate = make_run(tmp_path / "percentage", UNCHANGED, scores=(percentage,))
    report = compare(baseline, candidate, {"tasks": {"gsm8k": {"max_drop": 0.1}}})
    assert report.exit_code == 3
    assert "a percentage in one run" in report.reasons[0]


def test_min_items_applies_to_the_items_in_both_runs(tmp_path: Path) -> None:
    def make(name: str) -> ResultSet:
        items = {f"{name}{index}" if index > 5 else str(index): value for index, value in enumerate(UNCHANGED)}
        return make_run(tmp_path / name, items)

    limits = {"max_drop": 0.9, "allow": ["items"], "min_items": 100}
    report = compare(make("a"), make("b"), {"tasks": {"gsm8k": limits}})
    assert report.exit_code == 3
    assert "only 6 items are in both runs" in report.reasons[0]


def test_duplicate_results_are_judged_but_not_compared(runs: dict[str, ResultSet]) -> None:
    low = make_task(scores=(Score(metric="acc", value=0.2, stderr=0.03, n=200, higher_is_better=True),))
    both = make_results(make_task(), low)
    report = judge_results(both, {"tasks": {"gsm8k": {"min": 0.5}}})
    assert [task.verdict.value for task in report.tasks] == ["pass", "fail"]
    compared = judge_results(both, {"tasks": {"gsm8k": {"max_drop": 0.5}}}, baseline=runs["unchanged"])
    assert compared.exit_code == 3
    assert "several results have the same task and model" in compared.reasons[0]


def test_renamed_model_is_compared_if_each_run_has_a_single_one(runs: dict[str, ResultSet]) -> None:
    renamed = runs["unchanged"].results.tasks[0].model_copy(update={"model": "acme-8b", "samples": None})
    policy = {"tasks": {"gsm8k": {"max_drop": 0.5}}}
    single = judge_results(make_results(renamed), policy, baseline=runs["unchanged"])
    assert single.exit_code == 0
    assert any("the model is named acme-8b, and acme-7b in the baseline" in note for note in single.notes)
    two = make_results(renamed, renamed.model_copy(update={"model": "acme-7b"}))
    report = judge_results(two, policy, baseline=runs["unchanged"], expected=["gsm8k"])
    assert report.exit_code == 3
    assert "no result of this task on acme-8b" in report.reasons[0]


def test_notes_state_what_weakens_a_comparison(runs: dict[str, ResultSet]) -> None:
    own = compare(runs["unchanged"], runs["unchanged"], {"tasks": {"gsm8k": {"max_drop": 0.1}}})
    assert "the baseline is the judged run itself: no change is possible" in own.notes
    report = judge_result_set(runs["lower"], policy=None, baseline=runs["unchanged"], expected=["gsm8k"])
    assert "there is no policy: a lower score cannot fail this gate" in report.notes
    assert report.tasks[0].comparison is not None
    assert report.tasks[0].comparison.n_worse == 40
