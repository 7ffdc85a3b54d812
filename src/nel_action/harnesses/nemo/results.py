"""What the nemo-evaluator contract leaves: `results.yml`, `eval_factory_metrics.json`, and what its harness adds.

`results.yml` has scores but seldom says how many items they come from. So the files of the harness inside are read
as well where their format is known: records of single items (`nemo-evaluator-per-sample-outputs`), and the results of
lm-evaluation-harness. They add counts, digests and samples; a score comes from `results.yml` alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from nel_action.errors import ResultsError
from nel_action.formats.nemo_records import has_records, records
from nel_action.formats.parsing import (
    ParsedResult,
    choose_metric,
    directed,
    expected_items,
    finite,
    load_json,
    shaped,
    text,
    whole,
)
from nel_action.harnesses.nemo.artifacts import lm_eval_reading
from nel_action.model.results import Score
from nel_action.model.task import HarnessTask

__all__ = ["read_results"]

INTERRUPTED: Final = ".nemo_evaluator_interrupted"
"""Left by nemo-evaluator when it was ended by a signal, in which case it exits with 0."""
SERVER_ERROR: Final = ".nemo_evaluator_server_error"
"""Left by its adapter when it gave up on the endpoint."""


def read_results(task: HarnessTask, artifacts: Path) -> ParsedResult:
    """Read what one run of one task left.

    Raises:
        ResultsError: files are missing, truncated, of another run or task, or hold no finite score.
    """
    _check_markers(artifacts)
    data = _load(artifacts / "results.yml")
    with shaped("results.yml"):
        return _read(task, artifacts, data)


def _read(task: HarnessTask, artifacts: Path, data: Mapping[str, Any]) -> ParsedResult:
    config = _mapping(data.get("config"))
    params = _mapping(config.get("params"))
    _check_run(task, config, params)
    scores = tuple(_scores(_mapping(data.get("results")), text(params.get("task")), task.name))
    if not scores:
        msg = f"results.yml holds no finite score of {task.name}"
        raise ResultsError(msg, hint="the log says what its harness did (`nel-action logs`)")
    inner = lm_eval_reading(task, params, artifacts, scores)
    items = records(artifacts, scores) if has_records(artifacts) else None
    primary = choose_metric(task.metric, [score.metric for score in scores])
    n_items = _n_items(scores, primary, inner, items.count if items else None)
    return ParsedResult(
        scores=directed(_with_counts(scores, inner.n_items if inner else None), primary, task.higher_is_better),
        primary_metric=primary,
        n_items=n_items,
        n_expected=_n_expected(task, n_items, inner),
        harness_version=_version(data),
        task_version=inner.task_version if inner else None,
        task_hash=inner.task_hash if inner else None,
        n_shot=whole(_mapping(params.get("extra")).get("num_fewshot")),
        chat_template=inner.chat_template if inner else None,
        usage=_usage(artifacts),
        samples=items.samples if items else (inner.samples if inner else None),
    )


def _check_markers(artifacts: Path) -> None:
    if (artifacts / INTERRUPTED).exists():
        msg = "nemo-evaluator was interrupted; it exits with 0 all the same"
        raise ResultsError(msg, hint="run the task again")
    if (artifacts / SERVER_ERROR).exists():
        msg = "nemo-evaluator's adapter gave up on the endpoint"
        raise ResultsError(msg, hint="its log says what the endpoint answered (`nel-action logs`)")


def _load(path: Path) -> dict[str, Any]:
    """Read results.yml; a cut one is either no YAML or lacks its last parts."""
    try:
        # NOTE: not the parser in C: brackets nested too deep are the end of the process there.
        data = yaml.safe_load(path.read_bytes())
    except FileNotFoundError as error:
        msg = f"no {path.name}: the harness ended without writing its results"
        raise ResultsError(msg, hint="its log says why (`nel-action logs`)") from error
    except OSError as error:
        msg = f"cannot read {path}: {error.strerror or error}"
        raise ResultsError(msg) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        msg = f"{path.name} is not whole YAML: {' '.join(str(error).split())[:200]}"
        raise ResultsError(msg, hint="the job may have been ended while writing, or its disk was full") from error
    # NOTE: the keys are written in alphabetical order, so a file with `target` has everything before it.
    if not isinstance(data, dict) or not {"config", "results", "target"} <= data.keys():
        msg = f"{path.name} is not whole: config, results or target is missing"
        raise ResultsError(msg, hint="the job may have been ended while writing, or its disk was full")
    return data


def _check_run(task: HarnessTask, config: Mapping[str, Any], params: Mapping[str, Any]) -> None:
    """Refuse results of another task or another limit: they are an earlier run's."""
    wanted = str(_mapping(task.config.get("config")).get("type", task.name))
    found = str(config.get("type"))
    if found.rpartition(".")[2] != wanted.rpartition(".")[2]:
        msg = f"results.yml holds results of {found}, not of {wanted}"
        raise ResultsError(msg, hint="it is the result of another run")
    limit, asked = finite(params.get("limit_samples")), task.params.limit_samples
    if limit != (None if asked is None else float(asked)):
        msg = f"results.yml was made with limit_samples {params.get('limit_samples')}; the spec says {asked}"
        raise ResultsError(msg, hint="it is the result of another run")


