from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from tests.support.gate_results import results, rule, saved, task

from nel_action.gating.judge import judge_runs
from nel_action.gating.result_set import ResultSet
from nel_action.gating.verdict import GateReport, Verdict
from nel_action.model.results import Sample, Score, write_samples

MOSTLY = [1.0] * 160 + [0.0] * 40
WORSE = [0.0] * 40 + [1.0] * 120 + [0.0] * 40


def gate(baseline: ResultSet, candidate: ResultSet, **rules: object) -> GateReport:
    return judge_runs(candidate, policy=rule({"tasks": {"gsm8k": rules}}), baseline=baseline, expected=["gsm8k"])


def bare(value: float = 0.8, stderr: float | None = 0.02835, n: int | None = 200, **changes: object) -> ResultSet:
    score = Score(metric="acc", value=value, stderr=stderr, n=n, higher_is_better=True)
    return ResultSet.from_results(
        results(task(scores=(score,), n_items=n, n_expected=n, **changes)), Path(), name="bare"
    )


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("harness", "inspect", "the harness differs"),
        ("harness_version", "0.4.9", "the harness's version differs"),
        ("task_version", "2", "the task's version differs"),
        ("task_hash", "abc", "the prompt or task differs"),
        ("n_shot", 5, "examples in the prompt"),
        ("chat_template", "abc", "the chat template differs"),
        ("params", {"limit_samples": 200}, "limit_samples differs: 200 in the baseline, none now"),
    ],
)
def test_what_differs_is_named_and_refused_unless_it_is_allowed(
    tmp_path: Path, field: str, value: object, said: str
) -> None:
    name = "limit" if field == "params" else field
    baseline = saved(tmp_path / "a", MOSTLY, **{field: value})  # type: ignore[arg-type]
    candidate = saved(tmp_path / "b", MOSTLY)
    report = gate(baseline, candidate, max_drop=0.1)
    assert (report.verdict, report.exit_code) == (Verdict.UNMEASURABLE, 3)
    assert said in report.reasons[0]
    assert f"`allow: [{name}]`" in report.reasons[0]
    allowed = gate(baseline, candidate, max_drop=0.1, allow=[name])
    assert allowed.verdict is Verdict.PASS
    assert said in allowed.notes[0]


def test_a_floor_that_fails_is_a_failure_though_the_baseline_differs(tmp_path: Path) -> None:
    baseline, candidate = saved(tmp_path / "a", MOSTLY, n_shot=5), saved(tmp_path / "b", MOSTLY)
    assert gate(baseline, candidate, max_drop=0.1, min=0.95).exit_code == 1


def test_items_that_are_not_on_both_sides_are_refused_unless_allowed(tmp_path: Path) -> None:
    names = {f"q{place}": value for place, value in enumerate(MOSTLY)}
    others = {("other" if name == "q0" else name): value for name, value in names.items()}
    baseline, candidate = saved(tmp_path / "a", names), saved(tmp_path / "b", others)
    report = gate(baseline, candidate, max_drop=0.1)
    assert report.exit_code == 3
    assert "1 items are missing from this run" in report.reasons[0]
    compared = gate(baseline, candidate, max_drop=0.1, allow=["items"]).tasks[0].comparison
    assert compared is not None
    assert compared.n_paired == 199


def test_items_without_a_common_id_do_not_pair(tmp_path: Path) -> None:
    candidate = saved(tmp_path / "b", {f"x{place}": value for place, value in enumerate(MOSTLY)})
    report = gate(saved(tmp_path / "a", MOSTLY), candidate, max_drop=0.1)
    assert report.exit_code == 3
    assert "their ids do not match" in report.reasons[0]


def test_order_does_not_matter(tmp_path: Path) -> None:
    names = {str(place): value for place, value in enumerate(MOSTLY)}
    turned = saved(tmp_path / "b", dict(reversed(names.items())))
    report = gate(saved(tmp_path / "a", names), turned, max_drop=0.1)
    assert report.verdict is Verdict.PASS
    assert report.tasks[0].comparison is not None
    assert report.tasks[0].comparison.n_worse == 0


