"""Test runs of DeepEval (`DEEPEVAL_RESULTS_FOLDER`, `.deepeval/.latest_test_run.json`): one task for each file.

`pass_rate` is the primary metric; then come the mean scores of the metrics and their pass rates (`Exact.pass_rate`). A
case with a metric that raised an error has no pass rate, since DeepEval counts it as failed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from nel_action.errors import ResultsError
from nel_action.formats.cases import Case, finite, is_json_of, json_files, parsed_cases
from nel_action.formats.parsing import (
    DetectedResult,
    ParsedResult,
    as_mapping,
    load_json,
    parse_text,
    recorded_task,
    schema_guard,
)
from nel_action.model.task import HarnessTask

__all__ = ["detect", "read"]

_KEYS: Final = ("testCases", "metricsScores")
_TASK: Final = "deepeval"


def detect(path: Path) -> list[DetectedResult]:
    """Find test runs; the task's name is the run's identifier, else `deepeval`."""
    files = (
        json_files(path) if not path.is_dir() else sorted({*json_files(path), *path.glob(".deepeval/.latest_test_*")})
    )
    detected = []
    for file in files:
        data = _test_run(file)
        if data is not None and isinstance(data["testCases"], list):
            name = parse_text(data.get("identifier")) or _TASK
            detected.append(DetectedResult(task=recorded_task(name), artifacts=file))
    return detected


def _test_run(path: Path) -> dict[str, Any] | None:
    data = is_json_of(path)
    inner = data if data is None or "testRunData" not in data else data["testRunData"]
    return inner if isinstance(inner, dict) and all(key in inner for key in _KEYS) else None


def read(path: Path, task: HarnessTask) -> ParsedResult:
    """Read a test run.

    Args:
        path: the file.
        task: the task as it was detected.

    Raises:
        ResultsError: the file is truncated, contradicts its own counts, or no case was measured.
    """
    data = _test_run(path)
    if data is None:
        load_json(path)
        msg = f"{path.name} is not a test run of DeepEval"
        raise ResultsError(msg)
    with schema_guard(path.name):
        rows = [*data["testCases"], *(data.get("conversationalTestCases") or ())]
        cases = [_case(row, position) for position, row in enumerate(rows)]
        _check_counts(path, rows, data["metricsScores"])
        names = dict.fromkeys(name for case in cases for name in case.values if name != "pass_rate")
        return parsed_cases(cases, task, metrics={"pass_rate": True, **dict.fromkeys(names, True)})


def _case(row: Mapping[str, Any], position: int) -> Case:
    values: dict[str, object] = {}
    has_error = False
    for metric in row.get("metricsData") or ():
        name, success = str(metric["name"]), metric["success"]
        if not isinstance(success, bool):
            msg = f"success is {success!r}"
            raise TypeError(msg)
        if metric.get("error"):
            has_error = True
        else:
            values |= {name: metric.get("score"), f"{name}.pass_rate": success}
    if not isinstance(row["success"], bool):
        msg = f"success is {row['success']!r}"
        raise TypeError(msg)
    if not has_error:
        values["pass_rate"] = row["success"]
    order = row.get("order")
    return Case(
        # NOTE: DeepEval names a case without a name by its position.
        id=str(row.get("name") or f"case {position if order is None else order}"),
        values=finite(values),
        unmeasured=has_error,
        input=parse_text(row.get("input")),
        output=parse_text(row.get("actualOutput")),
        expected=parse_text(row.get("expectedOutput")),
    )


def _check_counts(path: Path, rows: list[Mapping[str, Any]], stated: list[Mapping[str, Any]]) -> None:
    """Reject a file whose cases differ from the counts that DeepEval states.

    Raises:
        ResultsError: the counts of a metric differ.
    """
    for entry in stated:
        name = entry["metric"]
        mine = [m for row in rows for m in row.get("metricsData") or () if as_mapping(m).get("name") == name]
        errors = sum(bool(metric.get("error")) for metric in mine)
        passes = sum(metric["success"] is True for metric in mine if not metric.get("error"))
        counted = {"passes": passes, "fails": len(mine) - errors - passes, "errors": errors}
        if any(entry.get(key) not in (None, count) for key, count in counted.items()):
            msg = f"{path.name} states other counts of {name} than its cases have: {counted}"
            raise ResultsError(msg, hint="the file is incomplete; run the tests again")
