"""Verdicts of the gate: complete results, score limits, usage limits, tiers and exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.gate_results import judge_results, make_results, make_task

from nel_action.errors import ResultsError, SpecError
from nel_action.gating.verdict import GateReport, Verdict
from nel_action.model.results import JobOutcome, Score, read_results, write_results

MIN_50 = {"tasks": {"gsm8k": {"min": 0.5}}}


def assert_unmeasurable(report: GateReport, *texts: str) -> None:
    assert report.verdict is Verdict.UNMEASURABLE
    assert report.exit_code == 3
    reasons = " ".join([*report.reasons, *(reason for task in report.tasks for reason in task.reasons)])
    for text in texts:
        assert text in reasons


def make_score(**changes: object) -> Score:
    return Score.model_validate({"metric": "acc", "value": 0.8, "stderr": 0.02835, "n": 200, **changes})


def test_score_above_minimum_passes() -> None:
    report = judge_results(make_results(), MIN_50)
    assert (report.verdict, report.exit_code) == (Verdict.PASS, 0)
    assert report.tasks[0].reasons == ("80.0 % meets the minimum of 50.0 % at 95 % confidence",)
    assert report.tasks[0].interval is not None
    assert report.tasks[0].interval.low < 0.8 < report.tasks[0].interval.high


def test_score_below_minimum_fails() -> None:
    report = judge_results(make_results(), {"tasks": {"gsm8k": {"min": 0.9}}})
    assert (report.verdict, report.exit_code) == (Verdict.FAIL, 1)
    assert report.reasons == ("gsm8k: 80.0 % is below the minimum of 90.0 % at 95 % confidence",)


def test_score_near_minimum_is_inconclusive_unless_floor_is_point() -> None:
    report = judge_results(make_results(), {"tasks": {"gsm8k": {"min": 0.79}}})
    assert (report.verdict, report.exit_code) == (Verdict.INCONCLUSIVE, 4)
    above = judge_results(make_results(), {"tasks": {"gsm8k": {"min": 0.79, "floor": "point"}}})
    assert above.verdict is Verdict.PASS
    assert above.tasks[0].reasons == ("80.0 % meets the minimum of 79.0 %",)
    below = judge_results(make_results(), {"tasks": {"gsm8k": {"min": 0.81, "floor": "point"}}})
    assert below.verdict is Verdict.FAIL


def test_score_that_rounds_to_its_limit_is_shown_exactly() -> None:
    near = make_results(make_task(scores=(make_score(value=0.7996),)))
    report = judge_results(near, {"tasks": {"gsm8k": {"min": 0.8, "floor": "point"}}})
    assert report.tasks[0].reasons == ("79.96 % is below the minimum of 80.0 %",)


def test_maximum_is_tested_in_the_opposite_direction() -> None:
    wer = make_results(make_task(scores=(make_score(metric="wer", value=0.2),), primary_metric="wer"))
    assert judge_results(wer, {"tasks": {"gsm8k": {"max": 0.3}}}).verdict is Verdict.PASS
    assert judge_results(wer, {"tasks": {"gsm8k": {"max": 0.1}}}).verdict is Verdict.FAIL
    assert judge_results(wer, {"tasks": {"gsm8k": {"max": 0.21}}}).verdict is Verdict.INCONCLUSIVE


def test_without_policy_every_expected_task_must_have_a_result() -> None:
    assert judge_results(make_results(), None).verdict is Verdict.PASS
    report = judge_results(make_results(), None, expected=["gsm8k", "ifeval"])
    assert_unmeasurable(report, "ifeval: there is no result")


def test_missing_result_is_unmeasurable() -> None:
    policy = {"tasks": {"gsm8k": {"min": 0.5}, "ifeval": {"min": 0.5}}}
    report = judge_results(make_results(), policy, expected=["gsm8k", "ifeval"])
    assert_unmeasurable(report, "ifeval: there is no result")


def test_missing_result_of_task_without_policy_entry_is_unmeasurable() -> None:
    report = judge_results(make_results(), MIN_50, expected=["gsm8k", "mmlu"])
    assert_unmeasurable(report, "mmlu: there is no result")


def test_read_results_rejects_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="cannot read"):
        read_results(tmp_path / "results.json")


@pytest.mark.parametrize("bad", ["NaN", "Infinity", '"N/A"', "null"])
def test_read_results_rejects_score_without_finite_value(tmp_path: Path, bad: str) -> None:
    path = tmp_path / "results.json"
    write_results(make_results(), path)
    path.write_text(path.read_text().replace('"value": 0.8', f'"value": {bad}'))
    with pytest.raises(ResultsError, match="not a results file"):
        read_results(path)


def test_read_results_rejects_truncated_file(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    write_results(make_results(), path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ResultsError, match="not valid JSON"):
        read_results(path)


def test_result_without_score_is_unmeasurable() -> None:
    assert_unmeasurable(judge_results(make_results(make_task(scores=())), MIN_50), "there is no score")


def test_unknown_metric_is_unmeasurable_and_lists_nearest_names() -> None:
    renamed = make_results(make_task(scores=(make_score(metric="exact_match,strict-match"), make_score(metric="bleu"))))
    policy = {"tasks": {"gsm8k": {"min": 0.5, "metric": "exact_mach"}}}
    report = judge_results(renamed, policy)
    assert_unmeasurable(report, "there is no metric 'exact_mach'", "nearest: exact_match,strict-match")


def test_metric_without_its_filter_is_accepted_where_a_single_metric_has_it() -> None:
    renamed = make_results(make_task(scores=(make_score(metric="exact_match,strict-match"), make_score(metric="bleu"))))
    report = judge_results(renamed, {"tasks": {"gsm8k": {"min": 0.5, "metric": "exact_match"}}})
    assert report.verdict is Verdict.PASS
    assert report.tasks[0].metric == "exact_match,strict-match"


def test_metric_without_its_filter_is_ambiguous_where_several_metrics_have_it() -> None:
    scores = (make_score(metric="exact_match,strict"), make_score(metric="exact_match,flexible"))
    report = judge_results(
        make_results(make_task(scores=scores)), {"tasks": {"gsm8k": {"min": 0.5, "metric": "exact_match"}}}
    )
    assert_unmeasurable(report, "ambiguous; set metric to one of exact_match,strict, exact_match,flexible")


def test_metric_without_its_filter_is_ambiguous_even_if_only_one_of_several_has_a_value() -> None:
    task = make_task(scores=(make_score(metric="exact_match,flexible"),), missing_scores=("exact_match,strict",))
    report = judge_results(make_results(task), {"tasks": {"gsm8k": {"min": 0.5, "metric": "exact_match"}}})
    assert_unmeasurable(report, "ambiguous")


def test_primary_metric_without_a_value_is_unmeasurable_and_not_replaced() -> None:
    task = make_task(primary_metric="f1", scores=(make_score(),), missing_scores=("f1",))
    assert_unmeasurable(judge_results(make_results(task), MIN_50), "f1 has no finite value; no other metric replaces")
    only_missing = make_task(primary_metric=None, scores=(), missing_scores=("f1",))
    assert_unmeasurable(judge_results(make_results(only_missing), MIN_50), "f1 has no finite value")


def test_unknown_primary_metric_is_unmeasurable() -> None:
    two = make_results(make_task(primary_metric=None, scores=(make_score(), make_score(metric="f1"))))
    assert_unmeasurable(judge_results(two, MIN_50), "set metric to one of acc, f1")


@pytest.mark.parametrize("outcome", [outcome for outcome in JobOutcome if outcome is not JobOutcome.SUCCEEDED])
def test_job_that_did_not_succeed_is_unmeasurable(outcome: JobOutcome) -> None:
    results = make_results(make_task(outcome=outcome, detail="it ran out of time"))
    assert_unmeasurable(judge_results(results, MIN_50), "it ran out of time")


def test_unreadable_results_are_unmeasurable() -> None:
    results = make_results(make_task(reason="harness", detail="no results file"))
    assert_unmeasurable(judge_results(results, MIN_50), "no results file")


def test_fewer_items_than_expected_are_unmeasurable() -> None:
    assert_unmeasurable(judge_results(make_results(make_task(n_items=20)), MIN_50), "only 20 of 200 items")
    partial = make_task(scores=(make_score(n=150),))
    assert_unmeasurable(judge_results(make_results(partial), MIN_50), "computed from only 150 of 200")
    empty = make_task(n_items=0, n_expected=None)
    assert_unmeasurable(judge_results(make_results(empty), MIN_50), "no item")


def test_unknown_item_count_is_unmeasurable_if_a_count_is_expected() -> None:
    unknown = make_task(n_items=None, scores=(make_score(n=None),))
    assert_unmeasurable(judge_results(make_results(unknown), MIN_50), "the number of evaluated items is unknown")


def test_fewer_items_than_min_items_are_unmeasurable() -> None:
    policy = {"tasks": {"gsm8k": {"min": 0.5}}, "defaults": {"min_items": 500}}
    report = judge_results(make_results(), policy)
    assert_unmeasurable(report, "only 200 items were evaluated; min_items is 500")


def test_policy_entry_for_unknown_task_is_an_error() -> None:
    with pytest.raises(SpecError, match=r"gate\.tasks\.gsm8: the spec has no such task") as raised:
        judge_results(make_results(), {"tasks": {"gsm8": {"min": 0.5}}})
    assert raised.value.problems[0].hint == "nearest: gsm8k"


def test_policy_without_any_task_is_an_error() -> None:
    with pytest.raises(SpecError, match="no task to gate"):
        judge_results(make_results(), MIN_50, expected=[])
    assert judge_results(make_results(), None, expected=[]).exit_code == 3


@pytest.mark.parametrize("policy", [{}, {"tasks": {"gsm8k": {}}}, {"baseline": "main"}])
def test_policy_without_limits_is_an_error(policy: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match="the gate states no limit"):
        judge_results(make_results(), policy)


def test_policy_entry_matches_task_without_harness_name_if_unambiguous() -> None:
    full = make_results(make_task("lm-evaluation-harness.gsm8k"))
    assert judge_results(full, MIN_50).verdict is Verdict.PASS
    two = make_results(make_task("simple_evals.gsm8k"), make_task("lm-evaluation-harness.gsm8k"))
    with pytest.raises(SpecError, match="matches several tasks"):
        judge_results(two, MIN_50)


def test_score_without_spread_is_not_certain() -> None:
    all_correct = make_results(make_task(scores=(make_score(value=1.0, stderr=0.0, n=10),), n_items=10, n_expected=10))
    assert judge_results(all_correct, {"tasks": {"gsm8k": {"min": 0.9}}}).verdict is Verdict.INCONCLUSIVE
    assert judge_results(all_correct, {"tasks": {"gsm8k": {"min": 0.7}}}).verdict is Verdict.PASS


def test_score_without_error_and_item_count_needs_point_floor() -> None:
    bare = make_task(scores=(make_score(stderr=None, n=None),), n_items=None, n_expected=None)
    assert_unmeasurable(judge_results(make_results(bare), MIN_50), "no standard error", "floor: point")
    point = {"tasks": {"gsm8k": {"min": 0.5, "floor": "point"}}}
    assert judge_results(make_results(bare), point).verdict is Verdict.PASS


def test_bounded_score_without_standard_error_uses_hoeffding_bound() -> None:
    bounded = make_task(scores=(make_score(value=0.8041, stderr=None),))
    assert judge_results(make_results(bounded), {"tasks": {"gsm8k": {"min": 0.71}}}).verdict is Verdict.PASS
    assert judge_results(make_results(bounded), {"tasks": {"gsm8k": {"min": 0.75}}}).verdict is Verdict.INCONCLUSIVE


def test_usage_above_limit_fails_and_unreported_usage_is_unmeasurable() -> None:
    policy = {"tasks": {"gsm8k": {"limits": {"cost_usd": 2, "seconds": 60}}}}
    within = make_task(usage={"cost_usd": 1.5}, seconds=30)
    assert judge_results(make_results(within), policy).verdict is Verdict.PASS
    above = judge_results(make_results(make_task(usage={"cost_usd": 2.5}, seconds=30)), policy)
    assert above.reasons == ("gsm8k: cost_usd is 2.5 USD, more than the allowed 2 USD",)
    assert above.exit_code == 1
    assert_unmeasurable(judge_results(make_results(make_task(seconds=30)), policy), "cost_usd has a limit")


def exit_code(critical: dict[str, Any], supporting: dict[str, Any], advisory: dict[str, Any], **policy: object) -> int:
    tasks = {
        "a": {"tier": "critical", **critical},
        "b": {"tier": "supporting", **supporting},
        "c": {"tier": "advisory", **advisory},
    }
    results = make_results(make_task("a"), make_task("b"), make_task("c"))
    return judge_results(results, {"tasks": tasks, **policy}).exit_code


PASSING, FAILING, INCONCLUSIVE, UNMEASURABLE = {"min": 0.5}, {"min": 0.99}, {"min": 0.8}, {"metric": "none"}


def test_exit_code_follows_tier_and_severity() -> None:
    assert exit_code(PASSING, PASSING, PASSING) == 0
    assert exit_code(PASSING, PASSING, FAILING) == 0
    assert exit_code(PASSING, PASSING, UNMEASURABLE) == 0
    assert exit_code(PASSING, INCONCLUSIVE, FAILING) == 4
    assert exit_code(PASSING, FAILING, PASSING) == 1
    assert exit_code(INCONCLUSIVE, FAILING, PASSING) == 1
    assert exit_code(UNMEASURABLE, FAILING, PASSING) == 3
    assert exit_code(FAILING, UNMEASURABLE, PASSING) == 1
    assert exit_code(INCONCLUSIVE, UNMEASURABLE, PASSING) == 3


def test_on_inconclusive_changes_exit_code_but_not_verdict() -> None:
    assert exit_code(PASSING, INCONCLUSIVE, PASSING, on_inconclusive="fail") == 1
    assert exit_code(PASSING, INCONCLUSIVE, PASSING, on_inconclusive="pass") == 0
    strict_task = {**INCONCLUSIVE, "on_inconclusive": "fail"}
    assert exit_code(PASSING, strict_task, PASSING, on_inconclusive="pass") == 1
    assert exit_code(PASSING, {**INCONCLUSIVE, "on_inconclusive": "pass"}, PASSING) == 0
    report = judge_results(make_results(), {"tasks": {"gsm8k": INCONCLUSIVE}, "on_inconclusive": "pass"})
    assert report.verdict is Verdict.INCONCLUSIVE


def test_missing_baseline_is_reported_and_fails_on_request() -> None:
    policy = {"tasks": {"gsm8k": {"min": 0.5, "max_drop": 0.01}}}
    report = judge_results(make_results(), policy)
    assert report.exit_code == 0
    assert "there is no baseline" in report.tasks[0].reasons
    assert report.notes == ("there is no baseline yet; on_missing_baseline is `pass`",)
    assert judge_results(make_results(), {**policy, "on_missing_baseline": "fail"}).exit_code == 1
    assert judge_results(make_results(), {"tasks": {"gsm8k": {"min": 0.9, "max_drop": 0.01}}}).exit_code == 1


def test_task_entry_overrides_defaults() -> None:
    policy = {"defaults": {"min": 0.9}, "tasks": {"a": {"min": 0.5}}}
    report = judge_results(make_results(make_task("a"), make_task("b")), policy)
    assert [task.verdict for task in report.tasks] == [Verdict.PASS, Verdict.FAIL]


def test_every_model_is_judged() -> None:
    both = make_results(make_task(), make_task(model="acme-70b", scores=(make_score(value=0.3),)))
    report = judge_results(both, MIN_50, expected=["gsm8k"])
    assert [task.verdict for task in report.tasks] == [Verdict.PASS, Verdict.FAIL]


def test_holm_correction_prevents_chance_failure_among_many_tasks() -> None:
    tasks = [make_task(f"t{index}") for index in range(10)]
    tasks[0] = make_task("t0", scores=(make_score(value=0.74),))
    policy = {"defaults": {"min": 0.8}}
    assert judge_results(make_results(*tasks), policy).tasks[0].verdict is Verdict.INCONCLUSIVE
    uncorrected = judge_results(make_results(*tasks), {**policy, "correction": "none"})
    assert uncorrected.tasks[0].verdict is Verdict.FAIL


def test_report_round_trips_through_json() -> None:
    report = judge_results(make_results(), MIN_50)
    assert GateReport.model_validate(json.loads(report.model_dump_json())) == report


def test_all_tasks_advisory_is_stated_as_deciding_nothing() -> None:
    report = judge_results(make_results(), {"defaults": {"min": 0.9, "tier": "advisory"}})
    assert report.exit_code == 0
    assert "every task is advisory: no result can fail this gate" in report.notes


def test_assumed_range_of_a_score_without_items_is_stated() -> None:
    graded = make_results(make_task(scores=(make_score(metric="f1", stderr=0.01),), primary_metric="f1"))
    assert "taken to be between 0 and 1" in judge_results(graded, MIN_50).notes[0]
    bleu = make_score(metric="bleu", value=31.5, stderr=0.4)
    unbounded = make_results(make_task(scores=(bleu,), primary_metric="bleu"))
    assert "taken to be normal" in judge_results(unbounded, {"tasks": {"gsm8k": {"min": 20}}}).notes[0]
    assert not judge_results(unbounded, {"tasks": {"gsm8k": {"min": 20, "bounds": [0, 100]}}}).notes