def with_inputs(root: Path, texts: list[str]) -> ResultSet:
    path = root / "samples" / "gsm8k.jsonl.gz"
    values = zip(texts, MOSTLY, strict=True)
    write_samples((Sample(id=str(i), scores={"acc": v}, input=t) for i, (t, v) in enumerate(values)), path)
    return ResultSet.from_results(results(task(samples="samples/gsm8k.jsonl.gz")), root, name=root.name)


def test_items_that_were_asked_otherwise_are_refused_unless_allowed(tmp_path: Path) -> None:
    texts = [f"What is {place} + 1?" for place in range(200)]
    baseline = with_inputs(tmp_path / "a", texts)
    candidate = with_inputs(tmp_path / "b", ["What is 2 + 1?", *texts[1:]])
    report = gate(baseline, candidate, max_drop=0.1)
    assert report.exit_code == 3
    assert "1 items were asked otherwise" in report.reasons[0]
    assert gate(baseline, candidate, max_drop=0.1, allow=["inputs"]).verdict is Verdict.PASS


def test_a_failure_names_the_items_that_flipped(tmp_path: Path) -> None:
    report = gate(saved(tmp_path / "a", MOSTLY), saved(tmp_path / "b", WORSE), max_drop=0.05)
    assert report.exit_code == 1
    assert report.reasons == ("gsm8k: fell 20 pp, more than the 5 pp allowed",)
    compared = report.tasks[0].comparison
    assert compared is not None
    assert [flip.id for flip in compared.worse] == [str(place) for place in range(40)]
    assert compared.n_better == 0


def test_less_can_be_better(tmp_path: Path) -> None:
    rules: dict[str, object] = {"max_drop": 0.05, "direction": "lower_is_better"}
    better = gate(saved(tmp_path / "a", MOSTLY), saved(tmp_path / "b", WORSE), **rules)
    assert better.verdict is Verdict.PASS
    assert better.tasks[0].reasons[0].startswith("improved by 20 pp")
    compared = better.tasks[0].comparison
    assert compared is not None
    assert compared.interval is not None
    assert compared.interval.low < compared.difference < compared.interval.high < 0
    assert (compared.n_worse, compared.n_better) == (0, 40)
    assert gate(saved(tmp_path / "b", WORSE), saved(tmp_path / "a", MOSTLY), **rules).exit_code == 1


def test_an_unknown_direction_is_unmeasurable() -> None:
    score = Score(metric="acc", value=0.8, stderr=0.02835, n=200)
    run = ResultSet.from_results(results(task(scores=(score,))), Path(), name="x")
    report = gate(run, run, max_drop=0.1)
    assert report.exit_code == 3
    assert "set direction" in report.reasons[0]


def test_a_gain_can_be_asked_for(tmp_path: Path) -> None:
    low, high = saved(tmp_path / "a", WORSE), saved(tmp_path / "b", MOSTLY)
    assert gate(low, high, min_gain=0.1).verdict is Verdict.PASS
    assert gate(high, low, min_gain=0.1).verdict is Verdict.FAIL
    assert gate(low, high, min_gain=0.2).verdict is Verdict.INCONCLUSIVE
    assert gate(high, high, min_gain=0.1).tasks[0].reasons[0].startswith("did not move, less than the gain of 10 pp")


def test_a_relative_limit_keeps_the_baselines_noise(tmp_path: Path) -> None:
    low, high = saved(tmp_path / "a", WORSE), saved(tmp_path / "b", MOSTLY)
    assert gate(high, low, max_relative_drop=0.1).verdict is Verdict.FAIL
    assert gate(high, low, max_relative_drop=0.4).verdict is Verdict.PASS
    report = gate(high, low, max_relative_drop=0.25)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert report.tasks[0].reasons[0].startswith("lost 25.0% of the baseline (a loss between ")


def test_nothing_can_be_lost_of_nothing(tmp_path: Path) -> None:
    zero = saved(tmp_path / "a", [0.0] * 50)
    report = gate(zero, zero, max_relative_drop=0.1)
    assert report.exit_code == 3
    assert "of which no share can be lost" in report.reasons[0]


