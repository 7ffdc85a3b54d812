"""Results of the nemo-evaluator container contract: `results.yml`, `eval_factory_metrics.json`, harness files.

`results.yml` contains scores but rarely the number of items they were computed from. Counts, digests and samples
therefore come from the files of the harness inside the container where their format is known: per-sample records
(`nemo_records`) and results of lm-evaluation-harness. Scores come from `results.yml` alone.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from nel_action.errors import ResultsError
from nel_action.formats import lm_eval
from nel_action.formats.nemo_records import has_records, read_records
from nel_action.formats.parsing import (
    SEE_LOGS,
    TRUNCATED,
    DetectedResult,
    ParsedResult,
    as_mapping,
    expected_items,
    find_files,
    load_json,
    parse_count,
    parse_float,
    parse_text,
    read_content,
    recorded_task,
    schema_guard,
    select_primary_metric,
    with_direction,
)
from nel_action.model.results import Sample, Score
from nel_action.model.task import HarnessTask

__all__ = ["detect", "read"]

_RESULTS: Final = "results.yml"
_RESULTS_LONG: Final = "results.yaml"
_INTERRUPTED: Final = ".nemo_evaluator_interrupted"
"""Written by nemo-evaluator when a signal stops it; its exit status is 0 all the same."""
_SERVER_ERROR: Final = ".nemo_evaluator_server_error"
"""Written by its adapter when it gives up on the endpoint."""


def detect(path: Path) -> list[DetectedResult]:
    """Find results of the container contract, one task each.

    Raises:
        ResultsError: a file is not valid YAML.
    """
    patterns = (_RESULTS, _RESULTS_LONG, f"**/{_RESULTS}", f"**/{_RESULTS_LONG}")
    return [result for file in find_files(path, patterns) if (result := _detected(file))]


def _detected(path: Path) -> DetectedResult | None:
    data = as_mapping(_load_yaml(path))
    # NOTE: other programs also write results.yaml.
    if path.name == _RESULTS_LONG and "results" not in data:
        return None
    config = data.get("config")
    name = str(config.get("type")) if isinstance(config, dict) else path.parent.name
    with schema_guard(path.name):
        params = as_mapping(config).get("params") or {}
        endpoint = (data.get("target") or {}).get("api_endpoint") or {}
        task = recorded_task(name, limit=params.get("limit_samples"))
        model = str(endpoint.get("model_id", ""))
        return DetectedResult(task=task, artifacts=path.parent, model=model, params=dict(params))


def read(path: Path, task: HarnessTask) -> ParsedResult:
    """Read the result of one task.

    Args:
        path: a directory with the artifacts of one run.
        task: the task as it was requested.

    Raises:
        ResultsError: files are missing, truncated, of another run or task, or contain no finite score.
    """
    _check_markers(path)
    file = path / _RESULTS
    if not file.exists() and (path / _RESULTS_LONG).exists():
        file = path / _RESULTS_LONG
    data = _load_results(file)
    with schema_guard(_RESULTS):
        return _parse(path, data, task)


def _parse(artifacts: Path, data: Mapping[str, Any], task: HarnessTask) -> ParsedResult:
    config = as_mapping(data.get("config"))
    params = as_mapping(config.get("params"))
    _check_task_and_limit(task, config, params)
    scores = tuple(_scores(as_mapping(data.get("results")), parse_text(params.get("task")), task.name))
    if not scores:
        msg = f"{_RESULTS} contains no finite score of {task.name}"
        raise ResultsError(msg, hint=SEE_LOGS)
    inner = _inner_lm_eval(task, params, artifacts, scores)
    records = read_records(artifacts, scores) if has_records(artifacts) else None
    primary = select_primary_metric(task.metric, [score.metric for score in scores])
    n_items = _n_items(scores, primary, inner, records.count if records else None)
    counted = _with_counts(scores, inner.n_items if inner else None)
    return ParsedResult(
        scores=with_direction(counted, primary, higher_is_better=task.higher_is_better),
        primary_metric=primary,
        n_items=n_items,
        n_expected=_n_expected(task, n_items, inner),
        harness_version=_harness_version(data),
        task_version=inner.task_version if inner else None,
        task_hash=inner.task_hash if inner else None,
        n_shot=parse_count(as_mapping(params.get("extra")).get("num_fewshot")),
        chat_template=inner.chat_template if inner else None,
        usage=_usage(artifacts),
        samples=records.samples if records else (inner.samples if inner else None),
    )


def _check_markers(artifacts: Path) -> None:
    if (artifacts / _INTERRUPTED).exists():
        msg = "nemo-evaluator was interrupted, although its exit status is 0"
        raise ResultsError(msg, hint="run the task again")
    if (artifacts / _SERVER_ERROR).exists():
        msg = "nemo-evaluator's adapter gave up on the endpoint"
        raise ResultsError(msg, hint="the log has the endpoint's responses: `nel-action logs`")


def _load_yaml(path: Path) -> object:
    content = read_content(path)
    try:
        # NOTE: not the C parser, which crashes the process on deeply nested brackets.
        return yaml.safe_load(content)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        msg = f"{path.name} is not valid YAML: {' '.join(str(error).split())[:200]}"
        raise ResultsError(msg, hint=TRUNCATED) from error


def _load_results(path: Path) -> dict[str, Any]:
    """Read results.yml; a truncated file is invalid YAML or lacks its last keys."""
    data = _load_yaml(path)
    # NOTE: nemo-evaluator sorts the keys, so a file that contains `target` contains everything before it.
    if not isinstance(data, dict) or not {"config", "results", "target"} <= data.keys():
        msg = f"{path.name} is incomplete: config, results or target is missing"
        raise ResultsError(msg, hint=TRUNCATED)
    return data


def _check_task_and_limit(task: HarnessTask, config: Mapping[str, Any], params: Mapping[str, Any]) -> None:
    """Reject results of another task or limit, which belong to an earlier run."""
    requested_type = str(as_mapping(task.config.get("config")).get("type", task.name))
    actual_type = str(config.get("type"))
    if actual_type.rpartition(".")[2] != requested_type.rpartition(".")[2]:
        msg = f"{_RESULTS} contains results of {actual_type}, not of {requested_type}"
        raise ResultsError(msg, hint="the file belongs to another run")
    actual, requested = parse_float(params.get("limit_samples")), task.params.limit_samples
    if actual != (None if requested is None else float(requested)):
        msg = f"{_RESULTS} was made with limit_samples {params.get('limit_samples')}; the spec requests {requested}"
        raise ResultsError(msg, hint="the file belongs to another run")


def _scores(results: Mapping[str, Any], inner_name: str | None, name: str) -> Iterator[Score]:
    """Yield the scores of the task itself or, if there are none, of its parts.

    Args:
        results: section `results` of the file.
        inner_name: the task's name inside the container, if it differs.
        name: the task's name.
    """
    groups, tasks = as_mapping(results.get("groups")), as_mapping(results.get("tasks"))
    for candidate in (inner_name or name, name, name.rpartition(".")[2]):
        for table in (groups, tasks):
            if candidate in table:
                yield from _metrics(table[candidate], "")
                return
    table = groups if len(groups) == 1 or not tasks else tasks
    for part, result in table.items():
        yield from _metrics(result, "" if len(table) == 1 else f"{part}/")


def _metrics(result: object, prefix: str) -> Iterator[Score]:
    for metric, entry in as_mapping(as_mapping(result).get("metrics")).items():
        for kind, score in as_mapping(as_mapping(entry).get("scores")).items():
            if (value := parse_float(as_mapping(score).get("value"))) is not None:
                name = metric if kind == metric else f"{metric}.{kind}"
                stats = as_mapping(as_mapping(score).get("stats"))
                count = parse_count(stats.get("count"))
                yield Score(metric=f"{prefix}{name}", value=value, stderr=_stderr(stats, count), n=count)


def _stderr(stats: Mapping[str, Any], count: int | None) -> float | None:
    """Return the standard error; if missing, sd / sqrt(n - 1) from the population's standard deviation."""
    stderr, deviation = parse_float(stats.get("stderr")), parse_float(stats.get("stddev"))
    if stderr is None and deviation is not None and count is not None and count > 1:
        stderr = deviation / math.sqrt(count - 1)
    return stderr if stderr is not None and stderr >= 0 else None


