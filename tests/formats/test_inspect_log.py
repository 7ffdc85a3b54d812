from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.bindings import harness_task
from tests.support.recorded import edit_json, edit_text, recorded

from nel_action.errors import ResultsError
from nel_action.harnesses.inspect import HARNESS

NAME = "sums.py@sums_add"


@pytest.fixture
def add(tmp_path: Path) -> Path:
    return recorded("inspect_sums_add", tmp_path)


def log_of(folder: Path) -> Path:
    (path,) = folder.glob("*.json")
    return path


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    edit_json(folder, "*.json", change)


def metric(log: dict[str, Any], name: str) -> dict[str, Any]:
    entry: dict[str, Any] = log["results"]["scores"][0]["metrics"][name]
    return entry


def set_value(log: dict[str, Any], number: int, value: object) -> None:
    log["samples"][number]["scores"]["match"]["value"] = value


def test_read_parses_every_field_of_a_real_log(add: Path) -> None:
    result = HARNESS.read(harness_task(NAME, higher_is_better=True), add)
    (score,) = result.scores
    assert (score.metric, score.value, score.n, score.higher_is_better) == ("match.accuracy", 0.75, 8, True)
    assert score.stderr == pytest.approx(0.1637, abs=1e-4)
    assert result.primary_metric == "match.accuracy"
    assert (result.n_items, result.n_expected) == (8, 8)
    assert (result.harness_version, result.task_version) == ("0.3.285", "2")
    assert result.usage == {"prompt_tokens": 80, "completion_tokens": 112, "error_rate": 0}


def test_read_returns_epochs_as_repeats(add: Path) -> None:
    samples = list(HARNESS.read(harness_task(NAME), add).samples or ())
    assert len(samples) == 16
    assert {(sample.id, sample.repeat) for sample in samples} == {(str(n), r) for n in range(1, 9) for r in (0, 1)}
    assert sum(sample.scores["match.accuracy"] for sample in samples) / 16 == 0.75
    assert samples[0].input == "What is 10 + 38?"
    assert samples[0].output == "Let me think. The answer is 48."
    assert samples[0].expected == "48"


def test_task_hash_covers_inputs_and_not_outputs(add: Path) -> None:
    before = HARNESS.read(harness_task(NAME), add).task_hash
    edit(add, lambda log: log["samples"][0]["output"].update(completion="Another answer."))
    assert HARNESS.read(harness_task(NAME), add).task_hash == before
    edit(add, lambda log: log["samples"][0].update(input="What is 10 + 39?"))
    assert HARNESS.read(harness_task(NAME), add).task_hash != before


@pytest.mark.parametrize(
    ("value", "expected"), [("C", 1.0), ("I", 0.0), ("P", 0.5), ("N", 0.0), (True, 1.0), (0.25, 0.25), ("0.5", 0.5)]
)
def test_sample_values_are_converted_as_inspect_converts_them(add: Path, value: object, expected: float) -> None:
    def change(log: dict[str, Any]) -> None:
        for number in range(16):
            set_value(log, number, value)
        metric(log, "accuracy").update(value=expected)

    edit(add, change)
    samples = list(HARNESS.read(harness_task(NAME), add).samples or ())
    assert {sample.scores["match.accuracy"] for sample in samples} == {expected}


def test_an_item_with_a_value_that_is_not_a_number_counts_as_missing(add: Path) -> None:
    edit(add, lambda log: set_value(log, 0, [1, 2]))
    result = HARNESS.read(harness_task(NAME), add)
    assert (result.n_items, result.n_expected) == (7, 8)


def test_an_item_that_failed_in_one_epoch_counts_as_missing(add: Path) -> None:
    edit(add, lambda log: log["samples"][3].update(scores={}, error={"message": "timed out"}))
    assert HARNESS.read(harness_task(NAME), add).n_items == 7


