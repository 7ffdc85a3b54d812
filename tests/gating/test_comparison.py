"""Comparison with a baseline: comparability, pairing, estimates and defects of samples."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from tests.support.gate_results import make_policy, make_results, make_run, make_task

from nel_action.gating.judge import judge_result_set
from nel_action.gating.result_set import ResultSet
from nel_action.gating.verdict import GateReport, Verdict
from nel_action.model.results import Sample, Score, write_samples
from nel_action.planning.fingerprint import IMAGE_DIGEST

BASELINE = [1.0] * 160 + [0.0] * 40
LOWER = [0.0] * 40 + [1.0] * 120 + [0.0] * 40


def gate(baseline: ResultSet, candidate: ResultSet, **limits: object) -> GateReport:
    policy = make_policy({"tasks": {"gsm8k": limits}})
    return judge_result_set(candidate, policy=policy, baseline=baseline, expected=["gsm8k"])


def make_run_without_items(
    value: float = 0.8, stderr: float | None = 0.02835, n: int | None = 200, **changes: object
) -> ResultSet:
    score = Score(metric="acc", value=value, stderr=stderr, n=n, higher_is_better=True)
    results = make_results(make_task(scores=(score,), n_items=n, n_expected=n, **changes))
    return ResultSet.from_results(results, Path(), name="aggregate")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("harness", "inspect", "the harness differs"),
        ("harness_version", "0.4.9", "the version of the harness differs"),
        ("task_version", "2", "the version of the task differs"),
        ("task_hash", "abc", "the prompt or the task differs"),
        ("n_shot", 5, "few-shot examples"),
        ("chat_template", "abc", "the chat template differs"),
        ("params", {"limit_samples": 200}, "limit_samples differs: 200 in the baseline, none now"),
    ],
)
def test_difference_is_refused_unless_allowed(tmp_path: Path, field: str, value: object, message: str) -> None:
    name = "limit" if field == "params" else field
    baseline = make_run(tmp_path / "a", BASELINE, **{field: value})  # type: ignore[arg-type]
    candidate = make_run(tmp_path / "b", BASELINE)
    report = gate(baseline, candidate, max_drop=0.1)
    assert (report.verdict, report.exit_code) == (Verdict.UNMEASURABLE, 3)
    assert message in report.reasons[0]
    assert f"`allow: [{name}]`" in report.reasons[0]
    allowed = gate(baseline, candidate, max_drop=0.1, allow=[name])
    assert allowed.verdict is Verdict.PASS
    assert message in allowed.notes[0]


def test_minimum_is_tested_even_if_baseline_is_not_comparable(tmp_path: Path) -> None:
    baseline, candidate = make_run(tmp_path / "a", BASELINE, n_shot=5), make_run(tmp_path / "b", BASELINE)
    assert gate(baseline, candidate, max_drop=0.1, min=0.95).exit_code == 1


def test_items_in_one_run_only_are_refused_unless_allowed(tmp_path: Path) -> None:
    items = {f"q{index}": value for index, value in enumerate(BASELINE)}
    renamed = {("other" if name == "q0" else name): value for name, value in items.items()}
    baseline, candidate = make_run(tmp_path / "a", items), make_run(tmp_path / "b", renamed)
    report = gate(baseline, candidate, max_drop=0.1)
    assert report.exit_code == 3
    assert "1 item of the other run is missing from this run" in report.reasons[0]
    comparison = gate(baseline, candidate, max_drop=0.1, allow=["items"]).tasks[0].comparison
    assert comparison is not None
    assert comparison.n_paired == 199


def test_runs_without_common_item_ids_are_unmeasurable(tmp_path: Path) -> None:
    candidate = make_run(tmp_path / "b", {f"x{index}": value for index, value in enumerate(BASELINE)})
    report = gate(make_run(tmp_path / "a", BASELINE), candidate, max_drop=0.1)
    assert report.exit_code == 3
    assert "no item id is in both runs" in report.reasons[0]


def test_items_are_paired_by_id_in_any_order(tmp_path: Path) -> None:
    items = {str(index): value for index, value in enumerate(BASELINE)}
    reordered = make_run(tmp_path / "b", dict(reversed(items.items())))
    report = gate(make_run(tmp_path / "a", items), reordered, max_drop=0.1)
    assert report.verdict is Verdict.PASS
    assert report.tasks[0].comparison is not None
    assert report.tasks[0].comparison.n_worse == 0


def make_run_with_inputs(root: Path, texts: list[str]) -> ResultSet:
    path = root / "samples" / "gsm8k.jsonl.gz"
    rows = enumerate(zip(texts, BASELINE, strict=True))
    write_samples((Sample(id=str(index), scores={"acc": value}, input=text) for index, (text, value) in rows), path)
    results = make_results(make_task(samples="samples/gsm8k.jsonl.gz"))
    return ResultSet.from_results(results, root, name=root.name)


def test_items_with_changed_prompts_are_refused_unless_allowed(tmp_path: Path) -> None:
    texts = [f"What is {index} + 1?" for index in range(200)]
    baseline = make_run_with_inputs(tmp_path / "a", texts)
    candidate = make_run_with_inputs(tmp_path / "b", ["What is 2 + 1?", *texts[1:]])
    report = gate(baseline, candidate, max_drop=0.1)
    assert report.exit_code == 3
    assert "1 item has another prompt than in the baseline" in report.reasons[0]
    assert gate(baseline, candidate, max_drop=0.1, allow=["inputs"]).verdict is Verdict.PASS


def test_failure_lists_flipped_items(tmp_path: Path) -> None:
    report = gate(make_run(tmp_path / "a", BASELINE), make_run(tmp_path / "b", LOWER), max_drop=0.05)
    assert report.exit_code == 1
    assert report.reasons == ("gsm8k: fell 20 pp, more than the allowed 5 pp",)
    comparison = report.tasks[0].comparison
    assert comparison is not None
    assert [flip.id for flip in comparison.worse] == [str(index) for index in range(40)]
    assert comparison.n_better == 0


def test_lower_is_better_reverses_the_comparison(tmp_path: Path) -> None:
    limits: dict[str, object] = {"max_drop": 0.05, "direction": "lower_is_better"}
    baseline, lower = (make_run(tmp_path / name, items, higher=None) for name, items in (("a", BASELINE), ("b", LOWER)))
    better = gate(baseline, lower, **limits)
    assert better.verdict is Verdict.PASS
    assert better.tasks[0].reasons[0].startswith("improved by 0.2;")
    comparison = better.tasks[0].comparison
    assert comparison is not None
    assert comparison.interval is not None
    assert comparison.interval.low < comparison.difference < comparison.interval.high < 0
    assert (comparison.n_worse, comparison.n_better) == (0, 40)
    assert gate(lower, baseline, **limits).exit_code == 1


def test_direction_of_the_policy_does_not_override_the_harness(tmp_path: Path) -> None:
    """A fall from 80 % to 60 % was an improvement with the wrong direction."""
    baseline, lower = make_run(tmp_path / "a", BASELINE), make_run(tmp_path / "b", LOWER)
    report = gate(baseline, lower, max_drop=0.05, direction="lower_is_better")
    assert report.exit_code == 3
    assert "direction is lower_is_better, but the harness reports higher_is_better for acc" in report.reasons[0]
    assert gate(baseline, lower, max_drop=0.05, direction="higher_is_better").exit_code == 1


def test_unknown_direction_is_unmeasurable() -> None:
    score = Score(metric="acc", value=0.8, stderr=0.02835, n=200)
    run = ResultSet.from_results(make_results(make_task(scores=(score,))), Path(), name="x")
    report = gate(run, run, max_drop=0.1)
    assert report.exit_code == 3
    assert "whether larger values of acc are better is unknown; set direction" in report.reasons[0]


def test_contradictory_direction_is_unmeasurable() -> None:
    score = Score(metric="acc", value=0.8, stderr=0.02835, n=200, higher_is_better=False)
    run = ResultSet.from_results(make_results(make_task(scores=(score,))), Path(), name="x")
    report = gate(make_run_without_items(), run, max_drop=0.1)
    assert report.exit_code == 3
    assert "differs between the two runs; set direction" in report.reasons[0]


def test_min_gain_requires_an_improvement(tmp_path: Path) -> None:
    low, high = make_run(tmp_path / "a", LOWER), make_run(tmp_path / "b", BASELINE)
    assert gate(low, high, min_gain=0.1).verdict is Verdict.PASS
    assert gate(high, low, min_gain=0.1).verdict is Verdict.FAIL
    assert gate(low, high, min_gain=0.2).verdict is Verdict.INCONCLUSIVE
    unchanged = gate(high, high, min_gain=0.1).tasks[0].reasons[0]
    assert unchanged.startswith("did not change, less than the required gain of 10 pp")


def test_relative_limit_accounts_for_the_error_of_the_baseline(tmp_path: Path) -> None:
    low, high = make_run(tmp_path / "a", LOWER), make_run(tmp_path / "b", BASELINE)
    assert gate(high, low, max_relative_drop=0.1).verdict is Verdict.FAIL
    assert gate(high, low, max_relative_drop=0.4).verdict is Verdict.PASS
    report = gate(high, low, max_relative_drop=0.25)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert report.tasks[0].reasons[0].startswith("lost 25.0 % of the baseline (interval of the loss: ")


def test_relative_drop_of_zero_baseline_is_unmeasurable(tmp_path: Path) -> None:
    zero = make_run(tmp_path / "a", [0.0] * 50)
    report = gate(zero, zero, max_relative_drop=0.1)
    assert report.exit_code == 3
    assert "a relative drop is undefined: the baseline's score is 0" in report.reasons[0]


def test_relative_drop_of_zero_items_with_a_rounded_score_is_unmeasurable(tmp_path: Path) -> None:
    score = Score(metric="acc", value=0.0004, stderr=0.0001, n=50, higher_is_better=True)
    run = make_run(tmp_path / "a", [0.0] * 50, scores=(score,))
    report = gate(run, run, max_relative_drop=0.1)
    assert report.exit_code == 3
    assert "a relative drop is undefined: the baseline's score is 0" in report.reasons[0]


def test_scores_without_items_are_compared_with_less_power() -> None:
    report = gate(make_run_without_items(), make_run_without_items(0.6, 0.0347), max_drop=0.05)
    assert report.exit_code == 1
    assert "comparing two scores has less power" in report.notes[0]
    small = gate(make_run_without_items(), make_run_without_items(0.79, 0.0289), max_drop=0.05)
    assert small.verdict is Verdict.INCONCLUSIVE
    assert gate(make_run_without_items(), make_run_without_items(), max_drop=0.15).verdict is Verdict.PASS
    bleu, lower_bleu = make_run_without_items(31.2, 0.4, 500), make_run_without_items(28.1, 0.4, 500)
    assert gate(bleu, lower_bleu, max_drop=1).exit_code == 1
    assert gate(bleu, lower_bleu, max_relative_drop=0.2).verdict is Verdict.PASS


def test_scores_without_items_and_errors_are_unmeasurable() -> None:
    bare, bleu = make_run_without_items(31.2, None, None), make_run_without_items(28.1, 0.4, 500)
    report = gate(bare, bleu, max_drop=1, allow=["items"])
    assert report.exit_code == 3
    assert "of the baseline has no standard error" in report.reasons[0]
    assert "of this run has no standard error" in gate(bleu, bare, max_drop=1, allow=["items"]).reasons[0]


def test_score_without_a_number_of_items_is_inconclusive_and_the_reason_names_it() -> None:
    """The standard error of a few items is no evidence: 0.8 +- 0.005 may be that of two."""
    bare = make_run_without_items(0.8, 0.005, None)
    report = gate(bare, bare, max_drop=0.3)
    assert report.exit_code == 4
    assert "the number of items is unknown" in report.reasons[0]
    assert report.tasks[0].comparison is not None
    assert report.tasks[0].comparison.minimum_detectable is None
    floor = judge_result_set(
        bare, policy=make_policy({"tasks": {"gsm8k": {"min": 0.2}}}), baseline=None, expected=["gsm8k"]
    )
    assert floor.exit_code == 4


def test_few_scores_of_unknown_range_do_not_pass_and_bounds_make_them_testable() -> None:
    """Scores of 20 items may lack a value that a tenth of all items has, at any distance."""
    few = make_run_without_items(31.2, 0.1, 20)
    report = gate(few, few, max_drop=25)
    assert report.exit_code == 4
    assert "at least 59 are needed; state `bounds`" in report.reasons[0]
    assert gate(few, few, max_drop=25, bounds=[0, 100]).verdict is Verdict.PASS
    outside = gate(few, few, max_drop=25, bounds=[0, 30])
    assert outside.exit_code == 3
    assert "the score is 31.2, outside the stated bounds 0 to 30" in outside.reasons[0]


def test_latencies_are_judged_as_scores_without_an_upper_bound(tmp_path: Path) -> None:
    """Values between 0 and 1 of a metric of which smaller ones are better may be seconds."""
    quick = [0.2 + 0.01 * (row % 10) for row in range(30)]
    score = Score(metric="acc", value=sum(quick) / 30, n=30, higher_is_better=False)
    run = make_run(tmp_path / "a", quick, scores=(score,))
    policy = make_policy({"tasks": {"gsm8k": {"max": 0.5}}})
    report = judge_result_set(run, policy=policy, baseline=None, expected=["gsm8k"])
    assert report.verdict is Verdict.INCONCLUSIVE
    assert "without a known range" in report.reasons[0]
    bounded = make_policy({"tasks": {"gsm8k": {"max": 0.5, "bounds": [0, 1]}}})
    assert judge_result_set(run, policy=bounded, baseline=None, expected=["gsm8k"]).verdict is Verdict.PASS
    missed = make_policy({"tasks": {"gsm8k": {"max": 0.1}}})
    assert judge_result_set(run, policy=missed, baseline=None, expected=["gsm8k"]).verdict is Verdict.FAIL


def test_score_that_is_not_the_mean_of_its_items_is_compared_by_its_error(tmp_path: Path) -> None:
    score = Score(metric="acc", value=0.431, stderr=0.01, n=200, higher_is_better=True)
    run = make_run(tmp_path / "a", BASELINE, scores=(score,))
    report = gate(run, run, max_drop=0.1)
    assert report.verdict is Verdict.PASS
    assert any("acc is not the mean of its items" in note for note in report.notes)


def test_percentage_score_is_compared_by_items_in_fractions(tmp_path: Path) -> None:
    def make(name: str, items: list[float]) -> ResultSet:
        score = Score(metric="acc", value=100 * sum(items) / 200, stderr=2.8, n=200, higher_is_better=True)
        return make_run(tmp_path / name, items, scores=(score,))

    report = gate(make("a", BASELINE), make("b", LOWER), max_drop=5)
    assert report.reasons == ("gsm8k: fell 20, more than the allowed 5",)
    assert report.tasks[0].comparison is not None
    assert report.tasks[0].comparison.n_paired == 200


def test_repeats_are_averaged_within_their_item(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    rate = random.beta(4, 1, 100)

    def make(root: Path) -> ResultSet:
        rows = [
            Sample(id=str(item), scores={"acc": float(random.random() < rate[item])}, repeat=repeat)
            for repeat in range(8)
            for item in range(100)
        ]
        write_samples(rows, root / "samples" / "gsm8k.jsonl.gz")
        mean = sum(row.scores["acc"] for row in rows) / len(rows)
        score = Score(metric="acc", value=mean, stderr=0.02, n=100, higher_is_better=True)
        result = make_task(scores=(score,), n_items=100, n_expected=100, samples="samples/gsm8k.jsonl.gz")
        return ResultSet.from_results(make_results(result), root, name=root.name)

    report = gate(make(tmp_path / "a"), make(tmp_path / "b"), max_drop=0.1)
    comparison = report.tasks[0].comparison
    assert comparison is not None
    assert comparison.n_paired == 100
    assert comparison.interval is not None
    assert comparison.interval.method == "skewness-adjusted t"
    assert report.verdict is Verdict.PASS


def test_clusters_widen_the_interval(tmp_path: Path) -> None:
    clusters = [f"passage {index // 20}" for index in range(200)]
    independent = gate(make_run(tmp_path / "a", BASELINE), make_run(tmp_path / "b", LOWER), max_drop=0.05)
    clustered = gate(
        make_run(tmp_path / "c", BASELINE, clusters=clusters),
        make_run(tmp_path / "d", LOWER, clusters=clusters),
        max_drop=0.05,
    )
    assert independent.verdict is Verdict.FAIL
    assert clustered.verdict is Verdict.INCONCLUSIVE
    comparison = clustered.tasks[0].comparison
    assert comparison is not None
    assert comparison.interval is not None
    assert comparison.interval.method == "t over 10 clusters"


def test_single_cluster_is_unmeasurable(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a", BASELINE, clusters=["one"] * 200)
    report = gate(run, run, max_drop=0.5)
    assert report.exit_code == 3
    assert "all items are in one cluster" in report.reasons[0]


def test_observed_range_is_used_and_reported_without_stated_bounds(tmp_path: Path) -> None:
    random = np.random.default_rng(7)
    before = random.normal(3.1, 1.0, 400)
    after = before + random.normal(0, 0.2, 400)
    baseline, candidate = make_run(tmp_path / "a", before.tolist()), make_run(tmp_path / "b", after.tolist())
    report = gate(baseline, candidate, max_drop=0.5)
    assert report.verdict is Verdict.PASS
    assert "the range of an item's score is unknown" in report.notes[0]
    assert gate(baseline, candidate, max_drop=0.5, bounds=[-10, 10]).notes == ()
    outside = gate(baseline, candidate, max_drop=0.5, bounds=[2, 5])
    assert outside.exit_code == 3
    assert "outside the stated bounds" in outside.reasons[0]


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"[]",
        b"7",
        b'{"id": "q", "scores": {}}',
        b'{"id": "q", "scores": {"acc": NaN}}',
        b'{"id": "q", "scores": {"acc": "N/A"}}',
        b'{"id": "q", "scores": {"acc": true}}',
        b'{"id": "q", "scores": {"acc": null}}',
        b'{"id": 7, "scores": {"acc": 1}}',
        b'{"id": "q", "scores": {"acc": 1}} {"id": "r", "scores": {"acc": 1}}',
        b'{"id": "0", "scores": {"acc": 1}}',
        b'{"id": "q", "scores": {"acc": 1}, "repeat": "1"}',
        b'{"id": "q", "scores": {"acc": 1}, "cluster": 1}',
        b"",
    ],
)
def test_malformed_sample_makes_the_task_unmeasurable(tmp_path: Path, line: bytes) -> None:
    baseline, candidate = make_run(tmp_path / "a", BASELINE), make_run(tmp_path / "b", BASELINE)
    path = tmp_path / "b" / "samples" / "gsm8k.jsonl.gz"
    lines = gzip.decompress(path.read_bytes()).splitlines()
    path.write_bytes(gzip.compress(b"\n".join([*lines[:-1], line, b""])))
    report = gate(baseline, candidate, max_drop=0.1)
    assert report.exit_code == 3, line
    expected = "has only" if line.endswith(b'"scores": {}}') else "cannot read samples"
    assert expected in report.reasons[0]


def test_truncated_and_missing_samples_make_the_task_unmeasurable(tmp_path: Path) -> None:
    baseline, candidate = make_run(tmp_path / "a", BASELINE), make_run(tmp_path / "b", BASELINE)
    path = tmp_path / "b" / "samples" / "gsm8k.jsonl.gz"
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    assert gate(baseline, candidate, max_drop=0.1).exit_code == 3
    path.unlink()
    assert gate(baseline, candidate, max_drop=0.1).exit_code == 3


def test_fewer_samples_than_items_make_the_task_unmeasurable(tmp_path: Path) -> None:
    baseline = make_run(tmp_path / "a", BASELINE)
    candidate = make_run(tmp_path / "b", BASELINE[:150], n_items=200, n_expected=200, scores=make_task().scores)
    report = gate(baseline, candidate, max_drop=0.1)
    assert report.exit_code == 3
    assert "only 150 of 200 items" in report.reasons[0]


def test_samples_outside_the_results_directory_are_not_read(tmp_path: Path) -> None:
    baseline = make_run(tmp_path / "a", BASELINE)
    candidate = make_run(tmp_path / "b", BASELINE, samples="../a/samples/gsm8k.jsonl.gz")
    report = gate(baseline, candidate, max_drop=0.1)
    assert report.exit_code == 3
    assert "outside" in report.reasons[0]


def test_incomplete_baseline_makes_the_task_unmeasurable(tmp_path: Path) -> None:
    candidate = make_run(tmp_path / "b", BASELINE)
    incomplete = [
        make_run(tmp_path / "a", BASELINE, outcome="failed"),
        make_run(tmp_path / "a", BASELINE, scores=()),
        make_run(tmp_path / "a", BASELINE, n_expected=500),
    ]
    for baseline in incomplete:
        report = gate(baseline, candidate, max_drop=0.1)
        assert report.exit_code == 3
        assert "in the baseline" in report.reasons[0]


def test_task_missing_from_the_baseline_is_unmeasurable(tmp_path: Path) -> None:
    other = make_run(tmp_path / "a", BASELINE, name="other")
    report = gate(other, make_run(tmp_path / "b", BASELINE), max_drop=0.1)
    assert report.exit_code == 3
    assert "the baseline has no result of this task" in report.reasons[0]


def test_baseline_of_the_same_model_is_used(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a", BASELINE)
    other = make_task(model="acme-70b", scores=(Score(metric="acc", value=0.1, n=200),))
    both = ResultSet.from_results(make_results(other, *run.results.tasks), tmp_path / "a", name="both")
    assert gate(both, run, max_drop=0.1).verdict is Verdict.PASS


def test_report_with_comparison_round_trips_through_json(tmp_path: Path) -> None:
    report = gate(make_run(tmp_path / "a", BASELINE), make_run(tmp_path / "b", LOWER), max_drop=0.05)
    assert GateReport.model_validate(json.loads(report.model_dump_json())) == report


def test_benchmark_that_differs_from_the_baseline_is_unmeasurable_unless_its_key_is_allowed(tmp_path: Path) -> None:
    before = {"version": "1", "evaluation.tasks.*.task_dir:score.py": "a", "env_vars.X": "lit:1"}
    after = {"version": "1", "evaluation.tasks.*.task_dir:score.py": "b", "env_vars.X": "lit:1"}
    baseline = make_run(tmp_path / "a", BASELINE, fingerprint=before)
    candidate = make_run(tmp_path / "b", BASELINE, fingerprint=after)
    report = gate(baseline, candidate, max_drop=0.1)
    assert report.verdict is Verdict.UNMEASURABLE
    assert "score.py (evaluation.tasks.*.task_dir)" in report.reasons[0]
    policy = make_policy({"tasks": {"gsm8k": {"max_drop": 0.1}}, "allow": ["evaluation.tasks.gsm8k.task_dir"]})
    assert judge_result_set(candidate, policy=policy, baseline=baseline, expected=["gsm8k"]).verdict is Verdict.PASS
    assert gate(candidate, candidate, max_drop=0.1).verdict is Verdict.PASS


@pytest.mark.parametrize(("before", "after", "differs"), [("1", "2", True), ("1", "1", False), (None, "1", False)])
def test_digests_of_images_are_compared_where_both_are_known(
    before: str | None, after: str, *, differs: bool, tmp_path: Path
) -> None:
    first, second = ({"version": "1"} | ({IMAGE_DIGEST: each} if each else {}) for each in (before, after))
    baseline = make_run(tmp_path / "a", BASELINE, fingerprint=first)
    report = gate(baseline, make_run(tmp_path / "b", BASELINE, fingerprint=second), max_drop=0.1)
    assert (report.verdict is Verdict.UNMEASURABLE) is differs


@pytest.mark.parametrize("fingerprint", [None, {"version": "0", "env_vars.X": "lit:2"}])
def test_baseline_without_comparable_fingerprint_is_compared_by_other_fields(
    fingerprint: dict[str, str] | None, tmp_path: Path
) -> None:
    baseline = make_run(tmp_path / "a", BASELINE, fingerprint=fingerprint)
    candidate = make_run(tmp_path / "b", BASELINE, fingerprint={"version": "1", "env_vars.X": "lit:1"})
    report = gate(baseline, candidate, max_drop=0.1)
    assert report.verdict is Verdict.PASS
    assert any("no fingerprint of the benchmark" in note for note in report.notes)


@pytest.mark.parametrize("task", ["", "gsm8k"])
@pytest.mark.parametrize("limits", [{"min": 0.1}, {"min": 0.95}, {"max_drop": 0.1}, {"min": 0.95, "tier": "critical"}])
def test_blocked_task_is_unmeasurable_floors_included(task: str, limits: dict[str, object], tmp_path: Path) -> None:
    run = make_run(tmp_path / "a", BASELINE)
    policy = make_policy({"tasks": {"gsm8k": limits}})
    report = judge_result_set(
        run, policy=policy, baseline=run, expected=["gsm8k"], blocked=[(task, "this change edits the benchmark")]
    )
    assert (report.verdict, report.exit_code) == (Verdict.UNMEASURABLE, 3)
    assert "this change edits the benchmark" in report.reasons[0]
    other = judge_result_set(run, policy=policy, baseline=run, expected=["gsm8k"], blocked=[("other", "x")])
    assert other.verdict is not Verdict.UNMEASURABLE
