from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.bindings import harness_task
from tests.support.recorded import edit_json, edit_text, recorded

from nel_action.errors import ResultsError
from nel_action.harnesses.lm_eval import HARNESS

STRICT, FLEXIBLE = "exact_match,strict", "exact_match,flexible"


@pytest.fixture
def add(tmp_path: Path) -> Path:
    return recorded("lm_eval_sums_add", tmp_path)


def test_read_parses_every_field_of_a_real_result(add: Path) -> None:
    result = HARNESS.read(harness_task("sums_add"), add)

    first, second = result.scores
    assert (first.metric, first.value, first.n, first.higher_is_better) == (STRICT, 0.75, 8, True)
    assert first.stderr == pytest.approx(0.1637, abs=1e-4)
    assert second.metric == FLEXIBLE
    assert result.primary_metric == STRICT
    assert (result.n_items, result.n_expected) == (8, 8)
    assert (result.harness_version, result.task_version, result.n_shot) == ("0.4.13", "1.0", 0)
    assert re.fullmatch("[0-9a-f]{64}", result.task_hash or "")
    assert result.usage == {"empty_rate": 0}


def test_read_joins_the_filters_of_a_document_into_one_sample(add: Path) -> None:
    samples = list(HARNESS.read(harness_task("sums_add"), add).samples or ())
    assert len(samples) == 8
    assert all(set(sample.scores) == {STRICT, FLEXIBLE} for sample in samples)
    assert sum(sample.scores[STRICT] for sample in samples) / 8 == 0.75
    assert samples[0].input == "What is 10 + 38?"
    assert samples[0].output == "Let me think. The answer is 48."
    assert samples[0].expected == "48"


def test_read_numbers_equal_documents(add: Path) -> None:
    ids = [sample.id for sample in HARNESS.read(harness_task("sums_add"), add).samples or ()]
    assert len(set(ids)) == 8
    assert ids[5] == f"{ids[1]}#2"


def test_sample_ids_are_the_same_in_a_task_and_in_its_group(tmp_path: Path) -> None:
    alone = {
        s.input: s.id
        for s in HARNESS.read(harness_task("sums_add"), recorded("lm_eval_sums_add", tmp_path)).samples or ()
    }
    group = HARNESS.read(harness_task("sums"), recorded("lm_eval_sums", tmp_path / "group"))
    in_group = {s.input: s.id for s in group.samples or () if s.id.startswith("sums_add/")}
    assert in_group == {question: f"sums_add/{name}" for question, name in alone.items()}


def test_read_includes_the_samples_of_a_groups_tasks(tmp_path: Path) -> None:
    result = HARNESS.read(harness_task("sums"), recorded("lm_eval_sums", tmp_path))
    assert [score.metric for score in result.scores] == [STRICT, FLEXIBLE]
    assert (result.n_items, result.n_expected, result.scores[0].n) == (14, 14, 14)
    assert result.task_version == "3 of 1.0"
    samples = list(result.samples or ())
    assert {sample.id.partition("/")[0] for sample in samples} == {"sums_add", "sums_mul"}
    mean = sum(sample.scores[STRICT] for sample in samples) / len(samples)
    assert result.scores[0].value == pytest.approx(mean)


def test_read_marks_a_group_score_that_is_not_the_mean_of_its_items(tmp_path: Path) -> None:
    result = HARNESS.read(harness_task("sums_macro"), recorded("lm_eval_sums_macro", tmp_path))
    assert result.scores[0].value == pytest.approx((0.75 + 2 / 3) / 2)
    assert result.scores[0].mean_of_items is False


def test_output_of_a_multiple_choice_sample_is_the_likeliest_continuation(tmp_path: Path) -> None:
    result = HARNESS.read(harness_task("sums_sub"), recorded("lm_eval_sums_sub", tmp_path))
    sample = next(iter(result.samples or ()))
    assert (sample.input, sample.output, sample.scores) == ("What is 30 - 19? Answer:", " 11", {"acc,none": 1.0})
    assert not result.usage


@pytest.mark.parametrize(
    ("requested", "primary"),
    [(None, STRICT), (FLEXIBLE, FLEXIBLE), ("exact_match", "exact_match"), ("acc", "acc")],
)
def test_primary_metric_is_the_requested_one_or_the_first(add: Path, requested: str | None, primary: str) -> None:
    assert HARNESS.read(harness_task("sums_add", metric=requested), add).primary_metric == primary


def test_primary_metric_may_omit_a_filter_that_is_the_only_one(tmp_path: Path) -> None:
    result = HARNESS.read(harness_task("sums_sub", metric="acc"), recorded("lm_eval_sums_sub", tmp_path))
    assert result.primary_metric == "acc,none"


def scores(data: Any, **values: object) -> None:  # noqa: ANN401 a JSON document
    data["results"]["sums_add"] |= {key.replace("__", ","): value for key, value in values.items()}


def test_standard_error_na_is_none(add: Path) -> None:
    edit_json(add, "results_*", lambda data: scores(data, exact_match_stderr__strict="N/A"))
    assert HARNESS.read(harness_task("sums_add"), add).scores[0].stderr is None


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "N/A", None, [1, 2], True])
def test_a_value_that_is_no_number_is_a_missing_score(add: Path, value: object) -> None:
    edit_json(add, "results_*", lambda data: scores(data, exact_match__strict=value))
    assert [score.metric for score in HARNESS.read(harness_task("sums_add"), add).scores] == [FLEXIBLE]


