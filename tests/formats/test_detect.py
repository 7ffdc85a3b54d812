"""Detection of recorded results: task, model and parameters as the files contain them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.recorded import RECORDED, edit_json, recorded

from nel_action.errors import ResultsError
from nel_action.formats import inspect_log, lm_eval, nemo_bundle, nemo_results
from nel_action.formats.parsing import DetectedResult

Detect = Callable[[Path], list[DetectedResult]]


def summary(result: DetectedResult) -> tuple[str, str, str, object]:
    return result.task.name, result.task.display, result.model, result.params.get("limit_samples")


def test_detect_finds_a_task_of_lm_eval() -> None:
    (result,) = lm_eval.detect(RECORDED / "lm_eval_sums_add")
    assert summary(result) == ("sums_add", "sums_add", "fake", None)
    assert result.artifacts.name.startswith("results_")
    assert lm_eval.read(result.artifacts, result.task).n_items == 8


def test_detect_finds_a_group_of_lm_eval_and_marks_its_tasks_as_its_parts() -> None:
    parts = {result.task.name: result.part_of for result in lm_eval.detect(RECORDED / "lm_eval_sums")}
    assert parts == {"sums": None, "sums_add": "sums", "sums_mul": "sums"}


def test_detect_takes_the_limit_from_the_files(tmp_path: Path) -> None:
    artifacts = recorded("lm_eval_sums_add", tmp_path)
    edit_json(artifacts, "results_*", lambda data: data["config"].update(limit=8.0))
    (result,) = lm_eval.detect(artifacts)
    assert (result.task.params.limit_samples, result.params) == (8.0, {"limit_samples": 8.0})


def test_detect_finds_one_result_of_nemo_per_directory(tmp_path: Path) -> None:
    for name in ("first", "second"):
        shutil.copytree(RECORDED / "nemo_sums_add", tmp_path / name)
    results = nemo_results.detect(tmp_path)
    assert [result.artifacts.name for result in results] == ["first", "second"]
    assert {summary(result) for result in results} == {("sums_add", "sums_add", "fake", None)}
    assert results[0].params["parallelism"] == 4


@pytest.mark.parametrize("name", ["inspect_sums_add", "inspect_sums_add_eval"])
def test_detect_finds_an_inspect_log(name: str) -> None:
    (result,) = inspect_log.detect(RECORDED / name)
    assert result.task.display == "sums_add"
    assert result.model.startswith("openai-api/")
    assert inspect_log.read(result.artifacts, result.task).n_items == 8


def test_detect_takes_the_last_part_of_a_packaged_inspect_task_as_display_name(tmp_path: Path) -> None:
    artifacts = recorded("inspect_sums_add", tmp_path)
    edit_json(artifacts, "*.json", lambda log: log["eval"].update(task="inspect_evals/sums_add"))
    (result,) = inspect_log.detect(artifacts)
    assert (result.task.name, result.task.display) == ("inspect_evals/sums_add", "sums_add")


def test_detect_finds_a_bundle_of_nemo_evaluator(tmp_path: Path) -> None:
    bundle = {"benchmark": {"name": "gsm8k"}, "config": {"model": "acme-7b", "max_problems": 50, "top_p": 0.9}}
    (tmp_path / "eval-1.json").write_text(json.dumps(bundle))
    (result,) = nemo_bundle.detect(tmp_path)
    assert summary(result) == ("gsm8k", "gsm8k", "acme-7b", 50)
    assert result.params == {"model": "acme-7b", "max_problems": 50, "top_p": 0.9, "limit_samples": 50}


@pytest.mark.parametrize("detect", [inspect_log.detect, lm_eval.detect, nemo_bundle.detect, nemo_results.detect])
def test_detect_ignores_other_files(detect: Detect, tmp_path: Path) -> None:
    (tmp_path / "package.json").write_text('{"name": "x"}')
    (tmp_path / "results_x.json").write_text("{}")
    (tmp_path / "eval-x.json").write_text("{}")
    assert detect(tmp_path) == []


@pytest.mark.parametrize(
    ("detect", "name"),
    [
        (inspect_log.detect, "x.json"),
        (inspect_log.detect, "x.eval"),
        (lm_eval.detect, "results_x.json"),
        (nemo_bundle.detect, "eval-x.json"),
    ],
)
def test_detect_rejects_truncated_files(detect: Detect, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text('{"eval": ')
    with pytest.raises(ResultsError):
        detect(tmp_path)


@pytest.mark.parametrize(
    ("detect", "name", "content"),
    [
        (lm_eval.detect, "results_x.json", {"results": {"a": {}}, "config": ["limit"]}),
        (lm_eval.detect, "results_x.json", {"results": {"a": {}}, "group_subtasks": [1]}),
        (nemo_results.detect, "results.yml", {"config": {"type": "a", "params": [1]}, "target": "x"}),
        (inspect_log.detect, "x.json", {"eval": {"task": "a", "config": [1]}}),
    ],
)
def test_detect_rejects_values_of_unexpected_types(detect: Detect, name: str, content: object, tmp_path: Path) -> None:
    (tmp_path / name).write_text(json.dumps(content))
    with pytest.raises(ResultsError, match="does not have the expected structure"):
        detect(tmp_path)
