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


def test_a_real_result_is_read_whole(add: Path) -> None:
    reading = HARNESS.read(harness_task("sums_add", expected_items=20), add)
    (score,) = reading.scores
    assert (score.metric, score.value, score.n) == ("accuracy", 0.85, 20)
    assert score.stderr == pytest.approx(0.0819, abs=1e-4)
    assert (reading.primary_metric, reading.n_items, reading.n_expected) == ("accuracy", 20, 20)
    assert reading.harness_version == "0.2.8"
    assert reading.usage["error_rate"] == 0
    assert reading.usage["requests"] == 20
    assert reading.usage["prompt_tokens"] == 100


def test_records_are_samples(add: Path) -> None:
    samples = list(HARNESS.read(harness_task("sums_add"), add).samples or ())
    assert len(samples) == 20
    assert sum(sample.scores["accuracy"] for sample in samples) / 20 == 0.85
    assert (samples[0].id, samples[0].input, samples[0].expected) == ("add-0", "What is 2 + 7?", "9")


def test_records_of_steps_that_are_not_scored_are_no_samples(add: Path) -> None:
    def add_step(text: str) -> str:
        return text + json.dumps({"id": "add-0", "generation": "…", "score": None}) + "\n"

    edit_text(add, f"{RECORDS}/*", add_step)
    assert len(list(HARNESS.read(harness_task("sums_add"), add).samples or ())) == 20


def test_an_item_that_was_asked_twice_is_one_item_with_two_repeats(add: Path) -> None:
    edit_text(add, f"{RECORDS}/*", lambda text: text * 2)
    reading = HARNESS.read(harness_task("sums_add"), add)
    samples = list(reading.samples or ())
    assert reading.n_items == 20
    assert len(samples) == 40
    assert {sample.repeat for sample in samples} == {0, 1}


def test_records_that_do_not_make_up_a_score_are_not_given_out(add: Path) -> None:
    edit_results(add, lambda data: data["results"]["tasks"].update(add=metrics(accuracy=0.6)))
    reading = HARNESS.read(harness_task("sums_add"), add)
    assert reading.samples is None
    assert reading.n_items == 20


def test_a_percentage_is_matched_with_its_records(add: Path) -> None:
    edit_results(add, lambda data: data["results"]["tasks"].update(add=metrics(accuracy=85.0)))
    samples = list(HARNESS.read(harness_task("sums_add"), add).samples or ())
    assert {sample.scores["accuracy"] for sample in samples} == {0.0, 100.0}


def test_the_task_s_own_result_is_found_by_its_inner_name_first_among_groups(add: Path) -> None:
    def change(data: dict[str, Any]) -> None:
        data["config"]["params"]["task"] = "mmlu_str"
        groups = {"mmlu_str": metrics(acc=0.5), "mmlu_str_stem": metrics(acc=0.4)}
        data["results"] = {"groups": groups, "tasks": {"mmlu_str_anatomy": metrics(acc=0.3)}}

    edit_results(add, change)
    (score,) = HARNESS.read(harness_task("sums_add"), add).scores
    assert (score.metric, score.value) == ("acc", 0.5)


def test_where_nothing_stands_for_the_whole_the_parts_are_named(add: Path) -> None:
    edit_results(add, lambda data: data["results"].update(tasks={"one": metrics(acc=0.1), "two": metrics(acc=0.2)}))
    reading = HARNESS.read(harness_task("sums_add", metric="two/acc"), add)
    assert {score.metric: score.value for score in reading.scores} == {"one/acc": 0.1, "two/acc": 0.2}
    assert reading.primary_metric == "two/acc"