def test_no_finite_score_at_all_is_an_error(add: Path) -> None:
    nan = float("nan")
    edit_json(add, "results_*", lambda data: scores(data, exact_match__strict=nan, exact_match__flexible=nan))
    with pytest.raises(ResultsError, match="no finite score of sums_add"):
        HARNESS.read(harness_task("sums_add"), add)


def test_fewer_items_than_the_task_has_are_counted(add: Path) -> None:
    edit_json(add, "results_*", lambda data: data["n-samples"]["sums_add"].update(original=100))
    result = HARNESS.read(harness_task("sums_add"), add)
    assert (result.n_items, result.n_expected) == (8, 100)


@pytest.mark.parametrize(
    ("limit", "declared", "expected"), [(5, None, 5), (0.5, None, 4), (5, 3, 3), (20, None, 8), (20, 15, 15)]
)
def test_the_items_expected_follow_the_limit(add: Path, limit: float, declared: int | None, expected: int) -> None:
    edit_json(add, "results_*", lambda data: data["config"].update(limit=float(limit)))
    result = HARNESS.read(harness_task("sums_add", limit_samples=limit, expected_items=declared), add)
    assert result.n_expected == expected


def test_a_limit_counts_for_each_task_of_a_group(tmp_path: Path) -> None:
    artifacts = recorded("lm_eval_sums", tmp_path)
    edit_json(artifacts, "results_*", lambda data: data["config"].update(limit=7.0))
    assert HARNESS.read(harness_task("sums", limit_samples=7), artifacts).n_expected == 7 + 6


def remove(pattern: str) -> Callable[[Path], None]:
    def act(folder: Path) -> None:
        for path in [*folder.glob(pattern)]:
            path.unlink()

    return act


def cut(pattern: str, keep: float) -> Callable[[Path], None]:
    return lambda folder: edit_text(folder, pattern, lambda text: text[: int(len(text) * keep)])


def drop_lines(folder: Path) -> None:
    edit_text(folder, "samples_*", lambda text: "".join(text.splitlines(keepends=True)[:-3]))


def drop_all_lines(folder: Path) -> None:
    edit_text(folder, "samples_*", lambda _: "")


def second_file(folder: Path) -> None:
    (path,) = folder.glob("results_*")
    shutil.copy(path, folder / "results_2020-01-01T00-00-00.json")


def second_folder(folder: Path) -> None:
    (path,) = folder.glob("results_*")
    (folder / "other-model").mkdir()
    shutil.copy(path, folder / "other-model" / path.name)


def no_counts(folder: Path) -> None:
    edit_json(folder, "results_*", lambda data: data["n-samples"]["sums_add"].clear())


def flip_answers(folder: Path) -> None:
    edit_text(folder, "samples_*", lambda text: re.sub(r'"resps": .*?]], "fil', '"resps": [[""]], "fil', text))


def mix_filters(folder: Path) -> None:
    def change(text: str) -> str:
        lines = [json.loads(line) for line in text.splitlines()]
        lines[8:] = reversed(lines[8:])
        return "".join(json.dumps(line) + "\n" for line in lines)

    edit_text(folder, "samples_*", change)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove("*"), "the harness exited without writing its results"),
        (remove("results_*"), "the harness exited without writing its results"),
        (remove("samples_*"), "lm-eval could not save its samples"),
        (cut("results_*", 0.6), "is not valid JSON"),
        (cut("results_*", 0), "is not valid JSON"),
        (cut("samples_*", 0.98), "line 16, is not valid JSON"),
        (drop_lines, "fewer samples than the 8 evaluated items: 8 of filter strict, 5 of filter flexible"),
        (drop_all_lines, "fewer samples than the 8 evaluated items: none"),
        (second_file, "2 files match results_"),
        (second_folder, "2 files match results_"),
        (no_counts, "does not report how many items"),
        (flip_answers, "all 8 answers are empty"),
    ],
)
def test_read_rejects_damaged_files(add: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(add)
    with pytest.raises(ResultsError, match=message):
        HARNESS.read(harness_task("sums_add"), add)


def test_read_rejects_filters_with_different_document_orders(add: Path) -> None:
    mix_filters(add)
    with pytest.raises(ResultsError, match="list the documents in different orders"):
        list(HARNESS.read(harness_task("sums_add"), add).samples or ())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "gsm8k"}, "contains results of sums_add, not of gsm8k"),
        ({"name": "sums_add", "limit_samples": 4}, "was made without a limit; the spec requests 4"),
    ],
)
def test_read_rejects_results_of_another_task_or_limit(add: Path, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ResultsError, match=message):
        HARNESS.read(harness_task(**fields), add)


def test_read_rejects_a_limit_that_was_not_requested(add: Path) -> None:
    edit_json(add, "results_*", lambda data: data["config"].update(limit=8.0))
    with pytest.raises(ResultsError, match="was made with limit 8; the spec requests none"):
        HARNESS.read(harness_task("sums_add"), add)


def test_read_reports_a_group_without_a_score(tmp_path: Path) -> None:
    artifacts = recorded("lm_eval_sums", tmp_path)
    edit_json(artifacts, "results_*", lambda data: data["results"].update(sums={"alias": "sums", "name": "sums"}))
    with pytest.raises(ResultsError, match="for a group without a score of its own, list its tasks"):
        HARNESS.read(harness_task("sums"), artifacts)
