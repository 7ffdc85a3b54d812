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
    found: dict[str, Any] = log["results"]["scores"][0]["metrics"][name]
    return found


def set_value(log: dict[str, Any], number: int, value: object) -> None:
    log["samples"][number]["scores"]["match"]["value"] = value


def test_a_real_log_is_read_whole(add: Path) -> None:
    reading = HARNESS.read(harness_task(NAME, higher_is_better=True), add)
    (score,) = reading.scores
    assert (score.metric, score.value, score.n, score.higher_is_better) == ("match.accuracy", 0.75, 8, True)
    assert score.stderr == pytest.approx(0.1637, abs=1e-4)
    assert reading.primary_metric == "match.accuracy"
    assert (reading.n_items, reading.n_expected) == (8, 8)
    assert (reading.harness_version, reading.task_version) == ("0.3.285", "2")
    assert reading.usage == {"prompt_tokens": 80, "completion_tokens": 112, "error_rate": 0}


def test_each_epoch_of_an_item_is_a_repeat(add: Path) -> None:
    samples = list(HARNESS.read(harness_task(NAME), add).samples or ())
    assert len(samples) == 16
    assert {(sample.id, sample.repeat) for sample in samples} == {(str(n), r) for n in range(1, 9) for r in (0, 1)}
    assert sum(sample.scores["match.accuracy"] for sample in samples) / 16 == 0.75
    assert samples[0].input == "What is 10 + 38?"
    assert samples[0].output == "Let me think. The answer is 48."
    assert samples[0].expected == "48"


def test_the_digest_is_of_what_is_asked_and_not_of_what_came_out(add: Path) -> None:
    before = HARNESS.read(harness_task(NAME), add).task_hash
    edit(add, lambda log: log["samples"][0]["output"].update(completion="Another answer."))
    assert HARNESS.read(harness_task(NAME), add).task_hash == before
    edit(add, lambda log: log["samples"][0].update(input="What is 10 + 39?"))
    assert HARNESS.read(harness_task(NAME), add).task_hash != before


@pytest.mark.parametrize(
    ("value", "number"), [("C", 1.0), ("I", 0.0), ("P", 0.5), ("N", 0.0), (True, 1.0), (0.25, 0.25), ("0.5", 0.5)]
)
def test_a_value_is_read_as_inspect_reads_it(add: Path, value: object, number: float) -> None:
    def change(log: dict[str, Any]) -> None:
        for place in range(16):
            set_value(log, place, value)
        metric(log, "accuracy").update(value=number)

    edit(add, change)
    samples = list(HARNESS.read(harness_task(NAME), add).samples or ())
    assert {sample.scores["match.accuracy"] for sample in samples} == {number}


def test_an_item_whose_value_is_no_number_is_missing_and_not_wrong(add: Path) -> None:
    edit(add, lambda log: set_value(log, 0, [1, 2]))
    reading = HARNESS.read(harness_task(NAME), add)
    assert (reading.n_items, reading.n_expected) == (7, 8)


def test_an_item_that_failed_in_one_epoch_is_missing(add: Path) -> None:
    edit(add, lambda log: log["samples"][3].update(scores={}, error={"message": "timed out"}))
    assert HARNESS.read(harness_task(NAME), add).n_items == 7


def test_a_score_that_is_not_the_mean_of_its_samples_has_none(add: Path) -> None:
    edit(add, lambda log: metric(log, "accuracy").update(value=0.9))
    reading = HARNESS.read(harness_task(NAME), add)
    assert reading.scores[0].value == 0.9
    assert reading.samples is None


def test_a_standard_error_of_nought_with_different_values_is_none(add: Path) -> None:
    edit(add, lambda log: metric(log, "stderr").update(value=0.0))
    assert HARNESS.read(harness_task(NAME), add).scores[0].stderr is None


def test_a_standard_error_of_one_item_is_none(add: Path) -> None:
    edit(add, lambda log: log["results"]["scores"][0].update(scored_samples=1))
    assert HARNESS.read(harness_task(NAME), add).scores[0].stderr is None


def test_a_metric_may_be_named_without_its_scorer(add: Path) -> None:
    assert HARNESS.read(harness_task(NAME, metric="accuracy"), add).primary_metric == "match.accuracy"


def test_a_scorer_with_several_values_has_several_scores(add: Path) -> None:
    def change(log: dict[str, Any]) -> None:
        for number in range(16):
            set_value(log, number, {"precision": 1, "recall": 0.5})
        entry = log["results"]["scores"][0]
        log["results"]["scores"] = [
            entry | {"name": name, "metrics": {"mean": {"name": "mean", "value": value}}}
            for name, value in {"precision": 1.0, "recall": 0.5}.items()
        ]

    edit(add, change)
    reading = HARNESS.read(harness_task(NAME, metric="recall"), add)
    assert {score.metric: score.value for score in reading.scores} == {"precision.mean": 1.0, "recall.mean": 0.5}
    assert reading.primary_metric == "recall.mean"
    assert next(iter(reading.samples or ())).scores == {"precision.mean": 1.0, "recall.mean": 0.5}


def test_messages_as_input_are_told_by_the_last_one(add: Path) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": [{"text": "Hello"}]}]
    edit(add, lambda log: log["samples"][0].update(input=messages, target=["a", "b"]))
    sample = next(iter(HARNESS.read(harness_task(NAME), add).samples or ()))
    assert (sample.input, sample.expected) == ('[{"text": "Hello"}]', "a | b")


def remove(folder: Path) -> None:
    log_of(folder).unlink()


def cut(keep: float) -> Callable[[Path], None]:
    return lambda folder: edit_text(folder, "*.json", lambda text: text[: int(len(text) * keep)])


def another(folder: Path) -> None:
    shutil.copy(log_of(folder), folder / "2020-01-01_sums-add.json")


def change(**fields: object) -> Callable[[Path], None]:
    return lambda folder: edit(folder, lambda log: log.update(fields))


def no_number(folder: Path) -> None:
    edit(folder, lambda log: metric(log, "accuracy").update(value=float("nan")))


def other_task(folder: Path) -> None:
    edit(folder, lambda log: log["eval"].update(task="sums_mul"))


def other_limit(folder: Path) -> None:
    edit(folder, lambda log: log["eval"]["config"].update(limit=4))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove, "no inspect logs: the harness ended without writing its results"),
        (cut(0), "not a whole inspect log"),
        (cut(0.5), "not a whole inspect log"),
        (cut(0.99), "not a whole inspect log"),
        (another, "2 files are inspect logs"),
        (change(status="started"), "has status started"),
        (change(status="cancelled"), "has status cancelled"),
        (change(status="error", error={"message": "boom\nat line 3"}), "has status error: boom"),
        (change(invalidated=True), "has status success"),
        (change(results=None), "no finite score"),
        (change(eval=None), "it has no eval"),
        (no_number, "no finite score"),
        (other_task, "is the log of sums_mul, not of sums_add"),
        (other_limit, "was made with limit 4; the spec says None"),
    ],
)
def test_what_is_damaged_is_an_error_and_never_a_score(add: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(add)
    with pytest.raises(ResultsError, match=message):
        HARNESS.read(harness_task(NAME), add)
