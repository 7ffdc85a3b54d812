from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.bindings import harness_task
from tests.support.recorded import RECORDED, edit_json, edit_text, recorded

from nel_action.errors import ResultsError
from nel_action.harnesses.nemo import HARNESS

RECORDS = "nemo-evaluator-per-sample-outputs"


@pytest.fixture
def add(tmp_path: Path) -> Path:
    return recorded("nemo_sums_add", tmp_path)


def edit_results(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    data = yaml.safe_load((folder / "results.yml").read_text())
    change(data)
    (folder / "results.yml").write_text(yaml.safe_dump(data))


def metrics(**scores: object) -> dict[str, Any]:
    return {"metrics": {name: {"scores": {name: {"value": value, "stats": {}}}} for name, value in scores.items()}}


def test_read_parses_every_field_of_a_real_result(add: Path) -> None:
    result = HARNESS.read(harness_task("sums_add", expected_items=20), add)
    (score,) = result.scores
    assert (score.metric, score.value, score.n) == ("accuracy", 0.85, 20)
    assert score.stderr == pytest.approx(0.0819, abs=1e-4)
    assert (result.primary_metric, result.n_items, result.n_expected) == ("accuracy", 20, 20)
    assert result.harness_version == "0.2.8"
    assert result.usage["error_rate"] == 0
    assert result.usage["requests"] == 20
    assert result.usage["prompt_tokens"] == 100


def test_read_returns_records_as_samples(add: Path) -> None:
    samples = list(HARNESS.read(harness_task("sums_add"), add).samples or ())
    assert len(samples) == 20
    assert sum(sample.scores["accuracy"] for sample in samples) / 20 == 0.85
    assert (samples[0].id, samples[0].input, samples[0].expected) == ("add-0", "What is 2 + 7?", "9")


def test_read_ignores_records_without_a_score(add: Path) -> None:
    def add_step(text: str) -> str:
        return text + json.dumps({"id": "add-0", "generation": "…", "score": None}) + "\n"

    edit_text(add, f"{RECORDS}/*", add_step)
    assert len(list(HARNESS.read(harness_task("sums_add"), add).samples or ())) == 20


def test_read_returns_repeated_queries_as_repeats_of_one_item(add: Path) -> None:
    edit_text(add, f"{RECORDS}/*", lambda text: text * 2)
    result = HARNESS.read(harness_task("sums_add"), add)
    samples = list(result.samples or ())
    assert result.n_items == 20
    assert len(samples) == 40
    assert {sample.repeat for sample in samples} == {0, 1}


def test_read_omits_samples_whose_mean_is_not_the_score(add: Path) -> None:
    edit_results(add, lambda data: data["results"]["tasks"].update(add=metrics(accuracy=0.6)))
    result = HARNESS.read(harness_task("sums_add"), add)
    assert result.samples is None
    assert result.n_items == 20


def test_read_scales_samples_to_a_percentage(add: Path) -> None:
    edit_results(add, lambda data: data["results"]["tasks"].update(add=metrics(accuracy=85.0)))
    samples = list(HARNESS.read(harness_task("sums_add"), add).samples or ())
    assert {sample.scores["accuracy"] for sample in samples} == {0.0, 100.0}


def test_read_prefers_the_group_of_the_inner_task_name(add: Path) -> None:
    def change(data: dict[str, Any]) -> None:
        data["config"]["params"]["task"] = "mmlu_str"
        groups = {"mmlu_str": metrics(acc=0.5), "mmlu_str_stem": metrics(acc=0.4)}
        data["results"] = {"groups": groups, "tasks": {"mmlu_str_anatomy": metrics(acc=0.3)}}

    edit_results(add, change)
    (score,) = HARNESS.read(harness_task("sums_add"), add).scores
    assert (score.metric, score.value) == ("acc", 0.5)


def test_read_prefixes_metrics_of_several_parts(add: Path) -> None:
    edit_results(add, lambda data: data["results"].update(tasks={"one": metrics(acc=0.1), "two": metrics(acc=0.2)}))
    result = HARNESS.read(harness_task("sums_add", metric="two/acc"), add)
    assert {score.metric: score.value for score in result.scores} == {"one/acc": 0.1, "two/acc": 0.2}
    assert result.primary_metric == "two/acc"


def test_read_adds_the_kind_of_score_to_the_metric_name(add: Path) -> None:
    scores = {"micro": {"value": 0.5, "stats": {"stddev": 0.5, "count": 26}}, "macro": {"value": 0.4, "stats": {}}}
    shutil.rmtree(add / RECORDS)
    edit_results(add, lambda data: data["results"]["tasks"].update(add={"metrics": {"score": {"scores": scores}}}))
    result = HARNESS.read(harness_task("sums_add", metric="micro", higher_is_better=True), add)
    macro, micro = result.scores
    assert (micro.metric, micro.stderr, micro.n, micro.higher_is_better) == ("score.micro", 0.1, 26, True)
    assert (macro.metric, macro.stderr, macro.higher_is_better) == ("score.macro", None, None)
    assert result.primary_metric == "score.micro"


def lm_eval_inside(add: Path) -> None:
    """Turn the artifacts into those of a container with lm-eval inside: its files, and its metrics in results.yml."""
    shutil.rmtree(add / RECORDS)
    shutil.copytree(RECORDED / "lm_eval_sums_add", add / "fake")
    result = metrics(exact_match__strict=0.75, exact_match__flexible=0.75)

    def change(data: dict[str, Any]) -> None:
        data["config"]["params"]["task"] = "sums_add"
        data["results"] = {"groups": {"sums_add": result}, "tasks": {"sums_add": result}}

    edit_results(add, change)


def test_read_takes_counts_and_samples_from_lm_eval_inside_a_container(add: Path) -> None:
    lm_eval_inside(add)
    result = HARNESS.read(harness_task("sums_add"), add)
    assert (result.n_items, result.n_expected) == (8, 8)
    assert [score.n for score in result.scores] == [8, 8]
    assert result.task_hash
    samples = list(result.samples or ())
    assert len(samples) == 8
    assert set(samples[0].scores) == {"exact_match__strict", "exact_match__flexible"}


def test_read_ignores_lm_eval_files_that_contradict_the_scores(add: Path) -> None:
    lm_eval_inside(add)
    edit_results(add, lambda data: data["results"]["groups"].update(sums_add=metrics(exact_match__strict=0.5)))
    result = HARNESS.read(harness_task("sums_add"), add)
    assert (result.n_items, result.samples) == (None, None)


def test_n_items_is_none_if_nothing_counts_the_items(add: Path) -> None:
    shutil.rmtree(add / RECORDS)
    edit_results(add, lambda data: data["results"]["tasks"].update(add=metrics(accuracy=0.6)))
    assert HARNESS.read(harness_task("sums_add"), add).n_items is None


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def cut(name: str, keep: float) -> Callable[[Path], None]:
    return lambda folder: edit_text(folder, name, lambda text: text[: int(len(text) * keep)])


def touch(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).touch()


def nan_score(folder: Path) -> None:
    edit_results(folder, lambda data: data["results"]["tasks"].update(add=metrics(accuracy=float("nan"))))


def all_failed(folder: Path) -> None:
    stats = {"successful_count": 0, "status_codes": {"401": 20}}
    edit_json(folder, "eval_factory_metrics.json", lambda data: data["response_stats"].update(stats))


def limited(folder: Path) -> None:
    edit_results(folder, lambda data: data["config"]["params"].update(limit_samples=5))


def another_task(folder: Path) -> None:
    edit_results(folder, lambda data: data["config"].update(type="sums_mul"))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove("results.yml"), "no results.yml: the harness exited without writing its results"),
        (cut("results.yml", 0), "is incomplete"),
        (cut("results.yml", 0.3), "is incomplete"),
        (cut("results.yml", 0.4), "is incomplete"),
        (cut(f"{RECORDS}/*", 0.5), "is not valid JSON"),
        (cut("eval_factory_metrics.json", 0.5), "is not valid JSON"),
        (touch(".nemo_evaluator_interrupted"), "was interrupted, although its exit status is 0"),
        (touch(".nemo_evaluator_server_error"), "gave up on the endpoint"),
        (nan_score, "contains no finite score of sums_add"),
        (all_failed, "all 20 requests failed"),
        (limited, "made with limit_samples 5; the spec requests None"),
        (another_task, "contains results of sums_mul, not of sums_add"),
    ],
)
def test_read_rejects_damaged_files(add: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(add)
    with pytest.raises(ResultsError, match=message):
        HARNESS.read(harness_task("sums_add"), add)


@pytest.mark.parametrize("share", [n / 40 for n in range(40)])
def test_read_never_returns_another_score_for_a_truncated_file(add: Path, share: float) -> None:
    cut("results.yml", share)(add)
    try:
        result = HARNESS.read(harness_task("sums_add"), add)
    except ResultsError:
        return
    assert result.scores[0].value == 0.85


def test_read_accepts_a_task_name_with_its_harness(add: Path) -> None:
    assert HARNESS.read(harness_task("sums.sums_add"), add).scores
