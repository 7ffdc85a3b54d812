from __future__ import annotations

import math
from pathlib import Path

import pytest

from nel_action.errors import ResultsError
from nel_action.formats.parsing import (
    ParsedResult,
    expected_items,
    find_files,
    limited_count,
    load_json,
    nearly_equal,
    parse_count,
    parse_float,
    parse_text,
    read_json_lines,
    recorded_task,
    schema_guard,
    select_primary_metric,
    single_file,
    truncate_text,
    with_direction,
)
from nel_action.model.results import JobOutcome, Score, TaskResult


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (1, 1.0),
        (0.5, 0.5),
        (-3, -3.0),
        (True, None),
        ("0.5", None),
        ("N/A", None),
        (None, None),
        (math.nan, None),
        (math.inf, None),
        (10**400, None),
        ([1], None),
    ],
)
def test_parse_float_accepts_finite_numbers_only(value: object, number: float | None) -> None:
    assert parse_float(value) == number


@pytest.mark.parametrize(("value", "count"), [(3, 3), (3.0, 3), (0, 0), (-1, None), (1.5, None), ("3", None)])
def test_parse_count_accepts_non_negative_integral_numbers(value: object, count: int | None) -> None:
    assert parse_count(value) == count


@pytest.mark.parametrize(
    ("value", "text"), [("1.0", "1.0"), (2, "2"), ("", None), ("N/A", None), (None, None), ([], None)]
)
def test_parse_text_returns_none_for_missing_values(value: object, text: str | None) -> None:
    assert parse_text(value) == text


@pytest.mark.parametrize(("limit", "count"), [(None, 30), (10, 10), (50, 30), (0.25, 8), (0.01, 1)])
def test_limited_count_rounds_proportions_up(limit: float | None, count: int) -> None:
    assert limited_count(30, limit) == count


@pytest.mark.parametrize(
    ("declared", "reported", "limit", "expected"),
    [(40, 30, None, 40), (None, 30, None, 30), (None, 30, 5, 5), (None, None, 5, 5), (None, None, 0.5, None)],
)
def test_expected_items_prefers_the_declared_size(
    declared: int | None, reported: int | None, limit: float | None, expected: int | None
) -> None:
    assert expected_items(declared, reported, limit) == expected


@pytest.mark.parametrize(
    ("requested", "names", "metric"),
    [
        (None, ["acc,none", "f1,none"], "acc,none"),
        (None, [], None),
        ("acc", ["acc,none", "f1,none"], "acc,none"),
        ("acc", ["acc,strict", "acc,flexible"], "acc"),
        ("accuracy", ["match.accuracy"], "match.accuracy"),
        ("score", ["score.micro"], "score.micro"),
        ("f1", ["acc"], "f1"),
    ],
)
def test_select_primary_metric_completes_unambiguous_names(
    requested: str | None, names: list[str], metric: str | None
) -> None:
    assert select_primary_metric(requested, names) == metric


def test_with_direction_changes_only_the_metric_without_a_direction() -> None:
    scores = [Score(metric="a", value=1), Score(metric="b", value=1), Score(metric="c", value=1, higher_is_better=True)]
    directed = with_direction(scores, "a", higher_is_better=False)
    assert [score.higher_is_better for score in directed] == [False, None, True]
    assert with_direction(scores, "c", higher_is_better=False)[2].higher_is_better is True
    assert with_direction(scores, "a", higher_is_better=None) == tuple(scores)


@pytest.mark.parametrize(("right", "equal"), [(1 + 1e-7, True), (1 + 1e-5, False)])
def test_nearly_equal_tolerates_rounding(right: float, equal: bool) -> None:  # noqa: FBT001
    assert nearly_equal(1.0, right) is equal


def test_truncate_text_keeps_the_end() -> None:
    assert truncate_text("abcdef", size=4) == "…def"
    assert truncate_text("abcd", size=4) == "abcd"
    assert truncate_text(None) is None


def test_find_files_uses_the_first_pattern_that_matches(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("sub/b.json", "a.json"):
        (tmp_path / name).touch()
    assert find_files(tmp_path, ("*.yml", "*.json", "**/*.json")) == [tmp_path / "a.json"]
    assert find_files(tmp_path / "sub", ("x.json", "*.json")) == [tmp_path / "sub/b.json"]
    assert find_files(tmp_path / "a.json", ("*.yml", "*.json")) == [tmp_path / "a.json"]
    assert find_files(tmp_path / "a.json", ("*.yml",)) == []


def test_single_file_rejects_none_and_several(tmp_path: Path) -> None:
    assert single_file([tmp_path], kind="logs") == tmp_path
    with pytest.raises(ResultsError, match="no logs: the harness exited without writing its results"):
        single_file([], kind="logs")
    with pytest.raises(ResultsError, match="2 files match logs: a, b; expected the file of one run"):
        single_file([Path("b"), Path("a")], kind="logs")


def test_load_json_reports_missing_unreadable_and_other_files(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match=r"no x\.json: the harness exited"):
        load_json(tmp_path / "x.json")
    with pytest.raises(ResultsError, match=r"cannot read .*: Is a directory"):
        load_json(tmp_path)
    (tmp_path / "x.json").write_text("[1]")
    with pytest.raises(ResultsError, match="contains a list; expected a JSON object"):
        load_json(tmp_path / "x.json")


def test_read_json_lines_counts_lines_from_one_and_reports_the_invalid_one(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"a": 1}\n{"a": 2}\n[3]\n')
    lines = read_json_lines(path)
    assert [next(lines), next(lines)] == [(1, {"a": 1}), (2, {"a": 2})]
    with pytest.raises(ResultsError, match="line 3, contains a list; expected a JSON object"):
        next(lines)


def test_schema_guard_keeps_results_errors_and_converts_others() -> None:
    original, values = ResultsError("original"), dict[str, int]()
    with (
        pytest.raises(ResultsError, match=r"x\.json does not have the expected structure: 'a'"),
        schema_guard("x.json"),
    ):
        _ = values["a"]
    with pytest.raises(ResultsError, match=r"^original$"), schema_guard("x.json"):
        raise original


def test_recorded_task_uses_the_name_for_display_by_default() -> None:
    assert recorded_task("a").display == "a"
    task = recorded_task("package/a", display="a", limit=5)
    assert (task.name, task.display, task.params.limit_samples) == ("package/a", "a", 5)


def test_task_fields_are_fields_of_a_task_result() -> None:
    parsed = ParsedResult(scores=(Score(metric="a", value=1),), n_items=3, usage={"requests": 2.0})
    bare = TaskResult(task="t", model="m", job_id="-", key="-", outcome=JobOutcome.SUCCEEDED)
    result = TaskResult.model_validate(bare.model_dump() | parsed.task_fields())
    assert (result.scores, result.n_items, result.usage) == (parsed.scores, 3, {"requests": 2.0})
