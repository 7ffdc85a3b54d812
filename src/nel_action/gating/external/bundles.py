"""Bundles of nemo-evaluator 0.3 and later: `eval-*.json`, and `results.jsonl` beside it with every answer."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from nel_action.errors import ResultsError
from nel_action.gating.external.foreign import Records, foreign_run, foreign_task, unreadable
from nel_action.gating.items import json_batches
from nel_action.gating.result_set import ResultSet
from nel_action.model.results import Score, TaskResult

__all__ = ["read_bundles"]

_TWO_SIDED_95: Final = 1.959963984540054
_PRIMARY: Final = ("mean_reward", "pass@1")


def read_bundles(files: Sequence[Path], *, name: str) -> ResultSet | None:
    """Read bundles, one benchmark each; None where the files are something else.

    Raises:
        ResultsError: a file is not whole JSON, or two are of the same benchmark.
    """
    tasks: dict[str, tuple[TaskResult, Records]] = {}
    together = Counter(file.parent for file in files)
    for file in files:
        bundle = _load(file)
        if bundle is None:
            continue
        task = bundle["benchmark"]["name"]
        if task in tasks:
            msg = f"{task} is there twice: {file} and another"
            raise ResultsError(msg, hint="name the folder of one run")
        tasks[task] = _task(task, bundle, file, alone=together[file.parent] == 1)
    return foreign_run(tasks, name=name) if tasks else None


def _load(file: Path) -> dict[str, Any] | None:
    try:
        data = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        msg = f"cannot read {file}: {error}"
        raise ResultsError(msg) from error
    benchmark = data.get("benchmark") if isinstance(data, dict) else None
    return data if isinstance(benchmark, dict) and isinstance(benchmark.get("name"), str) else None


def _task(task: str, bundle: Mapping[str, Any], file: Path, *, alone: bool) -> tuple[TaskResult, Records]:
    config = bundle.get("config") if isinstance(bundle.get("config"), dict) else {}
    assert config is not None  # noqa: S101 - for the type checker
    n = bundle["benchmark"].get("samples")
    scores = tuple(_scores(bundle["benchmark"].get("scores"), n if isinstance(n, int) else None))
    result = foreign_task(
        task,
        str(config.get("model", "")),
        scores=scores,
        primary_metric=next((metric for metric in _PRIMARY if any(one.metric == metric for one in scores)), None),
        n_items=n,
        harness="nemo-evaluator",
        harness_version=bundle.get("sdk_version"),
        params={**config, "limit_samples": config.get("max_problems")},
    )
    path = file.parent / "results.jsonl"
    # NOTE: bundles in one folder write over each other's answers; whose they are cannot be told.
    if not alone and path.exists():
        shared = ResultsError(f"{file.parent} holds several bundles and one results.jsonl")
        return unreadable(task, result.model, shared), lambda _: None
    return result, lambda metric: _records(path, metric) if path.exists() and _value(metric) else None


def _scores(table: object, n: int | None) -> Iterator[Score]:
    for metric, entry in table.items() if isinstance(table, dict) else ():
        value = _number(entry.get("value")) if isinstance(entry, dict) else None
        if value is None:
            continue
        low, high = _number(entry.get("ci_lower")), _number(entry.get("ci_upper"))
        known = low is not None and high is not None and high > low
        stderr = (high - low) / (2 * _TWO_SIDED_95) if known and low is not None and high is not None else None
        yield Score(metric=metric, value=value, stderr=stderr, n=n, higher_is_better=True)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _value(metric: str) -> Callable[[Mapping[str, Any]], object] | None:
    """Say how a record tells a metric; None where it takes several answers to one question."""
    if metric == "mean_reward":
        return lambda record: record["reward"]
    if metric == "pass@1":
        return lambda record: float(_finite(record["reward"]) > 0)
    if metric.startswith("scorer:"):
        return lambda record: float(bool(record["scoring_details"][metric]["correct"]))
    return None


def _finite(value: object) -> float:
    number = _number(value)
    if number is None:
        msg = "reward is not a finite number"
        raise ValueError(msg)
    return number


def _records(path: Path, metric: str) -> Iterator[dict[str, Any]]:
    value = _value(metric)
    try:
        with path.open("rb") as lines:
            for before, records in json_batches(lines):
                for number, record in enumerate(records, before + 1):
                    yield _record(record, metric, value(record) if value else None, number)
    except (OSError, KeyError, TypeError, AttributeError) as error:
        msg = f"{path} is not whole: {error!r}"
        raise ResultsError(msg) from error


def _record(record: Mapping[str, Any], metric: str, value: object, number: int) -> dict[str, Any]:
    place = record["problem_idx"]
    if isinstance(place, bool) or not isinstance(place, int | str):
        msg = f"line {number}: problem_idx is {place!r}"
        raise ValueError(msg)  # noqa: TRY004 - bad data, not a bad call
    prompt = record.get("prompt")
    text = prompt if prompt is None or isinstance(prompt, str) else json.dumps(prompt, sort_keys=True)
    return {"id": str(place), "repeat": record.get("repeat", 0), "scores": {metric: value}, "input": text}
