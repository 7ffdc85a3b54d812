"""Bundles of nemo-evaluator 0.3 and later: `eval-*.json` with scores, and `results.jsonl` with every answer."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from nel_action.errors import ResultsError
from nel_action.formats.parsing import (
    DetectedResult,
    ParsedResult,
    as_mapping,
    find_files,
    load_json,
    parse_count,
    parse_float,
    parse_text,
    read_json_lines,
    recorded_task,
    schema_guard,
)
from nel_action.model.results import Sample, Score
from nel_action.model.task import HarnessTask

__all__ = ["detect", "read"]

_BUNDLE: Final = "eval-*.json"
_RECORDS: Final = "results.jsonl"
_NORMAL_975: Final = 1.959963984540054
"""Quantile of the standard normal distribution that a two-sided 95 % interval is based on."""
_REWARD_METRICS: Final = ("mean_reward", "pass@1")
"""Metrics of the answers' rewards; the first that a bundle has is its primary metric."""
_SCORER: Final = "scorer:"
"""Prefix of metrics whose values are in the answers' scoring details."""


def detect(path: Path) -> list[DetectedResult]:
    """Find bundles, one task each.

    Raises:
        ResultsError: a file of the right name is not valid JSON.
    """
    return [result for file in find_files(path, (_BUNDLE, f"*/{_BUNDLE}")) for result in _detect_file(file)]


def _detect_file(path: Path) -> Iterator[DetectedResult]:
    bundle = load_json(path)
    name = as_mapping(bundle.get("benchmark")).get("name")
    if isinstance(name, str):
        config = as_mapping(bundle.get("config"))
        limit = config.get("max_problems")
        yield DetectedResult(
            task=recorded_task(name, limit=limit),
            artifacts=path,
            model=str(config.get("model", "")),
            params={**config, "limit_samples": limit},
        )


def read(path: Path, task: HarnessTask) -> ParsedResult:  # noqa: ARG001 a bundle contains one task
    """Read the result of one task.

    Args:
        path: the bundle's `eval-*.json`.
        task: the task as recorded in the bundle.

    Raises:
        ResultsError: the bundle is truncated, or its directory contains several, which overwrite each other's answers.
    """
    bundle = load_json(path)
    records = path.with_name(_RECORDS)
    if records.exists() and len(list(path.parent.glob(_BUNDLE))) > 1:
        msg = f"{path.parent} contains several bundles and one {_RECORDS}; keep each bundle in its own directory"
        raise ResultsError(msg)
    with schema_guard(path.name):
        count = parse_count(as_mapping(bundle.get("benchmark")).get("samples"))
        scores = tuple(_scores(as_mapping(as_mapping(bundle.get("benchmark")).get("scores")), count))
        metrics = [score.metric for score in scores]
        paired = [metric for metric in metrics if metric in _REWARD_METRICS or metric.startswith(_SCORER)]
        return ParsedResult(
            scores=scores,
            primary_metric=next((metric for metric in _REWARD_METRICS if metric in metrics), None),
            n_items=count,
            harness_version=parse_text(bundle.get("sdk_version")),
            samples=_samples(records, paired) if records.exists() else None,
            sample_metrics=paired,
        )


def _scores(table: Mapping[str, Any], count: int | None) -> Iterator[Score]:
    """Yield the scores; a bundle has confidence intervals in place of standard errors."""
    for metric, entry in table.items():
        values = as_mapping(entry)
        if (value := parse_float(values.get("value"))) is not None:
            stderr = _stderr(parse_float(values.get("ci_lower")), parse_float(values.get("ci_upper")))
            # NOTE: rewards are averaged; a scorer may have another metric.
            is_mean = True if metric in _REWARD_METRICS else None
            yield Score(
                metric=metric, value=value, stderr=stderr, n=count, higher_is_better=True, mean_of_items=is_mean
            )


def _stderr(lower: float | None, upper: float | None) -> float | None:
    """Return the standard error of a two-sided 95 % normal interval."""
    if lower is None or upper is None or upper <= lower:
        return None
    return (upper - lower) / (2 * _NORMAL_975)


def _samples(path: Path, metrics: Sequence[str]) -> Iterator[Sample]:
    """Stream the answers; a sample lacks a metric that its record has no valid value for."""
    rewarded = [metric for metric in _REWARD_METRICS if metric in metrics]
    scored = [metric for metric in metrics if metric not in _REWARD_METRICS]
    with schema_guard(path.name):
        for number, record in read_json_lines(path):
            scores: dict[str, float] = {}
            if rewarded and (reward := parse_float(record.get("reward"))) is not None:
                scores = {metric: reward if metric == "mean_reward" else float(reward > 0) for metric in rewarded}
            for metric in scored:
                details = as_mapping(as_mapping(record.get("scoring_details")).get(metric))
                if "correct" in details:
                    scores[metric] = float(bool(details["correct"]))
            prompt = record.get("prompt")
            yield Sample(
                id=_item_id(record, number),
                scores=scores,
                repeat=_repeat(record, number),
                input=prompt if prompt is None or isinstance(prompt, str) else json.dumps(prompt, sort_keys=True),
            )


def _item_id(record: Mapping[str, Any], line: int) -> str:
    index = record["problem_idx"]
    if isinstance(index, bool) or not isinstance(index, int | str):
        msg = f"line {line}: problem_idx is {index!r}"
        raise TypeError(msg)
    return str(index)


def _repeat(record: Mapping[str, Any], line: int) -> int:
    repeat = record.get("repeat", 0)
    if isinstance(repeat, bool) or not isinstance(repeat, int):
        msg = f"line {line}: repeat is {repeat!r}"
        raise TypeError(msg)
    return repeat