def test_a_kind_of_score_is_part_of_the_name_where_it_differs(add: Path) -> None:
    scores = {"micro": {"value": 0.5, "stats": {"stddev": 0.5, "count": 26}}, "macro": {"value": 0.4, "stats": {}}}
    shutil.rmtree(add / RECORDS)
    edit_results(add, lambda data: data["results"]["tasks"].update(add={"metrics": {"score": {"scores": scores}}}))
    reading = HARNESS.read(harness_task("sums_add", metric="micro", higher_is_better=True), add)
    macro, micro = reading.scores
    assert (micro.metric, micro.stderr, micro.n, micro.higher_is_better) == ("score.micro", 0.1, 26, True)
    assert (macro.metric, macro.stderr, macro.higher_is_better) == ("score.macro", None, None)
    assert reading.primary_metric == "score.micro"


def lm_eval_inside(add: Path) -> None:
    """Make the artifacts those of a container with lm-eval: its files beside a results.yml with its names."""
    shutil.rmtree(add / RECORDS)
    shutil.copytree(RECORDED / "lm_eval_sums_add", add / "fake")
    result = metrics(exact_match__strict=0.75, exact_match__flexible=0.75)

    def change(data: dict[str, Any]) -> None:
        data["config"]["params"]["task"] = "sums_add"
        data["results"] = {"groups": {"sums_add": result}, "tasks": {"sums_add": result}}

    edit_results(add, change)


def test_counts_and_samples_of_lm_eval_inside_are_used(add: Path) -> None:
    lm_eval_inside(add)
    reading = HARNESS.read(harness_task("sums_add"), add)
    assert (reading.n_items, reading.n_expected) == (8, 8)
    assert [score.n for score in reading.scores] == [8, 8]
    assert reading.task_hash
    samples = list(reading.samples or ())
    assert len(samples) == 8
    assert set(samples[0].scores) == {"exact_match__strict", "exact_match__flexible"}


def test_files_of_lm_eval_that_do_not_agree_are_not_used(add: Path) -> None:
    lm_eval_inside(add)
    edit_results(add, lambda data: data["results"]["groups"].update(sums_add=metrics(exact_match__strict=0.5)))
    reading = HARNESS.read(harness_task("sums_add"), add)
    assert (reading.n_items, reading.samples) == (None, None)


def test_items_are_not_guessed(add: Path) -> None:
    shutil.rmtree(add / RECORDS)
    edit_results(add, lambda data: data["results"]["tasks"].update(add=metrics(accuracy=0.6)))
    assert HARNESS.read(harness_task("sums_add"), add).n_items is None


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def cut(name: str, keep: float) -> Callable[[Path], None]:
    return lambda folder: edit_text(folder, name, lambda text: text[: int(len(text) * keep)])


def touch(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).touch()


def no_number(folder: Path) -> None:
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
        (remove("results.yml"), "no results.yml: the harness ended without writing its results"),
        (cut("results.yml", 0), "not whole"),
        (cut("results.yml", 0.3), "not whole"),
        (cut("results.yml", 0.4), "not whole"),
        (cut(f"{RECORDS}/*", 0.5), "is not whole JSON"),
        (cut("eval_factory_metrics.json", 0.5), "not whole JSON"),
        (touch(".nemo_evaluator_interrupted"), "was interrupted; it exits with 0 all the same"),
        (touch(".nemo_evaluator_server_error"), "gave up on the endpoint"),
        (no_number, "no finite score of sums_add"),
        (all_failed, "none of the 20 requests got an answer"),
        (limited, "made with limit_samples 5; the spec says None"),
        (another_task, "holds results of sums_mul, not of sums_add"),
    ],
)
def test_what_is_damaged_is_an_error_and_never_a_score(add: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(add)
    with pytest.raises(ResultsError, match=message):
        HARNESS.read(harness_task("sums_add"), add)


@pytest.mark.parametrize("share", [n / 40 for n in range(40)])
def test_a_results_file_cut_anywhere_never_gives_another_score(add: Path, share: float) -> None:
    cut("results.yml", share)(add)
    try:
        reading = HARNESS.read(harness_task("sums_add"), add)
    except ResultsError:
        return
    assert reading.scores[0].value == 0.85


def test_a_harness_and_task_name_is_the_same_task(add: Path) -> None:
    assert HARNESS.read(harness_task("sums.sums_add"), add).scores
