"""Logs of inspect, in JSON or in its own zipped format (`.eval`): one file with the scores and samples of a task.

A log counts only if its status is `success` and its limit is the requested one. `read` corrects three values that
inspect reports: a standard error of 0.0 that means "not computable" (one item, or one cluster) is dropped, an item
without a value in every epoch counts as missing, and a sample value that is not a number is not read as 0.
"""

from __future__ import annotations

import hashlib
import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from nel_action.errors import ResultsError
from nel_action.formats.inspect_samples import InspectSample, load_header, load_log
from nel_action.formats.parsing import (
    SEE_LOGS,
    DetectedResult,
    ParsedResult,
    expected_items,
    find_files,
    load_json,
    nearly_equal,
    parse_count,
    parse_float,
    parse_text,
    recorded_task,
    schema_guard,
    select_primary_metric,
    single_file,
    with_direction,
)
from nel_action.model.results import Sample, Score
from nel_action.model.task import HarnessTask

__all__ = ["detect", "read"]

_PATTERNS: Final = ("*.eval", "*.json", "**/*.eval", "**/*.json")
_MEANS: Final = {"accuracy", "mean"}
"""Metrics that inspect's `stderr` belongs to."""


def detect(path: Path) -> list[DetectedResult]:
    """Find inspect logs, one task each; other JSON files are ignored.

    Raises:
        ResultsError: a file is truncated.
    """
    results = []
    for file in find_files(path, _PATTERNS):
        header = (load_header(file) if file.suffix == ".eval" else load_json(file)).get("eval")
        if isinstance(header, dict) and isinstance(header.get("task"), str):
            with schema_guard(file.name):
                results.append(_detected(header, file))
    return results


def _detected(header: Mapping[str, Any], path: Path) -> DetectedResult:
    limit = (header.get("config") or {}).get("limit")
    task = recorded_task(header["task"], display=header["task"].rpartition("/")[2], limit=limit)
    model = str(header.get("model", ""))
    return DetectedResult(task=task, artifacts=path, model=model, params={"limit_samples": limit})


def read(path: Path, task: HarnessTask) -> ParsedResult:
    """Read the result of one task.

    Args:
        path: a log, or a directory with one log in JSON.
        task: the task as it was requested.

    Raises:
        ResultsError: the log is missing, truncated, unfinished, of another run or task, or contains no finite score.
    """
    file = path if path.is_file() else single_file(path.glob("*.json"), kind="inspect logs")
    log, samples = load_log(file)
    with schema_guard(file.name):
        return _parse(file, log, samples, task)


def _parse(path: Path, log: Mapping[str, Any], samples: Sequence[InspectSample], task: HarnessTask) -> ParsedResult:
    _check_status(log, path)
    _check_task_and_limit(log, task, path)
    scores = tuple(_scores(log, samples))
    if not scores:
        msg = f"{path.name} contains no finite score"
        raise ResultsError(msg, hint="check that the task has a scorer")
    primary = select_primary_metric(task.metric, [score.metric for score in scores])
    scorers = {score.metric: scorer for score in scores if (scorer := _averaged_scorer(score, samples))}
    return ParsedResult(
        scores=with_direction(scores, primary, higher_is_better=task.higher_is_better),
        primary_metric=primary,
        n_items=_count_complete(samples, _scorer_of(primary, scores), log),
        n_expected=_expected_items(task, log),
        harness_version=parse_text(log["eval"].get("packages", {}).get("inspect_ai")),
        task_version=parse_text(log["eval"].get("task_version")),
        task_hash=_task_hash(log, samples),
        usage=_usage(log),
        samples=_samples(samples, scorers) if scorers else None,
    )


def _check_status(log: Mapping[str, Any], path: Path) -> None:
    """Reject a log of a run that failed, was cancelled or was invalidated."""
    if (status := log.get("status")) != "success" or log.get("invalidated"):
        reason = str((log.get("error") or {}).get("message", "")).strip().partition("\n")[0][:200]
        msg = f"{path.name} has status {status}" + (f": {reason}" if reason else "")
        raise ResultsError(msg, hint=SEE_LOGS)


def _check_task_and_limit(log: Mapping[str, Any], task: HarnessTask, path: Path) -> None:
    """Reject a log of another task or limit, which belongs to an earlier run."""
    actual_name = str(log["eval"].get("task"))
    requested_name = task.name.rpartition("@")[2].removesuffix(".py")
    same = actual_name.rpartition("/")[2] == requested_name.rpartition("/")[2]
    # NOTE: a task given as FILE.py is whichever task the file defines.
    if not same and not task.name.endswith(".py"):
        msg = f"{path.name} is the log of {actual_name}, not of {requested_name}"
        raise ResultsError(msg, hint="the file belongs to another run")
    actual, requested = log["eval"].get("config", {}).get("limit"), task.params.limit_samples
    if actual != requested:
        msg = f"{path.name} was made with limit {actual}; the spec requests {requested}"
        raise ResultsError(msg, hint="the file belongs to another run")


