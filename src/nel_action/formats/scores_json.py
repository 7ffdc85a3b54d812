"""The files of a program that the `command` harness runs: `scores.json`, and optionally `samples.jsonl`.

docs/harnesses.md specifies them. The files name neither the task nor the model: a task has the name of its directory,
or `scores` if the file is not in a subdirectory.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from pydantic import Field, ValidationError

from nel_action.errors import ResultsError
from nel_action.formats.cases import is_json_of
from nel_action.formats.parsing import (
    DetectedResult,
    ParsedResult,
    expected_items,
    find_files,
    load_json,
    parse_float,
    read_json_lines,
    recorded_task,
    select_primary_metric,
    with_direction,
)
from nel_action.model.results import Record, Sample, Score
from nel_action.model.task import HarnessTask

__all__ = ["detect", "read"]

_FILE: Final = "scores.json"
_TOP: Final = "scores"
"""Name of the only task of a directory."""


class _ScoresFile(Record):
    """Content of `scores.json`."""

    scores: dict[str, Any]
    primary_metric: str | None = None
    n_items: int | None = None
    n_expected: int | None = None
    harness_version: str | None = None
    task_version: str | None = None
    task_hash: str | None = None
    n_shot: int | None = None
    chat_template: str | None = None
    usage: dict[str, float] = Field(default_factory=dict)


def detect(path: Path) -> list[DetectedResult]:
    """Find `scores.json` in a directory, or in its subdirectories, one for each task."""
    files = [path] if path.name == _FILE and path.is_file() else find_files(path, (_FILE, f"*/{_FILE}", f"*/*/{_FILE}"))
    detected = []
    for file in files if path.is_dir() or path.name == _FILE else ():
        data = is_json_of(file, "scores")
        if data is None or not isinstance(data["scores"], dict) or not data.keys() <= _ScoresFile.model_fields.keys():
            continue
        parent = file.parent.parent if file.parent.name == "artifacts" else file.parent
        name = parent.name if path.is_dir() and path in parent.parents else _TOP
        detected.append(DetectedResult(task=recorded_task(name), artifacts=file.parent))
    return detected


def read(path: Path, task: HarnessTask) -> ParsedResult:
    """Read the result of one task.

    Args:
        path: directory with `scores.json`.
        task: the task as it was requested.

    Raises:
        ResultsError: a file is missing, truncated or not as documented, or no score is finite.
    """
    file = path / "scores.json"
    content = _validate(load_json(file), file)
    samples = path / "samples.jsonl"
    scores = tuple(
        _defined_by_items(score) if samples.exists() else score
        for name, raw in content.scores.items()
        if (score := _parse_score(name, raw, content.n_items, file))
    )
    if not scores:
        msg = f"{file.name} contains no finite score"
        raise ResultsError(msg, hint='write {"scores": {"accuracy": {"value": 0.5}}, "n_items": 100}')
    if samples.exists():
        _check_items(samples, content.n_items)
    primary = select_primary_metric(task.metric or content.primary_metric, [score.metric for score in scores])
    declared = content.n_expected if task.expected_items is None else None
    expected = expected_items(task.expected_items, None, task.params.limit_samples)
    return ParsedResult(
        scores=with_direction(scores, primary, higher_is_better=task.higher_is_better),
        primary_metric=primary,
        n_items=content.n_items,
        n_expected=expected if declared is None else declared,
        harness_version=content.harness_version,
        task_version=content.task_version,
        task_hash=content.task_hash,
        n_shot=content.n_shot,
        chat_template=content.chat_template,
        usage=content.usage,
        samples=_read_samples(samples) if samples.exists() else None,
    )


def _validate(data: dict[str, Any], path: Path) -> _ScoresFile:
    try:
        return _ScoresFile.model_validate(data)
    except ValidationError as error:
        msg = f"{path.name}: {_first_error(error)}"
        raise ResultsError(msg, hint="docs/harnesses.md specifies the file") from error


def _parse_score(name: str, raw: object, n_items: int | None, path: Path) -> Score | None:
    """Return one score, or None if its value is not finite.

    Args:
        name: the metric.
        raw: a mapping with `value`, or the value itself.
        n_items: number of items where the score has none of its own.
        path: the file, for messages.

    Raises:
        ResultsError: a field is unknown or has the wrong type.
    """
    fields = raw if isinstance(raw, dict) else {"value": raw}
    if (value := parse_float(fields.get("value"))) is None:
        return None
    parsed = {"value": value, "stderr": parse_float(fields.get("stderr")), "n": fields.get("n", n_items)}
    try:
        return Score.model_validate({"metric": name} | fields | parsed)
    except ValidationError as error:
        msg = f"{path.name}: scores.{name}.{_first_error(error)}"
        raise ResultsError(msg, hint="docs/harnesses.md specifies the file") from error


def _defined_by_items(score: Score) -> Score:
    """Return the score as the mean of the samples with its name, unless the file states otherwise."""
    return score if score.mean_of_items is not None else score.model_copy(update={"mean_of_items": True})


def _read_samples(path: Path) -> Iterator[Sample]:
    for number, record in read_json_lines(path):
        try:
            yield Sample.model_validate(record)
        except ValidationError as error:
            msg = f"{path.name}, line {number}: {_first_error(error)}"
            raise ResultsError(msg, hint="docs/harnesses.md specifies the lines") from error


def _check_items(path: Path, n_items: int | None) -> None:
    """Reject samples of another number of items, or with repeated keys.

    Raises:
        ResultsError: an item and repeat occurs twice, or the number of items differs from `n_items`.
    """
    keys = [(sample.id, sample.repeat) for sample in _read_samples(path)]
    if len(set(keys)) < len(keys):
        msg = f"{path.name} has duplicate items"
        raise ResultsError(msg, hint="give each item its own `id`, and each repeat of an item its own `repeat`")
    count = len({sample_id for sample_id, _ in keys})
    if n_items is not None and count != n_items:
        msg = f"{path.name} has {count} items, but scores.json has n_items {n_items}"
        raise ResultsError(msg, hint="write the samples of all items, or no samples")


def _first_error(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
