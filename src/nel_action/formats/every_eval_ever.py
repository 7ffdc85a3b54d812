"""Records of Every Eval Ever (schema 0.2 and 0.3): one task for each evaluation name of a record.

Instances are in `<record>_samples.jsonl` next to the record; their number and checksum must be those that it states.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from nel_action.errors import ResultsError
from nel_action.formats.cases import is_json_of, json_files
from nel_action.formats.parsing import (
    DetectedResult,
    ParsedResult,
    as_mapping,
    load_json,
    parse_count,
    parse_float,
    parse_text,
    read_content,
    read_json_lines,
    recorded_task,
    schema_guard,
    select_primary_metric,
    truncate_text,
)
from nel_action.model.results import Sample, Score
from nel_action.model.task import HarnessTask

__all__ = ["detect", "read"]

_KEYS: Final = ("schema_version", "evaluation_id", "evaluation_results")
_VERSIONS: Final = ("0.2.", "0.3.")
_UNKNOWN_LEVEL: Final = -1.0


def detect(path: Path) -> list[DetectedResult]:
    """Find records.

    Raises:
        ResultsError: a record does not have the expected structure.
    """
    detected = []
    for file in sorted(path.rglob("*.json")) if path.is_dir() else json_files(path):
        data = is_json_of(file, *_KEYS)
        if data is None or not isinstance(data["evaluation_results"], list):
            continue
        with schema_guard(file.name):
            names = dict.fromkeys(str(entry["evaluation_name"]) for entry in data["evaluation_results"])
            model = str(as_mapping(data.get("model_info")).get("id", ""))
            detected += [DetectedResult(task=recorded_task(name), artifacts=file, model=model) for name in names]
    return detected


def read(path: Path, task: HarnessTask) -> ParsedResult:
    """Read the results of one evaluation name.

    Args:
        path: the record.
        task: the task as it was detected.

    Raises:
        ResultsError: the record or its instances are truncated, of another version, or contain no finite score.
    """
    data = load_json(path)
    with schema_guard(path.name):
        if not (version := str(data.get("schema_version"))).startswith(_VERSIONS):
            msg = f"{path.name} has schema version {version}; supported are 0.2 and 0.3"
            raise ResultsError(msg)
        entries = [entry for entry in data["evaluation_results"] if str(entry["evaluation_name"]) == task.name]
        named = _named(entries)
        scores = [score for name, entry in named.items() if (score := _score(name, entry))]
        if not scores:
            msg = f"{path.name} contains no finite score of {task.name}"
            raise ResultsError(msg)
        library = as_mapping(data.get("eval_library"))
        counts = [score.n for score in scores if score.n is not None]
        samples = _samples_file(path, as_mapping(data.get("detailed_evaluation_results")))
        return ParsedResult(
            scores=tuple(scores),
            missing_scores=tuple(name for name in named if name not in {score.metric for score in scores}),
            primary_metric=select_primary_metric(task.metric, list(named)),
            n_items=max(counts, default=None),
            harness_version=" ".join(
                filter(None, (parse_text(library.get("name")), parse_text(library.get("version"))))
            ),
            samples=_samples(samples, named, task.name) if samples is not None else None,
        )


def _named(entries: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Return the entries by metric: its name or id, or the entry's id where several share it."""
    names = [
        str(config.get("metric_name") or config.get("metric_id") or entry.get("evaluation_result_id") or "score")
        for entry in entries
        for config in (as_mapping(entry.get("metric_config")),)
    ]
    named: dict[str, Mapping[str, Any]] = {}
    for name, entry in zip(names, entries, strict=True):
        own = str(entry.get("evaluation_result_id") or name) if names.count(name) > 1 else name
        if own in named:
            msg = f"several results are named {own}"
            raise ValueError(msg)
        named[own] = entry
    return named