def _scores(results: Mapping[str, Any], inner: str | None, name: str) -> Iterator[Score]:
    """Go through the scores of the task as a whole, or of all its parts where none stands for the whole."""
    groups, tasks = _mapping(results.get("groups")), _mapping(results.get("tasks"))
    for part in (inner or name, name, name.rpartition(".")[2]):
        for table in (groups, tasks):
            if part in table:
                yield from _metrics(table[part], "")
                return
    table = groups if len(groups) == 1 or not tasks else tasks
    for part, result in table.items():
        yield from _metrics(result, "" if len(table) == 1 else f"{part}/")


def _metrics(result: object, prefix: str) -> Iterator[Score]:
    for metric, inner in _mapping(_mapping(result).get("metrics")).items():
        for kind, score in _mapping(_mapping(inner).get("scores")).items():
            if (value := finite(_mapping(score).get("value"))) is not None:
                name = metric if kind == metric else f"{metric}.{kind}"
                stats = _mapping(_mapping(score).get("stats"))
                yield Score(metric=f"{prefix}{name}", value=value, stderr=_stderr(stats), n=whole(stats.get("count")))


def _stderr(stats: Mapping[str, Any]) -> float | None:
    """Return the standard error, or compute it from the population's standard deviation and the count."""
    given, deviation, count = finite(stats.get("stderr")), finite(stats.get("stddev")), whole(stats.get("count"))
    if given is None and deviation is not None and count is not None and count > 1:
        given = deviation / math.sqrt(count - 1)
    return given if given is not None and given >= 0 else None


def _with_counts(scores: tuple[Score, ...], count: int | None) -> tuple[Score, ...]:
    return tuple(score if score.n is not None else score.model_copy(update={"n": count}) for score in scores)


def _n_items(
    scores: tuple[Score, ...], primary: str | None, inner: ParsedResult | None, counted: int | None
) -> int | None:
    """Return the items by the best witness: the harness inside, its records, else the primary score's own count."""
    if inner is not None and inner.n_items is not None:
        return inner.n_items
    if counted is not None:
        return counted
    return next((score.n for score in scores if score.metric == primary), None)


def _n_expected(task: HarnessTask, n_items: int | None, inner: ParsedResult | None) -> int | None:
    """Return how many items there should be; where nothing counts them, only what was declared is asked for."""
    if inner is not None and inner.n_expected is not None:
        return inner.n_expected
    if n_items is None and task.expected_items is None:
        return None
    return expected_items(task.expected_items, None, task.params.limit_samples)


def _version(data: Mapping[str, Any]) -> str | None:
    versions = _mapping(_mapping(data.get("metadata")).get("versioning"))
    parts = [text(versions.get("nemo_evaluator")), text(data.get("git_hash"))]
    return "+".join(part for part in parts if part) or None


def _usage(artifacts: Path) -> dict[str, float]:
    """Read tokens, latency and the share of failed requests; where all failed, nothing was measured."""
    path = artifacts / "eval_factory_metrics.json"
    stats = _mapping(load_json(path).get("response_stats")) if path.exists() else {}
    count, good = whole(stats.get("count")), whole(stats.get("successful_count"))
    if not count or good is None:
        return {}
    if not good:
        msg = f"none of the {count} requests got an answer: {_mapping(stats.get('status_codes'))}"
        raise ResultsError(msg, hint="check the endpoint and its key")
    usage = {"requests": float(count), "error_rate": 1 - good / count}
    for name, key in {"prompt_tokens": "avg_prompt_tokens", "completion_tokens": "avg_completion_tokens"}.items():
        if (mean := finite(stats.get(key))) is not None:
            usage[name] = round(mean * good)
    if (latency := finite(stats.get("avg_latency_ms"))) is not None:
        usage["latency_ms"] = latency
    return usage


def _mapping(value: object) -> Mapping[str, Any]:
    """Return a mapping; what is none has nothing in it."""
    return value if isinstance(value, dict) else {}
