"""Results of promptfoo (`promptfoo eval --output results.json`): one task for each prompt and provider.

`pass_rate` is the primary metric; `score` and the named metrics of assertions follow. A case that failed because the
provider or an assertion could not run (`failureReason` 2) is not measured.
"""

from __future__ import annotations

import hashlib
import json
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
    parse_count,
    parse_float,
    parse_text,
    recorded_task,
    schema_guard,
)
from nel_action.model.task import HarnessTask

__all__ = ["detect", "read"]

_ERROR: Final = 2
"""`failureReason` of a case that could not be evaluated."""
_VERSION: Final = 3


def detect(path: Path) -> list[DetectedResult]:
    """Find the prompts and providers of an evaluation.

    Raises:
        ResultsError: a file of promptfoo does not have the expected structure.
    """
    detected = []
    for file in json_files(path):
        data = is_json_of(file, "evalId", "results")
        if data is None or not isinstance(data["results"], dict):
            continue
        with schema_guard(file.name):
            names = _tasks(data)
            detected += [
                DetectedResult(task=recorded_task(name), artifacts=file, model=str(prompt.get("provider", "")))
                for name, (_, prompt) in names.items()
            ]
    return detected


def read(path: Path, task: HarnessTask) -> ParsedResult:
    """Read the cases of one prompt and provider.

    Args:
        path: the output file.
        task: the task as it was detected.

    Raises:
        ResultsError: the file is truncated, of another version, contradicts its own counts, or no case was measured.
    """
    data = load_json(path)
    with schema_guard(path.name):
        if (version := as_mapping(data.get("results")).get("version")) != _VERSION:
            msg = f"{path.name} has results of version {version}; supported is {_VERSION}"
            raise ResultsError(msg, hint="use promptfoo 0.80 or later")
        tasks = _tasks(data)
        if task.name not in tasks:
            msg = f"{path.name} contains no prompt {task.name}"
            raise ResultsError(msg)
        index, prompt = tasks[task.name]
        rows = [row for row in data["results"]["results"] if row["promptIdx"] == index]
        cases = [_case(row) for row in rows]
        _check_counts(path, cases, as_mapping(prompt.get("metrics")))
        named = dict.fromkeys(name for case in cases for name in case.values if name not in {"pass_rate", "score"})
        return parsed_cases(
            cases,
            task,
            metrics={"pass_rate": True, "score": True, **dict.fromkeys(named, True)},
            harness_version=parse_text(as_mapping(data.get("metadata")).get("promptfooVersion")),
            task_hash=_digest(rows),
            usage=_usage(as_mapping(prompt.get("metrics"))),
        )


def _tasks(data: Mapping[str, Any]) -> dict[str, tuple[int, Mapping[str, Any]]]:
    """Return the prompts with their position, by name: label and, if there are several, the provider."""
    prompts = data["results"]["prompts"]
    providers = {prompt.get("provider") for prompt in prompts}
    tasks: dict[str, tuple[int, Mapping[str, Any]]] = {}
    for index, prompt in enumerate(prompts):
        name = str(prompt.get("label") or prompt.get("raw") or f"prompt {index + 1}")
        name = name if len(name) <= 100 else f"{name[:90]}…{hashlib.sha256(name.encode()).hexdigest()[:8]}"  # noqa: PLR2004
        name = f"{name} ({prompt.get('provider')})" if len(providers) > 1 else name
        tasks[name if name not in tasks else f"{name} #{index + 1}"] = (index, prompt)
    return tasks


def _case(row: Mapping[str, Any]) -> Case:
    test = as_mapping(row.get("testCase"))
    variables = as_mapping(row.get("vars") or test.get("vars"))
    name = test.get("description")
    response = as_mapping(row.get("response")).get("output")
    is_error = row.get("failureReason") == _ERROR
    success = row["success"]
    if not isinstance(success, bool):
        msg = f"success is {success!r}"
        raise TypeError(msg)
    own = {f"named.{key}" if key in {"pass_rate", "score"} else key: v for key, v in _named(row).items()}
    values = {"pass_rate": success, "score": row.get("score"), **own}
    identity = json.dumps(variables, sort_keys=True, ensure_ascii=False)
    return Case(
        id=f"{name}: {identity}" if name else identity if variables else f"test {row['testIdx'] + 1}",
        values={} if is_error else finite(values),
        unmeasured=is_error,
        input=parse_text(as_mapping(row.get("prompt")).get("raw")),
        output=response if response is None or isinstance(response, str) else json.dumps(response),
    )


def _named(row: Mapping[str, Any]) -> Mapping[str, Any]:
    return as_mapping(row.get("namedScores"))


def _check_counts(path: Path, cases: list[Case], metrics: Mapping[str, Any]) -> None:
    """Reject a file whose cases differ from the counts that promptfoo states.

    Raises:
        ResultsError: the counts differ.
    """
    keys = ("testPassCount", "testFailCount", "testErrorCount")
    stated = [parse_count(metrics.get(key)) for key in keys]
    passed = sum(case.values.get("pass_rate") == 1 for case in cases)
    errors = sum(case.unmeasured for case in cases)
    counted = [passed, len(cases) - passed - errors, errors]
    if None not in stated and stated != counted:
        msg = f"{path.name} states {stated} passed, failed and erroneous cases, but contains {counted}"
        raise ResultsError(msg, hint="the file is incomplete; export it again")


def _digest(rows: list[Mapping[str, Any]]) -> str:
    """Digest the prompts' template and the assertions of all cases."""
    content = sorted(
        json.dumps([as_mapping(row.get("prompt")).get("label"), as_mapping(row.get("testCase")).get("assert")])
        for row in rows
    )
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _usage(metrics: Mapping[str, Any]) -> dict[str, float]:
    tokens = as_mapping(metrics.get("tokenUsage"))
    values = {
        "prompt_tokens": tokens.get("prompt"),
        "completion_tokens": tokens.get("completion"),
        "cost_usd": metrics.get("cost"),
    }
    return {name: number for name, value in values.items() if (number := parse_float(value)) is not None}
