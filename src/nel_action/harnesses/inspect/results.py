"""What inspect leaves: one log with scores and samples, in JSON or in its own zipped format.

A log counts only where its status is `success` and its limit is the spec's. The traps: a standard error of 0.0 stands
for "cannot say" where there is one item or one cluster; a sample that failed may be left out of the mean; a value that
is no number is taken for 0 by inspect, and here for none.
"""

from __future__ import annotations

import hashlib
import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nel_action.errors import ResultsError
from nel_action.formats.parsing import (
    ParsedResult,
    choose_metric,
    directed,
    expected_items,
    finite,
    only_file,
    shaped,
    text,
    whole,
)
from nel_action.harnesses.inspect.log import Item, load_log
from nel_action.model.results import Sample, Score
from nel_action.model.task import HarnessTask

__all__ = ["read_log"]

MEANS = {"accuracy", "mean"}
"""Metrics that inspect's `stderr` belongs to."""


def read_log(task: HarnessTask, artifacts: Path) -> ParsedResult:
    """Read what one run of one task left: in a folder that holds no other log, or its log itself.

    Raises:
        ResultsError: the log is missing, truncated, unfinished, of another run or task, or holds no finite score.
    """
    path = artifacts if artifacts.is_file() else only_file(artifacts.glob("*.json"), wanted="inspect logs")
    log, items = load_log(path)
    with shaped(path.name):
        return _read(task, path, log, items)


def _read(task: HarnessTask, path: Path, log: Mapping[str, Any], items: Sequence[Item]) -> ParsedResult:
    _check_run(log, task, path)
    scores = tuple(_scores(log, items))
    if not scores:
        msg = f"{path.name} holds no finite score"
        raise ResultsError(msg, hint="does the task have a scorer?")
    primary = choose_metric(task.metric, [score.metric for score in scores])
    paired = {score.metric: scorer for score in scores if (scorer := _pairs(score, items))}
    return ParsedResult(
        scores=directed(scores, primary, task.higher_is_better),
        primary_metric=primary,
        n_items=len(_complete(items, _scorer(primary, scores), log)),
        n_expected=_expected(task, log),
        harness_version=text(log["eval"].get("packages", {}).get("inspect_ai")),
        task_version=text(log["eval"].get("task_version")),
        task_hash=_hash(log, items),
        usage=_usage(log),
        samples=_samples(items, paired) if paired else None,
    )


def _check_run(log: Mapping[str, Any], task: HarnessTask, path: Path) -> None:
    """Refuse a log that did not end well, or is another task's or another limit's."""
    if (status := log.get("status")) != "success" or log.get("invalidated"):
        reason = str((log.get("error") or {}).get("message", "")).strip().partition("\n")[0][:200]
        msg = f"{path.name} has status {status}" + (f": {reason}" if reason else "")
        raise ResultsError(msg, hint="inspect's own log says more (`nel-action logs`)")
    name, wanted = str(log["eval"].get("task")), task.name.rpartition("@")[2].removesuffix(".py")
    if name.rpartition("/")[2] != wanted.rpartition("/")[2] and not task.name.endswith(".py"):
        msg = f"{path.name} is the log of {name}, not of {wanted}"
        raise ResultsError(msg, hint="it is the result of another run")
    limit, asked = log["eval"].get("config", {}).get("limit"), task.params.limit_samples
    if limit != asked:
        msg = f"{path.name} was made with limit {limit}; the spec says {asked}"
        raise ResultsError(msg, hint="it is the result of another run")


def _scores(log: Mapping[str, Any], items: Sequence[Item]) -> Iterator[Score]:
    for entry in (log.get("results") or {}).get("scores") or ():
        name, metrics = entry.get("name"), entry.get("metrics") or {}
        scored = whole(entry.get("scored_samples"))
        stderr = _stderr(metrics, scored, [item.values[name] for item in items if name in item.values])
        for key, metric in metrics.items():
            value = finite(metric.get("value"))
            if value is not None and "stderr" not in key:
                yield Score(metric=f"{name}.{key}", value=value, stderr=stderr if key in MEANS else None, n=scored)


def _stderr(metrics: Mapping[str, Any], scored: int | None, values: Sequence[float]) -> float | None:
    """Return the standard error; none where inspect's 0.0 says only that it could not be computed."""
    stderr = finite((metrics.get("stderr") or metrics.get("bootstrap_stderr") or {}).get("value"))
    if stderr is None or stderr < 0 or scored is None or scored < 2:  # noqa: PLR2004 one item has no spread
        return None
    return None if stderr == 0 and len(set(values)) > 1 else stderr


def _pairs(score: Score, items: Sequence[Item]) -> str | None:
    """Return the scorer whose values' mean over items the score is; only then do pairs of samples speak about it."""
    scorer = score.metric.rpartition(".")[0]
    means = [statistics.fmean(values) for values in _by_item(items, scorer).values()]
    if means and abs(statistics.fmean(means) - score.value) <= 1e-6 * max(1.0, abs(score.value)):
        return scorer
    return None


def _by_item(items: Sequence[Item], scorer: str) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for item in items:
        if scorer in item.values:
            found.setdefault(item.id, []).append(item.values[scorer])
    return found


def _scorer(primary: str | None, scores: Sequence[Score]) -> str:
    names = {score.metric for score in scores}
    return (primary if primary in names and primary else scores[0].metric).rpartition(".")[0]


def _complete(items: Sequence[Item], scorer: str, log: Mapping[str, Any]) -> list[str]:
    """Return the items that have a value in every epoch; an item with a gap counts as missing."""
    epochs = whole(log["eval"].get("config", {}).get("epochs")) or 1
    return [name for name, values in _by_item(items, scorer).items() if len(values) >= epochs]


def _expected(task: HarnessTask, log: Mapping[str, Any]) -> int | None:
    total = whole(log["eval"].get("dataset", {}).get("samples"))
    return expected_items(task.expected_items, total, task.params.limit_samples)


def _samples(items: Sequence[Item], paired: Mapping[str, str]) -> Iterator[Sample]:
    for item in items:
        scores = {metric: item.values[scorer] for metric, scorer in paired.items() if scorer in item.values}
        if scores:
            yield Sample(
                id=item.id,
                scores=scores,
                repeat=item.epoch - 1,
                input=item.input,
                output=item.output,
                expected=item.target,
            )


def _hash(log: Mapping[str, Any], items: Sequence[Item]) -> str:
    """Digest what is asked and how it is scored: solver steps, scorers, arguments, questions and answers."""
    asked = {
        "steps": (log.get("plan") or {}).get("steps"),
        "scorers": log["eval"].get("scorers"),
        "arguments": log["eval"].get("task_args"),
        "reducer": log["eval"].get("config", {}).get("epochs_reducer"),
        "items": sorted({(item.id, item.asked) for item in items}),
    }
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def _usage(log: Mapping[str, Any]) -> dict[str, float]:
    used = ((log.get("stats") or {}).get("model_usage") or {}).get(log["eval"].get("model")) or {}
    names = {"prompt_tokens": "input_tokens", "completion_tokens": "output_tokens", "cost_usd": "total_cost"}
    usage = {ours: value for ours, theirs in names.items() if (value := finite(used.get(theirs))) is not None}
    results = log.get("results") or {}
    total, completed = whole(results.get("total_samples")), whole(results.get("completed_samples"))
    return usage | ({"error_rate": 1 - completed / total} if total and completed is not None else {})