def test_scores_without_items_are_compared_and_say_that_they_find_less() -> None:
    report = gate(bare(), bare(0.6, 0.0347), max_drop=0.05)
    assert report.exit_code == 1
    assert "two scores alone find less" in report.notes[0]
    assert gate(bare(), bare(0.79, 0.0289), max_drop=0.05).verdict is Verdict.INCONCLUSIVE
    assert gate(bare(), bare(), max_drop=0.15).verdict is Verdict.PASS
    assert gate(bare(31.2, 0.4, 500), bare(28.1, 0.4, 500), max_drop=1).exit_code == 1
    assert gate(bare(31.2, 0.4, 500), bare(28.1, 0.4, 500), max_relative_drop=0.2).verdict is Verdict.PASS


def test_scores_without_items_or_errors_cannot_be_compared() -> None:
    report = gate(bare(31.2, None, None), bare(28.1, 0.4, 500), max_drop=1, allow=["items"])
    assert report.exit_code == 3
    assert "of the baseline has no standard error" in report.reasons[0]


def test_a_score_that_is_no_mean_of_its_items_is_compared_by_its_error(tmp_path: Path) -> None:
    score = Score(metric="acc", value=0.431, stderr=0.01, n=200, higher_is_better=True)
    run = saved(tmp_path / "a", MOSTLY, scores=(score,))
    report = gate(run, run, max_drop=0.1)
    assert report.verdict is Verdict.PASS
    assert any("no mean of its items" in note for note in report.notes)


def test_percentages_of_items_in_shares_pair_too(tmp_path: Path) -> None:
    def run(name: str, items: list[float]) -> ResultSet:
        score = Score(metric="acc", value=100 * sum(items) / 200, stderr=2.8, n=200, higher_is_better=True)
        return saved(tmp_path / name, items, scores=(score,))

    report = gate(run("a", MOSTLY), run("b", WORSE), max_drop=5)
    assert report.reasons == ("gsm8k: fell 20, more than the 5 allowed",)
    assert report.tasks[0].comparison is not None
    assert report.tasks[0].comparison.n_paired == 200