def _with_counts(scores: tuple[Score, ...], count: int | None) -> tuple[Score, ...]:
    return tuple(score if score.n is not None else score.model_copy(update={"n": count}) for score in scores)


def _inner_lm_eval(
    task: HarnessTask, params: Mapping[str, Any], artifacts: Path, scores: Sequence[Score]
) -> ParsedResult | None:
    """Read the files of lm-eval inside the container, if they are complete and agree with the container's scores.

    Args:
        task: the task as it was requested.
        params: parameters as recorded in results.yml.
        artifacts: directory with the artifacts of one run.
        scores: scores of results.yml.
    """
    if not any(artifacts.rglob("results_*.json")):
        return None
    name = parse_text(params.get("task")) or task.name
    try:
        inner = lm_eval.read(artifacts, dataclasses.replace(task, name=name))
    except ResultsError:
        # NOTE: these files are not part of the contract; without them, counts and samples are reported as missing.
        return None
    values = {_container_metric(score.metric): score.value for score in inner.scores}
    if any(values.get(score.metric, score.value) != score.value for score in scores):
        return None
    samples = None if inner.samples is None else _with_container_metrics(inner.samples)
    return dataclasses.replace(inner, samples=samples)


def _with_container_metrics(samples: Iterable[Sample]) -> Iterator[Sample]:
    for sample in samples:
        scores = {_container_metric(metric): value for metric, value in sample.scores.items()}
        yield sample.model_copy(update={"scores": scores})


