"""Logs of inspect, in JSON or in its own zipped format (`.eval`): one file with the scores and samples of a task.

A log counts only if its status is `success` and its selection of items is the requested one. `read` corrects three
values that inspect reports: a standard error of 0.0 that means "not computable" (one item, or one cluster) is dropped,
an item without a value in every epoch counts as missing, and a sample value that is not a number is not read as 0.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from nel_action.errors import ResultsError
from nel_action.formats.inspect_metrics import InspectMetric, inspect_metrics, item_values, values_by_item
from nel_action.formats.inspect_samples import InspectSample, load_header, load_log, normalized
from nel_action.formats.parsing import (
    SEE_LOGS,
    DetectedResult,
    ParsedResult,
    as_mapping,
    expected_items,
    find_files,
    load_json,
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
    selection = _selection(header)
    limit = selection.get("limit_samples")
    count = limit if isinstance(limit, int | float) else None
    task = recorded_task(header["task"], display=header["task"].rpartition("/")[2], limit=count)
    task = replace(task, params=replace(task.params, extra=selection if count is None else {}))
    model = str(header.get("model", ""))
    return DetectedResult(task=task, artifacts=path, model=model, params=selection)


def _selection(header: Mapping[str, Any]) -> dict[str, Any]:
    """Return which items of the data set the run evaluated, as `limit_samples` of `TaskResult.params`.

    A count is a number; `--limit 11-20` and `--sample-id 3,7,9` are texts, so that other selections differ from them.
    """
    config = header.get("config") or {}
    limit, ids = config.get("limit"), config.get("sample_id")
    if isinstance(limit, list):
        start, end = (parse_count(part) for part in limit)
        limit = f"items {'?' if start is None else start + 1} to {end}"
    if ids is not None:
        chosen = ids if isinstance(ids, list) else [ids]
        limit = f"ids {','.join(map(str, chosen))}"
    return {"limit_samples": limit}


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
    metrics = list(inspect_metrics(log, samples))
    if len({metric.name for metric in metrics}) < len(metrics):
        msg = f"{path.name} contains several scores of one name: {', '.join(metric.name for metric in metrics)}"
        raise ResultsError(msg, hint="the log may come from an unsupported version of inspect")
    finite = [metric for metric in metrics if metric.value is not None]
    if not finite:
        msg = f"{path.name} contains no finite score"
        raise ResultsError(msg, hint="check that the task has a scorer")
    names = [metric.name for metric in metrics if metric.group is None]
    primary = next(iter(names), None)
    if task.metric is not None:
        primary = select_primary_metric(task.metric, [metric.name for metric in metrics])
    source = next((metric.source for metric in metrics if metric.name == primary), metrics[0].source)
    n_items = _count_complete(samples, source, log)
    scores = [_score(metric, n_items) for metric in finite]
    values = {metric.name: item_values(metric, samples) for metric in finite}
    values = {name: by_sample for name, by_sample in values.items() if by_sample}
    return ParsedResult(
        scores=with_direction(scores, primary, higher_is_better=task.higher_is_better),
        missing_scores=tuple(metric.name for metric in metrics if metric.value is None),
        primary_metric=primary,
        n_items=n_items,
        n_expected=_expected_items(task, log),
        harness_version=parse_text(log["eval"].get("packages", {}).get("inspect_ai")),
        task_version=parse_text(log["eval"].get("task_version")),
        task_hash=_task_hash(log, samples),
        usage=_usage(log),
        samples=_samples(samples, values) if values else None,
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
    actual, requested = _selection(log["eval"]).get("limit_samples"), task.params.limit_samples
    # NOTE: a selection that is not a count is in the parameters of a detected task.
    requested = task.params.extra.get("limit_samples") if requested is None else requested
    if actual != requested:
        msg = f"{path.name} was made with limit {actual}; the spec requests {requested}"
        raise ResultsError(msg, hint="the file belongs to another run")


def _score(metric: InspectMetric, n_items: int) -> Score:
    """Return the score of a metric.

    Args:
        metric: the metric, with a value.
        n_items: items with a value of the scorer; a group has a part of them.
    """
    return Score(
        metric=metric.name,
        value=metric.value or 0.0,
        stderr=metric.stderr,
        n=metric.n,
        excluded=0 if metric.group is None or metric.n is None else max(0, n_items - metric.n),
        higher_is_better=metric.higher_is_better,
        mean_of_items=metric.mean_of_items,
    )


def _count_complete(samples: Sequence[InspectSample], source: tuple[str, str], log: Mapping[str, Any]) -> int:
    """Count the items that have a value in every epoch; an item without one counts as missing."""
    epochs = parse_count(log["eval"].get("config", {}).get("epochs")) or 1
    return sum(len(values) >= epochs for values in values_by_item(samples, source).values())


def _expected_items(task: HarnessTask, log: Mapping[str, Any]) -> int | None:
    config, dataset = as_mapping(log["eval"].get("config")), as_mapping(log["eval"].get("dataset"))
    total = parse_count(dataset.get("samples"))
    limit, ids = config.get("limit"), config.get("sample_id")
    if isinstance(limit, list):
        start, end = (parse_count(part) for part in limit)
        if start is None or end is None:
            return None
        return max(0, (end if total is None else min(end, total)) - start)
    if ids is not None:
        # NOTE: ids may be patterns, which `sample_ids` has resolved.
        chosen = dataset.get("sample_ids")
        return len(chosen) if isinstance(chosen, list) else len(ids) if isinstance(ids, list) else 1
    return expected_items(task.expected_items, total, task.params.limit_samples)


def _samples(samples: Sequence[InspectSample], values: Mapping[str, Mapping[int, float]]) -> Iterator[Sample]:
    """Yield the samples.

    Args:
        samples: the parsed samples.
        values: metric → position of a sample → value.
    """
    for position, sample in enumerate(samples):
        scores = {metric: by_sample[position] for metric, by_sample in values.items() if position in by_sample}
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
    steps = [as_mapping(step) for step in as_mapping(log.get("plan")).get("steps") or ()]
    scorers = [as_mapping(scorer) for scorer in log["eval"].get("scorers") or ()]
    # NOTE: versions of inspect, and its own conversion of a log, write other fields for the same content.
    content = {
        "steps": [{"solver": step.get("solver"), "params": step.get("params")} for step in steps],
        "scorers": [{"name": _bare_name(scorer), "options": scorer.get("options")} for scorer in scorers],
        "arguments": log["eval"].get("task_args"),
        "reducer": log["eval"].get("config", {}).get("epochs_reducer"),
        "items": sorted([sample_id, digest] for sample_id, digest in {(s.id, s.digest) for s in samples}),
    }
    return hashlib.sha256(json.dumps(normalized(content), sort_keys=True).encode()).hexdigest()


def _bare_name(scorer: Mapping[str, Any]) -> str:
    """Return a scorer's name without its package."""
    return str(scorer.get("name")).rpartition("/")[2]


def _usage(log: Mapping[str, Any]) -> dict[str, float]:
    counts = ((log.get("stats") or {}).get("model_usage") or {}).get(log["eval"].get("model")) or {}
    keys = {"prompt_tokens": "input_tokens", "completion_tokens": "output_tokens", "cost_usd": "total_cost"}
    usage = {name: value for name, key in keys.items() if (value := parse_float(counts.get(key))) is not None}
    results = log.get("results") or {}
    total, completed = parse_count(results.get("total_samples")), parse_count(results.get("completed_samples"))
    return usage | ({"error_rate": 1 - completed / total} if total and completed is not None else {})
