"""The items behind a score: contradictions, missing values, and the scale of a metric."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.support.gate_results import make_policy, make_results, make_run, make_task

from nel_action.gating.judge import judge_result_set
from nel_action.gating.result_set import ResultSet
from nel_action.gating.verdict import GateReport, Verdict
from nel_action.model.results import Sample, Score, write_samples

RIGHT_AND_WRONG = [1.0] * 170 + [0.0] * 30


def scored(root: Path, items: Sequence[float], value: float, **fields: object) -> ResultSet:
    """Return a run with a score that need not be the mean of its items."""
    score = Score(metric="acc", value=value, stderr=0.02, n=len(items), higher_is_better=True)
    return make_run(root, items, scores=(score.model_copy(update=fields),))


def gate(candidate: ResultSet, baseline: ResultSet | None = None, **limits: object) -> GateReport:
    policy = make_policy({"tasks": {"gsm8k": limits}})
    return judge_result_set(candidate, policy=policy, baseline=baseline, expected=["gsm8k"])


def test_score_that_contradicts_right_and_wrong_items_is_unmeasurable(tmp_path: Path) -> None:
    report = gate(scored(tmp_path, [0.0] * 2000, 0.85), min=0.5)
    assert report.exit_code == 3
    assert "acc is 0.85, but 0 over its 2,000 items" in report.reasons[0]


def test_score_that_the_harness_defines_as_the_mean_and_that_is_not_is_unmeasurable(tmp_path: Path) -> None:
    report = gate(scored(tmp_path, RIGHT_AND_WRONG, 0.6, mean_of_items=True), min=0.3)
    assert report.exit_code == 3
    assert "files belong to different runs" in report.reasons[0]


@pytest.mark.parametrize("contradicting", ["this run", "the baseline"])
@pytest.mark.parametrize("floor", [None, 0.1])
def test_score_that_is_the_mean_of_its_items_on_one_side_only_is_unmeasurable(
    tmp_path: Path, contradicting: str, floor: float | None
) -> None:
    mean, other = make_run(tmp_path / "a", RIGHT_AND_WRONG), scored(tmp_path / "b", RIGHT_AND_WRONG, 0.6)
    sides = (other, mean) if contradicting == "this run" else (mean, other)
    report = gate(*sides, max_drop=0.5, min=floor)
    assert report.exit_code == 3
    assert f"acc of {contradicting} is not the mean of its items" in " ".join(report.tasks[0].reasons)


def test_judged_score_that_contradicts_its_items_is_unmeasurable_with_a_floor_alone(tmp_path: Path) -> None:
    mean, other = make_run(tmp_path / "a", RIGHT_AND_WRONG), scored(tmp_path / "b", RIGHT_AND_WRONG, 0.6)
    assert gate(other, mean, min=0.1).exit_code == 3
    assert gate(mean, other, min=0.1).exit_code == 0


def test_score_that_is_another_statistic_of_its_items_is_judged_by_its_standard_error(tmp_path: Path) -> None:
    one = scored(tmp_path / "a", RIGHT_AND_WRONG, 0.6, mean_of_items=False)
    report = gate(one, scored(tmp_path / "b", RIGHT_AND_WRONG, 0.6, mean_of_items=False), max_drop=0.2)
    assert report.verdict is Verdict.PASS
    assert "acc is not the mean of its items; its standard error is used instead" in " ".join(report.notes)


def nanmean_run(root: Path, values: Sequence[float | None]) -> ResultSet:
    """Return a run whose score excludes the items without a value."""
    write_samples(
        (Sample(id=str(i), scores={} if v is None else {"acc": v}) for i, v in enumerate(values)), root / "s.gz"
    )
    measured = [value for value in values if value is not None]
    score = Score(
        metric="acc",
        value=sum(measured) / len(measured),
        n=len(measured),
        excluded=len(values) - len(measured),
        higher_is_better=True,
    )
    result = make_task(scores=(score,), n_items=len(values), n_expected=len(values), samples="s.gz")
    return ResultSet.from_results(make_results(result), root, name="run")


def test_items_without_a_value_are_no_measurements(tmp_path: Path) -> None:
    run = nanmean_run(tmp_path, [1.0, 1.0, *[None] * 98])
    assert gate(run, min=0.3, min_items=50).exit_code == 3
    report = gate(run, min=0.3)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert report.tasks[0].n == 2
    assert "gsm8k: acc excludes 98 of 100 items that have no value of it" in report.notes


def test_items_without_a_value_in_one_run_only_are_unmeasurable(tmp_path: Path) -> None:
    baseline = nanmean_run(tmp_path / "a", [1.0] * 60 + [0.0] * 40)
    candidate = nanmean_run(tmp_path / "b", [1.0] * 60 + [None] * 40)
    report = gate(candidate, baseline, max_drop=0.1)
    assert report.exit_code == 3
    assert "40 items of the other run are missing from this run" in " ".join(report.tasks[0].reasons)


def test_score_of_a_part_of_the_items_is_unmeasurable_unless_the_rest_is_excluded(tmp_path: Path) -> None:
    score = Score(metric="acc", value=0.8, stderr=0.01, n=150, higher_is_better=True)
    partial = make_results(make_task(scores=(score,)))
    report = gate(ResultSet.from_results(partial, tmp_path, name="run"), min=0.5)
    assert "computed from only 150 of 200 items" in report.reasons[0]


def verdict_facts(report: GateReport, scale: float) -> tuple[object, ...]:
    task = report.tasks[0]
    assert task.interval is not None
    compared = task.comparison
    assert compared is not None
    assert compared.interval is not None
    ends = (task.interval.low, task.interval.high, compared.interval.low, compared.interval.high)
    return (task.verdict, *(round(end / scale, 9) for end in ends))


@pytest.mark.parametrize("items_scale", [1.0, 100.0])
def test_percentages_and_proportions_of_the_same_items_have_the_same_verdict(
    tmp_path: Path, items_scale: float
) -> None:
    before, after = [1.0] * 55 + [0.0] * 5, [1.0] * 52 + [0.0] * 8
    baseline, candidate = make_run(tmp_path / "a", before), make_run(tmp_path / "b", after)
    expected = verdict_facts(gate(candidate, baseline, max_drop=0.15, min=0.6), 1)
    in_percent = [
        scored(tmp_path / name, [value * items_scale for value in items], 100 * sum(items) / 60)
        for name, items in (("c", after), ("d", before))
    ]
    assert verdict_facts(gate(*in_percent, max_drop=15, min=60), 100) == expected


@pytest.mark.parametrize("items_scale", [1.0, 100.0])
def test_percentage_that_falls_to_zero_fails(tmp_path: Path, items_scale: float) -> None:
    baseline = scored(tmp_path / "a", [items_scale * value for value in RIGHT_AND_WRONG], 85.0)
    report = gate(scored(tmp_path / "b", [0.0] * 200, 0.0), baseline, max_drop=5, min=10)
    assert report.exit_code == 1
    assert set(report.tasks[0].failed) == {"min", "max_drop"}


def test_percentage_in_one_run_and_proportion_in_the_other_are_unmeasurable(tmp_path: Path) -> None:
    baseline = scored(tmp_path / "a", RIGHT_AND_WRONG, 85.0)
    report = gate(make_run(tmp_path / "b", RIGHT_AND_WRONG), baseline, max_drop=5)
    assert report.exit_code == 3
    assert "percentage in one run and a fraction in the other" in " ".join(report.tasks[0].reasons)


def test_graded_scores_are_compared_although_one_run_has_only_the_ends_of_their_range(tmp_path: Path) -> None:
    baseline = make_run(tmp_path / "a", [100.0] * 150 + [0.0] * 50)
    report = gate(make_run(tmp_path / "b", [90.0] * 150 + [10.0] * 50), baseline, max_drop=30)
    compared = report.tasks[0].comparison
    assert compared is not None
    assert compared.difference == pytest.approx(-5.0)
    assert compared.n_worse == 150


def test_different_primary_metrics_of_the_two_runs_are_unmeasurable(tmp_path: Path) -> None:
    both = (Score(metric="acc", value=0.85, n=200), Score(metric="f1", value=0.9, stderr=0.01, n=200))
    baseline = make_run(tmp_path / "a", RIGHT_AND_WRONG, scores=both, primary_metric="acc")
    candidate = make_run(tmp_path / "b", RIGHT_AND_WRONG, scores=both[1:], primary_metric="f1")
    report = gate(candidate, baseline, min=0.5)
    assert report.exit_code == 3
    assert "the primary metric is acc in the baseline and f1 now; set metric" in report.reasons[0]
    assert gate(candidate, baseline, min=0.5, metric="f1").exit_code == 0
