"""Result files that people have, recorded from the programs themselves, in `nel-action gate`."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nel_action.formats import lm_eval
from nel_action.gating.external import open_run
from nel_action.gating.judge import judge_result_set
from nel_action.gating.verdict import GateReport, TaskVerdict, Verdict
from nel_action.model.results import TaskResult
from nel_action.spec.policy import GatePolicy

RECORDED = Path(__file__).parent / "recorded"


def gate(*runs: Path, **policy: object) -> GateReport:
    """Judge files as `nel-action gate` does."""
    sets = [open_run(path) for path in runs]
    expected = list(dict.fromkeys(result.task for run in sets for result in run.results.tasks))
    rules = GatePolicy.model_validate(policy, strict=False)
    return judge_result_set(sets[-1], policy=rules, baseline=sets[0] if len(sets) > 1 else None, expected=expected)


def results(path: Path, *tasks: str) -> dict[str, TaskResult]:
    return {result.task: result for result in open_run(path).with_tasks(tasks).results.tasks}


def verdict(report: GateReport, task: str) -> TaskVerdict:
    return next(each for each in report.tasks if each.task == task)


def edited(source: Path, target: Path, edit: Callable[[dict[str, Any]], object]) -> Path:
    """Copy a run of lm-eval, or a log of inspect, with another content."""
    if source.is_file():
        file = target.with_suffix(".json")
        shutil.copy(source, file)
    else:
        shutil.copytree(source, target)
        file = next(target.glob("results_*.json"))
    data = json.loads(file.read_text())
    edit(data)
    file.write_text(json.dumps(data))
    return file if source.is_file() else target


def test_lm_eval_results_without_samples_are_judged_by_their_standard_errors() -> None:
    run = RECORDED / "lm_eval_without_samples"
    report = gate(run, run, defaults={"max_drop": 0.2})
    task = verdict(report, "t_mc")
    assert (task.verdict, task.n, task.score) == (Verdict.PASS, 60, 0.3)
    assert task.stderr == pytest.approx(0.05966, abs=1e-5)
    assert task.comparison is not None
    assert task.comparison.n_paired is None


@pytest.mark.parametrize("name", ["results.json", "mmlu.json"])
def test_lm_eval_results_of_any_name_are_detected_by_content(tmp_path: Path, name: str) -> None:
    shutil.copy(next((RECORDED / "lm_eval_without_samples").glob("*.json")), tmp_path / name)
    assert set(results(tmp_path)) == {"t_mc"}
    assert results(tmp_path / name)["t_mc"].harness == "lm_eval"


def test_lm_eval_results_of_a_version_without_filters_are_read(tmp_path: Path) -> None:
    table = {"acc": 0.5, "acc_stderr": 0.05, "acc_norm": 0.6, "acc_norm_stderr": 0.05}
    content = {"results": {"arc": table}, "versions": {"arc": 0}, "config": {"model": "hf", "limit": None}}
    (tmp_path / "results.json").write_text(json.dumps(content))
    result = results(tmp_path)["arc"]
    assert [(score.metric, score.value, score.stderr) for score in result.scores] == [
        ("acc", 0.5, 0.05),
        ("acc_norm", 0.6, 0.05),
    ]


def test_tasks_of_an_lm_eval_group_without_score_are_judged_and_the_group_is_not() -> None:
    run = RECORDED / "lm_eval_group_without_score"
    report = gate(run, run, defaults={"max_drop": 0.3})
    assert {task.task: task.n for task in report.tasks} == {"t_gen": 50, "t_grp": 80}


def test_tasks_of_a_scored_lm_eval_group_are_judged_if_they_are_named() -> None:
    run = RECORDED / "lm_eval_group"
    assert set(results(run)) == {"t_gen", "t_ppl", "t_grp"}
    named = results(run, "t_mc")
    assert (named["t_mc"].n_items, named["t_grp"].n_items) == (60, 80)


def test_lm_eval_group_whose_score_contradicts_its_samples_is_unmeasurable(tmp_path: Path) -> None:
    run = RECORDED / "lm_eval_group"
    other = edited(run, tmp_path / "b", lambda data: data["results"]["t_grp"].update({"acc,none": 0.6}))
    report = gate(other, defaults={"min": 0.1})
    assert "acc,none is 0.6, but 0.2875 over its 80 items" in verdict(report, "t_grp").reasons[0]


def test_lm_eval_group_with_a_task_that_contradicts_its_samples_is_unmeasurable(tmp_path: Path) -> None:
    run = RECORDED / "lm_eval_group"
    other = edited(run, tmp_path / "b", lambda data: data["results"]["t_mc"].update({"acc,none": 0.9}))
    report = gate(other, defaults={"min": 0.1})
    assert "acc,none of t_mc is 0.9 in the results, but 0.3" in verdict(report, "t_grp").reasons[0]


def test_lm_eval_group_that_weights_its_tasks_equally_is_judged_by_its_standard_error(tmp_path: Path) -> None:
    run = RECORDED / "lm_eval_group"
    macro = edited(run, tmp_path / "b", lambda data: data["results"]["t_grp"].update({"acc,none": 0.275}))
    task = verdict(gate(macro, macro, defaults={"max_drop": 0.3}), "t_grp")
    assert (task.verdict, task.score) == (Verdict.PASS, 0.275)


def test_primary_metric_of_lm_eval_that_is_nan_is_not_replaced(tmp_path: Path) -> None:
    run = RECORDED / "lm_eval_group"
    nan = edited(
        run, tmp_path / "b", lambda data: data["results"]["t_gen"].update({"exact_match,strict": float("nan")})
    )
    for sides in ((run, nan), (nan, run), (nan,)):
        task = verdict(gate(*sides, defaults={"max_drop": 0.3, "min": 0.1}), "t_gen")
        assert task.verdict is Verdict.UNMEASURABLE
        assert "exact_match,strict has no finite value" in task.reasons[0]


def test_metric_of_lm_eval_that_is_missing_on_one_side_is_not_replaced(tmp_path: Path) -> None:
    run = RECORDED / "lm_eval_group"
    without = edited(run, tmp_path / "b", lambda data: data["results"]["t_gen"].pop("exact_match,strict"))
    task = verdict(gate(run, without, defaults={"max_drop": 0.3}), "t_gen")
    assert "the primary metric is exact_match,strict in the baseline and bleu,strict now" in task.reasons[0]


def test_perplexity_of_lm_eval_is_paired_by_its_linearised_items(tmp_path: Path) -> None:
    run = RECORDED / "lm_eval_group"
    report = gate(run, run, defaults={"max_drop": 2.0})
    task = verdict(report, "t_ppl")
    assert task.higher_is_better is False
    assert task.comparison is not None
    assert (task.comparison.n_paired, task.comparison.difference) == (30, 0)
    worse = tmp_path / "b"
    shutil.copytree(run, worse)
    samples = next(worse.glob("samples_t_ppl*"))
    lines = [json.loads(line) for line in samples.read_text().splitlines()]
    for line in lines:
        for metric in line["metrics"]:
            line[metric][0] *= 1.05
    samples.write_text("".join(json.dumps(line) + "\n" for line in lines))
    contradicting = verdict(gate(run, worse, defaults={"max_drop": 2.0}), "t_ppl")
    assert "word_perplexity,none is 26.1096, but" in contradicting.reasons[0]
    value = 26.109624227939157**1.05
    data = json.loads(next(worse.glob("results_*")).read_text())
    data["results"]["t_ppl"]["word_perplexity,none"] = value
    next(worse.glob("results_*")).write_text(json.dumps(data))
    failed = verdict(gate(run, worse, defaults={"max_drop": 1.0}), "t_ppl")
    assert failed.verdict is Verdict.FAIL
    assert failed.comparison is not None
    assert failed.comparison.difference == pytest.approx(value - 26.109624227939157)


def test_stderr_of_linearised_perplexity_is_that_of_the_jackknife() -> None:
    file = next((RECORDED / "lm_eval_group").glob("results_*"))
    (task,) = (result.task for result in lm_eval.detect(file) if result.task.name == "t_ppl")
    columns = lm_eval.read(file, task).columns
    assert columns is not None
    values = columns.values["word_perplexity,none"]
    n, mean = len(values), sum(values) / len(values)
    linear = (sum((value - mean) ** 2 for value in values) / (n * (n - 1))) ** 0.5
    lines = [json.loads(line) for line in next(file.parent.glob("samples_t_ppl*")).read_text().splitlines()]
    pairs = [line["word_perplexity"] for line in lines]
    total, words = sum(pair[0] for pair in pairs), sum(pair[1] for pair in pairs)
    left_out = [math.exp(-(total - ll) / (words - size)) for ll, size in pairs]
    center = sum(left_out) / n
    jackknife = ((n - 1) / n * sum((value - center) ** 2 for value in left_out)) ** 0.5
    assert linear == pytest.approx(jackknife, rel=0.02)


def test_items_without_a_value_of_an_lm_eval_nanmean_are_no_measurements() -> None:
    run = RECORDED / "lm_eval_nanmean"
    few = gate(run, defaults={"min": 0.3, "min_items": 50})
    assert "only 2 items were evaluated; min_items is 50" in few.reasons[0]
    task = verdict(gate(run, defaults={"min": 0.3}), "t")
    assert (task.verdict, task.n) == (Verdict.INCONCLUSIVE, 2)


def test_pointer_of_git_lfs_is_named_with_its_fix(tmp_path: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    run = tmp_path / "run"
    shutil.copytree(RECORDED / "lm_eval_group", run)
    next(run.glob("samples_t_gen*")).write_text(pointer)
    detail = results(run)["t_gen"].detail or ""
    assert "is a pointer of Git LFS" in detail
    assert "git lfs pull" in detail


def test_groups_of_inspect_have_their_own_items_and_are_not_the_score_of_the_task() -> None:
    log = RECORDED / "inspect_grouped_n.json"
    result = results(log)["groups"]
    assert result.primary_metric == "grp.all"
    assert {score.metric: score.n for score in result.scores} == {"grp.b": 14, "grp.a": 26, "grp.all": 40}
    task = verdict(gate(log, log, defaults={"metric": "grp.b", "max_drop": 0.5}), "groups")
    assert task.n == 14
    assert task.comparison is not None
    assert task.comparison.n_paired == 14
    assert verdict(gate(log, defaults={"metric": "grp.b", "min_items": 20}), "groups").verdict is Verdict.UNMEASURABLE


def test_groups_of_inspect_without_a_total_need_a_metric(tmp_path: Path) -> None:
    def drop(log: dict[str, Any]) -> None:
        del log["results"]["scores"][0]["metrics"]["all"]

    log = edited(RECORDED / "inspect_grouped_n.json", tmp_path / "log", drop)
    task = verdict(gate(log, defaults={"min": 0.1}), "groups")
    assert "the primary metric is unknown; set metric to one of grp.b, grp.a" in task.reasons[0]


def test_reducers_of_inspect_are_distinct_metrics_with_their_own_items() -> None:
    base, fell = RECORDED / "inspect_reducers.json", RECORDED / "inspect_reducers_others_fell.json"
    names = ["cipn.accuracy", "cipn.accuracy,max", "cipn.accuracy,at_least_2", "cipn.accuracy,pass_at_2"]
    assert [score.metric for score in results(base)["grades"].scores] == names
    for name in names:
        same = verdict(gate(base, base, defaults={"metric": name, "max_drop": 0.3}), "grades")
        assert same.comparison is not None
        assert same.comparison.n_paired == 40
        other = verdict(gate(base, fell, defaults={"metric": name, "max_drop": 0.3}), "grades")
        assert (other.verdict is Verdict.UNMEASURABLE) is (name != names[0])


def test_limits_of_inspect_that_are_ranges_or_ids_are_part_of_the_comparison(tmp_path: Path) -> None:
    limited, chosen = RECORDED / "inspect_limit_range.json", RECORDED / "inspect_sample_id.json"
    assert (results(limited)["two"].n_items, results(limited)["two"].n_expected) == (10, 10)
    assert (results(chosen)["two"].n_items, results(chosen)["two"].n_expected) == (3, 3)
    report = gate(limited, chosen, defaults={"max_drop": 0.5, "allow": ["items", "task_hash"]})
    assert "limit_samples differs: items 11 to 20 in the baseline, ids 3,7,9 now" in report.tasks[0].reasons[0]
    other = edited(limited, tmp_path / "log", lambda log: log["eval"]["config"].update(limit=[20, 30]))
    report = gate(limited, other, defaults={"max_drop": 0.5})
    assert "items 11 to 20 in the baseline, items 21 to 30 now" in report.tasks[0].reasons[0]


def test_accuracy_of_inspect_needs_no_direction() -> None:
    log = RECORDED / "inspect_limit_range.json"
    assert verdict(gate(log, log, defaults={"max_drop": 0.9}), "two").higher_is_better is True


def test_accuracy_of_inspect_that_is_nan_or_contradicts_its_samples_is_unmeasurable(tmp_path: Path) -> None:
    log = RECORDED / "inspect_limit_range.json"

    def change(value: float) -> Callable[[dict[str, Any]], object]:
        return lambda data: data["results"]["scores"][0]["metrics"]["accuracy"].update(value=value)

    nan = edited(log, tmp_path / "nan", change(float("nan")))
    assert "match.accuracy has no finite value" in gate(nan, defaults={"min": 0.01}).reasons[0]
    wrong = edited(log, tmp_path / "wrong", change(0.9))
    assert "match.accuracy is 0.9, but 0 over its 10 items" in gate(wrong, defaults={"min": 0.1}).reasons[0]


def test_hash_of_an_inspect_task_ignores_fields_that_a_conversion_adds_or_drops(tmp_path: Path) -> None:
    log = RECORDED / "inspect_limit_range.json"

    def convert(data: dict[str, Any]) -> None:
        for step in data["plan"]["steps"]:
            step.pop("params_passed")
            step["description"] = None
        for scorer in data["eval"]["scorers"]:
            scorer["name"] = f"inspect_ai/{scorer['name']}"
            scorer.pop("metadata")

    before = results(log)["two"].task_hash
    assert results(edited(log, tmp_path / "same", convert))["two"].task_hash == before

    def other_solver(data: dict[str, Any]) -> None:
        data["plan"]["steps"][0]["params"] = {"cache": True}

    assert results(edited(log, tmp_path / "other", other_solver))["two"].task_hash != before


def test_standard_error_of_an_old_inspect_log_without_counts_is_kept(tmp_path: Path) -> None:
    def old(data: dict[str, Any]) -> None:
        data.pop("samples")
        for entry in data["results"]["scores"]:
            entry.pop("scored_samples")
        metrics = data["results"]["scores"][0]["metrics"]
        metrics["accuracy"]["value"], metrics["stderr"]["value"] = 0.5, 0.1

    score = results(edited(RECORDED / "inspect_limit_range.json", tmp_path / "log", old))["two"].scores[0]
    assert (score.value, score.stderr) == (0.5, 0.1)