def _score(metric: str, entry: Mapping[str, Any]) -> Score | None:
    """Return one score; None without a finite value."""
    details, config = as_mapping(entry["score_details"]), as_mapping(entry["metric_config"])
    value = parse_float(details.get("score"))
    if value is None or (config.get("has_unknown_level") is True and value == _UNKNOWN_LEVEL):
        return None
    uncertainty = as_mapping(details.get("uncertainty"))
    stderr = parse_float(as_mapping(uncertainty.get("standard_error")).get("value"))
    lower_is_better = config.get("lower_is_better")
    return Score(
        metric=metric,
        value=value,
        stderr=stderr if stderr is not None and stderr >= 0 else None,
        n=parse_count(uncertainty.get("num_samples")),
        higher_is_better=not lower_is_better if isinstance(lower_is_better, bool) else None,
        bounds=_bounds(config, value),
    )


def _bounds(config: Mapping[str, Any], value: float) -> tuple[float, float] | None:
    """Return the stated range of a metric; None if the record states none, or one that the score contradicts."""
    low, high = parse_float(config.get("min_score")), parse_float(config.get("max_score"))
    return None if low is None or high is None or not low <= value <= high or low == high else (low, high)


def _samples_file(path: Path, details: Mapping[str, Any]) -> Path | None:
    """Return the file with the instances, which is as stated; None if the record has none here.

    Raises:
        ResultsError: the file is not the one that the record was written with.
    """
    file = path.with_name(f"{path.stem}_samples.jsonl")
    if not file.exists():
        return None
    content = read_content(file)
    rows, algorithm = parse_count(details.get("total_rows")), details.get("hash_algorithm")
    if rows is not None and rows != len(content.splitlines()):
        msg = f"{file.name} has {len(content.splitlines())} rows; {path.name} states {rows}"
        raise ResultsError(msg, hint="the file is incomplete")
    if algorithm == "sha256" and details.get("checksum") not in (None, hashlib.sha256(content).hexdigest()):
        msg = f"{file.name} does not have the checksum that {path.name} states"
        raise ResultsError(msg, hint="the file was changed after it was written")
    return file


def _samples(path: Path, named: Mapping[str, Mapping[str, Any]], task: str) -> Iterator[Sample]:
    """Stream the instances; each metric has rows of its own.

    Args:
        path: the file with the instances.
        named: metric → its entry in the record.
        task: the evaluation name.
    """
    by_id = {
        str(entry["evaluation_result_id"]): metric for metric, entry in named.items() if "evaluation_result_id" in entry
    }
    only = next(iter(named)) if len(named) == 1 else None
    unknown = {metric for metric, entry in named.items() if as_mapping(entry["metric_config"]).get("has_unknown_level")}
    rows: dict[tuple[str, int], tuple[dict[str, float], Mapping[str, Any]]] = {}
    repeats: Counter[tuple[str, str]] = Counter()
    with schema_guard(path.name):
        for _, record in read_json_lines(path):
            result_id = record.get("evaluation_result_id")
            metric = by_id.get(str(result_id)) if result_id is not None else only
            if metric is None or (result_id is None and record.get("evaluation_name") != task):
                continue
            sample_id = str(record["sample_id"])
            key = sample_id, repeats[sample_id, metric]
            repeats[sample_id, metric] += 1
            values = rows.setdefault(key, ({}, record))[0]
            value = parse_float(as_mapping(record["evaluation"]).get("score"))
            if value is not None and not record.get("error") and not (metric in unknown and value == _UNKNOWN_LEVEL):
                values[metric] = value
        for (sample_id, repeat), (values, first) in rows.items():
            question, answers = as_mapping(first.get("input")), as_mapping(first.get("output")).get("raw")
            yield Sample(
                id=sample_id,
                scores={metric: value for metric, value in values.items() if math.isfinite(value)},
                repeat=repeat,
                input=truncate_text(parse_text(question.get("raw"))),
                output=truncate_text(answers[0] if isinstance(answers, list) and answers else None),
                expected=truncate_text(" | ".join(map(str, question.get("reference") or ())) or None),
            )
