"""The traps through which a gate lets a bad change pass, one test each, and the order of exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.gate_results import results, task, verdict

from nel_action.errors import ResultsError, SpecError
from nel_action.gating.verdict import GateReport, Verdict
from nel_action.model.results import JobOutcome, Score, read_results, write_results

FLOOR = {"tasks": {"gsm8k": {"min": 0.5}}}


def unmeasurable(report: GateReport, *words: str) -> None:
    assert report.verdict is Verdict.UNMEASURABLE
    assert report.exit_code == 3
    said = " ".join([*report.reasons, *(reason for one in report.tasks for reason in one.reasons)])
    for word in words:
        assert word in said


def score(**changes: object) -> Score:
    return Score.model_validate({"metric": "acc", "value": 0.8, "stderr": 0.02835, "n": 200, **changes})


def test_a_task_above_its_floor_passes() -> None:
    report = verdict(results(), FLOOR)
    assert (report.verdict, report.exit_code) == (Verdict.PASS, 0)
    assert report.tasks[0].reasons == ("0.800 is above the floor of 0.500 at 95% confidence",)
    assert report.tasks[0].interval is not None
    assert report.tasks[0].interval.low < 0.8 < report.tasks[0].interval.high


def test_a_task_below_its_floor_fails() -> None:
    report = verdict(results(), {"tasks": {"gsm8k": {"min": 0.9}}})
    assert (report.verdict, report.exit_code) == (Verdict.FAIL, 1)
    assert report.reasons == ("gsm8k: 0.800 is below the floor of 0.900 at 95% confidence",)


def test_a_floor_within_the_noise_is_inconclusive_unless_the_policy_trusts_the_point() -> None:
    report = verdict(results(), {"tasks": {"gsm8k": {"min": 0.79}}})
    assert (report.verdict, report.exit_code) == (Verdict.INCONCLUSIVE, 4)
    assert verdict(results(), {"tasks": {"gsm8k": {"min": 0.79, "floor": "point"}}}).verdict is Verdict.PASS
    assert verdict(results(), {"tasks": {"gsm8k": {"min": 0.81, "floor": "point"}}}).verdict is Verdict.FAIL


def test_a_ceiling_is_a_floor_turned_over() -> None:
    wer = results(task(scores=(score(metric="wer", value=0.2),), primary_metric="wer"))
    assert verdict(wer, {"tasks": {"gsm8k": {"max": 0.3}}}).verdict is Verdict.PASS
    assert verdict(wer, {"tasks": {"gsm8k": {"max": 0.1}}}).verdict is Verdict.FAIL
    assert verdict(wer, {"tasks": {"gsm8k": {"max": 0.21}}}).verdict is Verdict.INCONCLUSIVE


def test_without_a_policy_everything_must_be_there() -> None:
    assert verdict(results(), None).verdict is Verdict.PASS
    unmeasurable(verdict(results(), None, expected=["gsm8k", "ifeval"]), "ifeval: it has no result")


def test_a_missing_result_is_unmeasurable() -> None:
    policy = {"tasks": {"gsm8k": {"min": 0.5}, "ifeval": {"min": 0.5}}}
    unmeasurable(verdict(results(), policy, expected=["gsm8k", "ifeval"]), "ifeval: it has no result")


def test_a_required_task_without_an_entry_is_unmeasurable_too() -> None:
    unmeasurable(verdict(results(), FLOOR, expected=["gsm8k", "mmlu"]), "mmlu: it has no result")


def test_a_missing_file_never_becomes_a_verdict(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="cannot read"):
        read_results(tmp_path / "results.json")


@pytest.mark.parametrize("bad", ["NaN", "Infinity", '"N/A"', "null"])
def test_a_score_that_is_no_number_never_becomes_a_verdict(tmp_path: Path, bad: str) -> None:
    path = tmp_path / "results.json"
    write_results(results(), path)
    path.write_text(path.read_text().replace('"value": 0.8', f'"value": {bad}'))
    with pytest.raises(ResultsError, match="not a results file"):
        read_results(path)


def test_truncated_results_never_become_a_verdict(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    write_results(results(), path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ResultsError, match="not valid JSON"):
        read_results(path)


def test_no_score_is_unmeasurable() -> None:
    unmeasurable(verdict(results(task(scores=())), FLOOR), "it has no score")


def test_a_renamed_metric_is_unmeasurable_and_the_nearest_are_named() -> None:
    renamed = results(task(scores=(score(metric="exact_match,strict-match"), score(metric="bleu"))))
    policy = {"tasks": {"gsm8k": {"min": 0.5, "metric": "exact_match"}}}
    unmeasurable(verdict(renamed, policy), "it has no metric 'exact_match'", "nearest: exact_match,strict-match")


def test_a_primary_metric_that_is_not_known_is_unmeasurable() -> None:
    two = results(task(primary_metric=None, scores=(score(), score(metric="f1"))))
    unmeasurable(verdict(two, FLOOR), "set metric to one of acc, f1")


@pytest.mark.parametrize("outcome", [one for one in JobOutcome if one is not JobOutcome.SUCCEEDED])
def test_a_job_that_did_not_succeed_is_unmeasurable(outcome: JobOutcome) -> None:
    unmeasurable(verdict(results(task(outcome=outcome, detail="it ran out of time")), FLOOR), "it ran out of time")


def test_results_that_could_not_be_read_are_unmeasurable() -> None:
    unmeasurable(verdict(results(task(reason="harness", detail="no results file")), FLOOR), "no results file")


def test_fewer_items_than_expected_are_unmeasurable() -> None:
    unmeasurable(verdict(results(task(n_items=20)), FLOOR), "only 20 of 200 items")
    unmeasurable(verdict(results(task(scores=(score(n=150),))), FLOOR), "computed from only 150 of 200")
    unmeasurable(verdict(results(task(n_items=0, n_expected=None)), FLOOR), "no item")


def test_an_unknown_number_of_items_is_unmeasurable_where_one_is_expected() -> None:
    unknown = task(n_items=None, scores=(score(n=None),))
    unmeasurable(verdict(results(unknown), FLOOR), "is not known")


def test_fewer_items_than_the_policy_asks_for_are_unmeasurable() -> None:
    policy = {"tasks": {"gsm8k": {"min": 0.5}}, "defaults": {"min_items": 500}}
    unmeasurable(verdict(results(), policy), "200 items are fewer than the 500")


def test_a_policy_for_a_task_that_is_not_there_is_an_error() -> None:
    with pytest.raises(SpecError, match=r"gate\.tasks\.gsm8: the spec has no such task") as raised:
        verdict(results(), {"tasks": {"gsm8": {"min": 0.5}}})
    assert raised.value.problems[0].hint == "nearest: gsm8k"


def test_no_task_at_all_is_an_error() -> None:
    with pytest.raises(SpecError, match="no task to gate"):
        verdict(results(), FLOOR, expected=[])
    assert verdict(results(), None, expected=[]).exit_code == 3


@pytest.mark.parametrize("policy", [{}, {"tasks": {"gsm8k": {}}}, {"baseline": "main"}])
def test_a_policy_that_limits_nothing_is_an_error(policy: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match="the gate limits nothing"):
        verdict(results(), policy)


def test_a_policy_may_leave_out_the_harness_name_where_that_is_clear() -> None:
    full = results(task("lm-evaluation-harness.gsm8k"))
    assert verdict(full, FLOOR).verdict is Verdict.PASS
    two = results(task("simple_evals.gsm8k"), task("lm-evaluation-harness.gsm8k"))
    with pytest.raises(SpecError, match="fits several tasks"):
        verdict(two, FLOOR)


def test_no_spread_is_no_certainty() -> None:
    all_right = results(task(scores=(score(value=1.0, stderr=0.0, n=10),), n_items=10, n_expected=10))
    assert verdict(all_right, {"tasks": {"gsm8k": {"min": 0.9}}}).verdict is Verdict.INCONCLUSIVE
    assert verdict(all_right, {"tasks": {"gsm8k": {"min": 0.7}}}).verdict is Verdict.PASS


def test_a_score_without_any_error_or_count_cannot_be_tested() -> None:
    bare = task(scores=(score(stderr=None, n=None),), n_items=None, n_expected=None)
    unmeasurable(verdict(results(bare), FLOOR), "no standard error", "floor: point")
    assert verdict(results(bare), {"tasks": {"gsm8k": {"min": 0.5, "floor": "point"}}}).verdict is Verdict.PASS


def test_a_bounded_score_without_a_standard_error_is_tested_by_the_widest() -> None:
    bounded = task(scores=(score(value=0.8041, stderr=None),))
    assert verdict(results(bounded), {"tasks": {"gsm8k": {"min": 0.71}}}).verdict is Verdict.PASS
    assert verdict(results(bounded), {"tasks": {"gsm8k": {"min": 0.75}}}).verdict is Verdict.INCONCLUSIVE


def test_cost_is_held_to_its_limits_and_silence_is_unmeasurable() -> None:
    policy = {"tasks": {"gsm8k": {"limits": {"cost_usd": 2, "seconds": 60}}}}
    cheap = task(usage={"cost_usd": 1.5}, seconds=30)
    assert verdict(results(cheap), policy).verdict is Verdict.PASS
    dear = verdict(results(task(usage={"cost_usd": 2.5}, seconds=30)), policy)
    assert dear.reasons == ("gsm8k: cost_usd is 2.5, more than the 2 allowed",)
    assert dear.exit_code == 1
    unmeasurable(verdict(results(task(seconds=30)), policy), "cost_usd is limited")


def codes(critical: dict[str, Any], supporting: dict[str, Any], advisory: dict[str, Any], **policy: object) -> int:
    tasks = {
        "a": {"tier": "critical", **critical},
        "b": {"tier": "supporting", **supporting},
        "c": {"tier": "advisory", **advisory},
    }
    return verdict(results(task("a"), task("b"), task("c")), {"tasks": tasks, **policy}).exit_code


GOOD, BAD, UNSURE, BLIND = {"min": 0.5}, {"min": 0.99}, {"min": 0.8}, {"metric": "none"}


def test_the_order_of_exit_codes() -> None:
    assert codes(GOOD, GOOD, GOOD) == 0
    assert codes(GOOD, GOOD, BAD) == 0
    assert codes(GOOD, GOOD, BLIND) == 0
    assert codes(GOOD, UNSURE, BAD) == 4
    assert codes(GOOD, BAD, GOOD) == 1
    assert codes(UNSURE, BAD, GOOD) == 1
    assert codes(BLIND, BAD, GOOD) == 3
    assert codes(BAD, BLIND, GOOD) == 1
    assert codes(UNSURE, BLIND, GOOD) == 3


def test_on_inconclusive_changes_the_exit_code_and_never_the_verdict() -> None:
    assert codes(GOOD, UNSURE, GOOD, on_inconclusive="fail") == 1
    assert codes(GOOD, UNSURE, GOOD, on_inconclusive="pass") == 0
    assert codes(GOOD, {**UNSURE, "on_inconclusive": "fail"}, GOOD, on_inconclusive="pass") == 1
    assert codes(GOOD, {**UNSURE, "on_inconclusive": "pass"}, GOOD) == 0
    report = verdict(results(), {"tasks": {"gsm8k": UNSURE}, "on_inconclusive": "pass"})
    assert report.verdict is Verdict.INCONCLUSIVE


def test_a_first_run_without_a_baseline_is_said_either_way() -> None:
    policy = {"tasks": {"gsm8k": {"min": 0.5, "max_drop": 0.01}}}
    report = verdict(results(), policy)
    assert report.exit_code == 0
    assert "no baseline to compare with" in report.tasks[0].reasons
    assert report.notes == ("there is no baseline; the policy lets that pass",)
    assert verdict(results(), {**policy, "on_missing_baseline": "fail"}).exit_code == 1
    assert verdict(results(), {"tasks": {"gsm8k": {"min": 0.9, "max_drop": 0.01}}}).exit_code == 1


def test_defaults_hold_for_every_task_and_an_entry_overrides_them() -> None:
    policy = {"defaults": {"min": 0.9}, "tasks": {"a": {"min": 0.5}}}
    report = verdict(results(task("a"), task("b")), policy)
    assert [one.verdict for one in report.tasks] == [Verdict.PASS, Verdict.FAIL]


def test_every_model_is_judged() -> None:
    both = results(task(), task(model="acme-70b", scores=(score(value=0.3),)))
    assert [one.verdict for one in verdict(both, FLOOR, expected=["gsm8k"]).tasks] == [Verdict.PASS, Verdict.FAIL]


def test_holm_spares_one_of_many_by_chance_and_none_does_not() -> None:
    tasks = [task(f"t{place}") for place in range(10)]
    tasks[0] = task("t0", scores=(score(value=0.74),))
    policy = {"defaults": {"min": 0.8}}
    assert verdict(results(*tasks), policy).tasks[0].verdict is Verdict.INCONCLUSIVE
    assert verdict(results(*tasks), {**policy, "correction": "none"}).tasks[0].verdict is Verdict.FAIL


def test_the_report_is_plain_json() -> None:
    report = verdict(results(), FLOOR)
    assert GateReport.model_validate(json.loads(report.model_dump_json())) == report