def test_repeats_are_averaged_within_their_item(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    rate = random.beta(4, 1, 100)

    def run(root: Path) -> ResultSet:
        rows = [
            Sample(id=str(item), scores={"acc": float(random.random() < rate[item])}, repeat=repeat)
            for repeat in range(8)
            for item in range(100)
        ]
        write_samples(rows, root / "samples" / "gsm8k.jsonl.gz")
        mean = sum(row.scores["acc"] for row in rows) / len(rows)
        score = Score(metric="acc", value=mean, stderr=0.02, n=100, higher_is_better=True)
        whole = task(scores=(score,), n_items=100, n_expected=100, samples="samples/gsm8k.jsonl.gz")
        return ResultSet.from_results(results(whole), root, name=root.name)

    report = gate(run(tmp_path / "a"), run(tmp_path / "b"), max_drop=0.1)
    compared = report.tasks[0].comparison
    assert compared is not None
    assert compared.n_paired == 100
    assert compared.interval is not None
    assert compared.interval.method == "skewness-adjusted t"
    assert report.verdict is Verdict.PASS


def test_clusters_widen_the_interval(tmp_path: Path) -> None:
    clusters = [f"passage {place // 20}" for place in range(200)]
    alone = gate(saved(tmp_path / "a", MOSTLY), saved(tmp_path / "b", WORSE), max_drop=0.05)
    together = gate(
        saved(tmp_path / "c", MOSTLY, clusters=clusters), saved(tmp_path / "d", WORSE, clusters=clusters), max_drop=0.05
    )
    assert alone.verdict is Verdict.FAIL
    assert together.verdict is Verdict.INCONCLUSIVE
    compared = together.tasks[0].comparison
    assert compared is not None
    assert compared.interval is not None
    assert compared.interval.method == "t over 10 clusters"


def test_one_cluster_shows_nothing(tmp_path: Path) -> None:
    run = saved(tmp_path / "a", MOSTLY, clusters=["one"] * 200)
    report = gate(run, run, max_drop=0.5)
    assert report.exit_code == 3
    assert "all items lie in one cluster" in report.reasons[0]


def test_unknown_bounds_are_those_seen_and_said(tmp_path: Path) -> None:
    random = np.random.default_rng(7)
    before = random.normal(3.1, 1.0, 400)
    after = before + random.normal(0, 0.2, 400)
    baseline, candidate = saved(tmp_path / "a", before.tolist()), saved(tmp_path / "b", after.tolist())
    report = gate(baseline, candidate, max_drop=0.5)
    assert report.verdict is Verdict.PASS
    assert "no bounds are known" in report.notes[0]
    assert gate(baseline, candidate, max_drop=0.5, bounds=[-10, 10]).notes == ()
    outside = gate(baseline, candidate, max_drop=0.5, bounds=[2, 5])
    assert outside.exit_code == 3
    assert "outside the policy's bounds" in outside.reasons[0]


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
def test_a_line_that_is_no_sample_makes_the_task_unmeasurable(tmp_path: Path, line: bytes) -> None:
    baseline, candidate = saved(tmp_path / "a", MOSTLY), saved(tmp_path / "b", MOSTLY)
    path = tmp_path / "b" / "samples" / "gsm8k.jsonl.gz"
    lines = gzip.decompress(path.read_bytes()).splitlines()
    path.write_bytes(gzip.compress(b"\n".join([*lines[:-1], line, b""])))
    report = gate(baseline, candidate, max_drop=0.1)
    assert report.exit_code == 3, line
    assert "cannot read samples" in report.reasons[0]


def test_samples_that_are_cut_off_make_the_task_unmeasurable(tmp_path: Path) -> None:
    baseline, candidate = saved(tmp_path / "a", MOSTLY), saved(tmp_path / "b", MOSTLY)
    path = tmp_path / "b" / "samples" / "gsm8k.jsonl.gz"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert gate(baseline, candidate, max_drop=0.1).exit_code == 3
    path.unlink()
    assert gate(baseline, candidate, max_drop=0.1).exit_code == 3


def test_fewer_samples_than_items_make_the_task_unmeasurable(tmp_path: Path) -> None:
    baseline = saved(tmp_path / "a", MOSTLY)
    candidate = saved(tmp_path / "b", MOSTLY[:150], n_items=200, n_expected=200, scores=task().scores)
    report = gate(baseline, candidate, max_drop=0.1)
    assert report.exit_code == 3
    assert "only 150 of 200 items" in report.reasons[0]


def test_samples_are_read_from_beside_the_results_only(tmp_path: Path) -> None:
    baseline = saved(tmp_path / "a", MOSTLY)
    candidate = saved(tmp_path / "b", MOSTLY, samples="../a/samples/gsm8k.jsonl.gz")
    report = gate(baseline, candidate, max_drop=0.1)
    assert report.exit_code == 3
    assert "outside" in report.reasons[0]


def test_a_baseline_that_is_not_whole_is_no_baseline(tmp_path: Path) -> None:
    candidate = saved(tmp_path / "b", MOSTLY)
    broken = [
        saved(tmp_path / "a", MOSTLY, outcome="failed"),
        saved(tmp_path / "a", MOSTLY, scores=()),
        saved(tmp_path / "a", MOSTLY, n_expected=500),
    ]
    for baseline in broken:
        report = gate(baseline, candidate, max_drop=0.1)
        assert report.exit_code == 3
        assert "in the baseline" in report.reasons[0]


def test_a_task_that_the_baseline_lacks_is_unmeasurable(tmp_path: Path) -> None:
    report = gate(saved(tmp_path / "a", MOSTLY, name="other"), saved(tmp_path / "b", MOSTLY), max_drop=0.1)
    assert report.exit_code == 3
    assert "the baseline has no result of this task" in report.reasons[0]


def test_the_baseline_of_the_same_model_is_taken_where_there_are_several(tmp_path: Path) -> None:
    ours = saved(tmp_path / "a", MOSTLY)
    other = task(model="acme-70b", scores=(Score(metric="acc", value=0.1, n=200),))
    both = ResultSet.from_results(results(other, *ours.results.tasks), tmp_path / "a", name="both")
    assert gate(both, ours, max_drop=0.1).verdict is Verdict.PASS


def test_the_report_can_be_written_and_read(tmp_path: Path) -> None:
    report = gate(saved(tmp_path / "a", MOSTLY), saved(tmp_path / "b", WORSE), max_drop=0.05)
    assert GateReport.model_validate(json.loads(report.model_dump_json())) == report