def _container_metric(metric: str) -> str:
    """Return a metric's name in the container: `exact_match,strict` → `exact_match__strict`, `acc,none` → `acc`."""
    return metric.removesuffix(",none").replace(",", "__")


def _n_items(
    scores: tuple[Score, ...], primary: str | None, inner: ParsedResult | None, records: int | None
) -> int | None:
    """Return the number of items by the most reliable source.

    Args:
        scores: scores of results.yml.
        primary: the primary metric, whose own count comes last.
        inner: result of the harness inside the container, which comes first.
        records: number of per-sample records.
    """
    if inner is not None and inner.n_items is not None:
        return inner.n_items
    if records is not None:
        return records
    return next((score.n for score in scores if score.metric == primary), None)


def _n_expected(task: HarnessTask, n_items: int | None, inner: ParsedResult | None) -> int | None:
    """Return the expected number of items; if nothing counts the items, only a declared number is expected."""
    if inner is not None and inner.n_expected is not None:
        return inner.n_expected
    if n_items is None and task.expected_items is None:
        return None
    return expected_items(task.expected_items, None, task.params.limit_samples)


def _harness_version(data: Mapping[str, Any]) -> str | None:
    versions = as_mapping(as_mapping(data.get("metadata")).get("versioning"))
    parts = [parse_text(versions.get("nemo_evaluator")), parse_text(data.get("git_hash"))]
    return "+".join(part for part in parts if part) or None


def _usage(artifacts: Path) -> dict[str, float]:
    """Return tokens, latency in milliseconds and the proportion of failed requests.

    Raises:
        ResultsError: every request failed, so nothing was measured.
    """
    path = artifacts / "eval_factory_metrics.json"
    stats = as_mapping(load_json(path).get("response_stats")) if path.exists() else {}
    count, succeeded = parse_count(stats.get("count")), parse_count(stats.get("successful_count"))
    if not count or succeeded is None:
        return {}
    if not succeeded:
        msg = f"all {count} requests failed: status codes {dict(as_mapping(stats.get('status_codes')))}"
        raise ResultsError(msg, hint="check the endpoint and its key")
    usage = {"requests": float(count), "error_rate": 1 - succeeded / count}
    for name, key in {"prompt_tokens": "avg_prompt_tokens", "completion_tokens": "avg_completion_tokens"}.items():
        if (mean := parse_float(stats.get(key))) is not None:
            usage[name] = round(mean * succeeded)
    if (latency := parse_float(stats.get("avg_latency_ms"))) is not None:
        usage["latency_ms"] = latency
    return usage