def test_read_marks_accuracies_and_means_as_means_of_their_items(add: Path) -> None:
    assert HARNESS.read(harness_task(NAME), add).scores[0].mean_of_items is True
    edit(add, lambda log: metric(log, "accuracy").update(params={"to_float": "own"}))
    assert HARNESS.read(harness_task(NAME), add).scores[0].mean_of_items is None
    edit(add, lambda log: metric(log, "accuracy").update(name="std"))
    result = HARNESS.read(harness_task(NAME), add)
    assert result.scores[0].mean_of_items is False
    assert result.samples is None


def test_standard_error_of_zero_is_none_if_the_values_differ(add: Path) -> None:
    edit(add, lambda log: metric(log, "stderr").update(value=0.0))
    assert HARNESS.read(harness_task(NAME), add).scores[0].stderr is None


def test_standard_error_of_a_single_item_is_none(add: Path) -> None:
    edit(add, lambda log: log["results"]["scores"][0].update(scored_samples=1))
    assert HARNESS.read(harness_task(NAME), add).scores[0].stderr is None


def test_primary_metric_may_omit_the_scorer(add: Path) -> None:
    assert HARNESS.read(harness_task(NAME, metric="accuracy"), add).primary_metric == "match.accuracy"


def test_read_returns_one_score_per_value_of_a_scorer(add: Path) -> None:
    def change(log: dict[str, Any]) -> None:
        for number in range(16):
            set_value(log, number, {"precision": 1, "recall": 0.5})
        entry = log["results"]["scores"][0]
        log["results"]["scores"] = [
            entry | {"name": name, "metrics": {"mean": {"name": "mean", "value": value}}}
            for name, value in {"precision": 1.0, "recall": 0.5}.items()
        ]

    edit(add, change)
    result = HARNESS.read(harness_task(NAME, metric="recall"), add)
    assert {score.metric: score.value for score in result.scores} == {
        "match.precision.mean": 1.0,
        "match.recall.mean": 0.5,
    }
    assert result.primary_metric == "match.recall.mean"
    assert next(iter(result.samples or ())).scores == {"match.precision.mean": 1.0, "match.recall.mean": 0.5}


def test_input_of_a_chat_sample_is_its_last_message(add: Path) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": [{"text": "Hello"}]}]
    edit(add, lambda log: log["samples"][0].update(input=messages, target=["a", "b"]))
    sample = next(iter(HARNESS.read(harness_task(NAME), add).samples or ()))
    assert (sample.input, sample.expected) == ('[{"text": "Hello"}]', "a | b")


def remove(folder: Path) -> None:
    log_of(folder).unlink()


def cut(keep: float) -> Callable[[Path], None]:
    return lambda folder: edit_text(folder, "*.json", lambda text: text[: int(len(text) * keep)])


def second_log(folder: Path) -> None:
    shutil.copy(log_of(folder), folder / "2020-01-01_sums-add.json")


def change(**fields: object) -> Callable[[Path], None]:
    return lambda folder: edit(folder, lambda log: log.update(fields))


def nan_score(folder: Path) -> None:
    edit(folder, lambda log: metric(log, "accuracy").update(value=float("nan")))


def other_task(folder: Path) -> None:
    edit(folder, lambda log: log["eval"].update(task="sums_mul"))


def other_limit(folder: Path) -> None:
    edit(folder, lambda log: log["eval"]["config"].update(limit=4))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove, "no inspect logs: the harness exited without writing its results"),
        (cut(0), "not a complete inspect log"),
        (cut(0.5), "not a complete inspect log"),
        (cut(0.99), "not a complete inspect log"),
        (second_log, "2 files match inspect logs"),
        (change(status="started"), "has status started"),
        (change(status="cancelled"), "has status cancelled"),
        (change(status="error", error={"message": "boom\nat line 3"}), "has status error: boom"),
        (change(invalidated=True), "has status success"),
        (change(results=None), "contains no finite score"),
        (change(eval=None), "it has no key 'eval'"),
        (nan_score, "contains no finite score"),
        (other_task, "is the log of sums_mul, not of sums_add"),
        (other_limit, "was made with limit 4; the spec requests None"),
    ],
)
def test_read_rejects_damaged_logs(add: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(add)
    with pytest.raises(ResultsError, match=message):
        HARNESS.read(harness_task(NAME), add)