def _scores(log: Mapping[str, Any], samples: Sequence[InspectSample]) -> Iterator[Score]:
    for entry in (log.get("results") or {}).get("scores") or ():
        scorer, metrics = entry.get("name"), entry.get("metrics") or {}
        count = parse_count(entry.get("scored_samples"))
        stderr = _stderr(metrics, count, [sample.values[scorer] for sample in samples if scorer in sample.values])
        for key, metric in metrics.items():
            value = parse_float(metric.get("value"))
            if value is not None and "stderr" not in key:
                yield Score(metric=f"{scorer}.{key}", value=value, stderr=stderr if key in _MEANS else None, n=count)


def _stderr(metrics: Mapping[str, Any], count: int | None, values: Sequence[float]) -> float | None:
    """Return the standard error; None if inspect's 0.0 means that it could not be computed."""
    stderr = parse_float((metrics.get("stderr") or metrics.get("bootstrap_stderr") or {}).get("value"))
    if stderr is None or stderr < 0 or count is None or count < 2:  # noqa: PLR2004 one item has no spread
        return None
    return None if stderr == 0 and len(set(values)) > 1 else stderr


def _averaged_scorer(score: Score, samples: Sequence[InspectSample]) -> str | None:
    """Return the scorer whose mean over items is the score; only then can samples be compared in pairs."""
    scorer = score.metric.rpartition(".")[0]
    means = [statistics.fmean(values) for values in _values_by_item(samples, scorer).values()]
    return scorer if means and nearly_equal(score.value, statistics.fmean(means)) else None


def _values_by_item(samples: Sequence[InspectSample], scorer: str) -> dict[str, list[float]]:
    by_item: dict[str, list[float]] = {}
    for sample in samples:
        if scorer in sample.values:
            by_item.setdefault(sample.id, []).append(sample.values[scorer])
    return by_item


def _scorer_of(primary: str | None, scores: Sequence[Score]) -> str:
    metrics = {score.metric for score in scores}
    return (primary if primary in metrics and primary else scores[0].metric).rpartition(".")[0]


def _count_complete(samples: Sequence[InspectSample], scorer: str, log: Mapping[str, Any]) -> int:
    """Count the items that have a value in every epoch; an item without one counts as missing."""
    epochs = parse_count(log["eval"].get("config", {}).get("epochs")) or 1
    return sum(len(values) >= epochs for values in _values_by_item(samples, scorer).values())


def _expected_items(task: HarnessTask, log: Mapping[str, Any]) -> int | None:
    total = parse_count(log["eval"].get("dataset", {}).get("samples"))
    return expected_items(task.expected_items, total, task.params.limit_samples)


def _samples(samples: Sequence[InspectSample], scorers: Mapping[str, str]) -> Iterator[Sample]:
    for sample in samples:
        scores = {metric: sample.values[scorer] for metric, scorer in scorers.items() if scorer in sample.values}
        if scores:
            yield Sample(
                id=sample.id,
                scores=scores,
                repeat=sample.epoch - 1,
                input=sample.input,
                output=sample.output,
                expected=sample.target,
            )


def _task_hash(log: Mapping[str, Any], samples: Sequence[InspectSample]) -> str:
    """Digest the prompts and the scoring: solver steps, scorers, arguments, questions and targets."""
    content = {
        "steps": (log.get("plan") or {}).get("steps"),
        "scorers": log["eval"].get("scorers"),
        "arguments": log["eval"].get("task_args"),
        "reducer": log["eval"].get("config", {}).get("epochs_reducer"),
        "items": sorted({(sample.id, sample.digest) for sample in samples}),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _usage(log: Mapping[str, Any]) -> dict[str, float]:
    counts = ((log.get("stats") or {}).get("model_usage") or {}).get(log["eval"].get("model")) or {}
    keys = {"prompt_tokens": "input_tokens", "completion_tokens": "output_tokens", "cost_usd": "total_cost"}
    usage = {name: value for name, key in keys.items() if (value := parse_float(counts.get(key))) is not None}
    results = log.get("results") or {}
    total, completed = parse_count(results.get("total_samples")), parse_count(results.get("completed_samples"))
    return usage | ({"error_rate": 1 - completed / total} if total and completed is not None else {})
