"""Results of lm-evaluation-harness: one `results_<time>.json`, and next to it a samples file for each task.

`read` verifies what the exit status does not show: lm-eval exits with 0 even if it could not save its samples, it
writes "N/A" for a standard error that it could not compute, a metric may cover fewer documents than were evaluated, and
the file does not record how the score of a group is weighted.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from nel_action.errors import ResultsError
from nel_action.formats.lm_eval_samples import Column, SamplesFile, read_samples, scan_samples
from nel_action.formats.parsing import (
    SEE_LOGS,
    DetectedResult,
    ParsedResult,
    SampleColumns,
    as_mapping,
    expected_items,
    find_files,
    limited_count,
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
from nel_action.model.results import Score
from nel_action.model.task import HarnessTask

__all__ = ["detect", "read"]

_RESULTS: Final = "results_*.json"
_PERPLEXITIES: Final = {"word_perplexity", "byte_perplexity", "bits_per_byte"}
"""Metrics that are functions of the ratio of two sums over the items."""


def detect(path: Path) -> list[DetectedResult]:
    """Find the tasks and groups that lm-eval evaluated, in files of any name.

    Raises:
        ResultsError: a file called `results_*.json` is not valid JSON.
    """
    named = [result for file in find_files(path, (_RESULTS, f"**/{_RESULTS}")) for result in _detect_file(file)]
    return named or [result for file in find_files(path, ("*.json", "*/*.json")) for result in _detect_other(file)]


def _detect_other(path: Path) -> Iterator[DetectedResult]:
    """Yield the results of a file with another name (`--output_path mmlu.json` of older versions)."""
    if path.match(_RESULTS):
        return
    try:
        yield from _detect_file(path)
    except ResultsError:
        # NOTE: a file of another program; its reader reports a damaged one.
        return


def _detect_file(path: Path) -> Iterator[DetectedResult]:
    data = load_json(path)
    if not isinstance(data.get("results"), dict) or not (path.match(_RESULTS) or "versions" in data):
        return
    # NOTE: lighteval's files have the same two keys.
    if "config_general" in data or "all" in data["results"]:
        return
    with schema_guard(path.name):
        config = data.get("config") or {}
        limit, model = config.get("limit"), _model(data, config)
        scored = [name for name, table in data["results"].items() if any(_metrics(as_mapping(table)))]
        groups = {
            member: group
            for group, members in (data.get("group_subtasks") or {}).items()
            if group in scored
            for member in members
        }
        for name in scored or data["results"]:
            task = recorded_task(name, limit=limit)
            yield DetectedResult(
                task=task, artifacts=path, model=model, part_of=groups.get(name), params={"limit_samples": limit}
            )


def _model(data: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """Return the model's name; `model_args` is a mapping only in recent versions of lm-eval."""
    argument = as_mapping(config.get("model_args")).get("model")
    return str(argument or data.get("model_name") or config.get("model") or "")


def read(path: Path, task: HarnessTask) -> ParsedResult:
    """Read the result of one task or group.

    Args:
        path: a results file, which may lack its samples, or a directory with the files of one run.
        task: the task as it was requested.

    Raises:
        ResultsError: files are missing, truncated, of another run or task, or contain no finite score.
    """
    is_own_run = not path.is_file()
    file = single_file(path.rglob(_RESULTS), kind=_RESULTS) if is_own_run else path
    data = load_json(file)
    with schema_guard(file.name):
        return _parse(file, data, task, needs_samples=is_own_run)


def _parse(path: Path, data: Mapping[str, Any], task: HarnessTask, *, needs_samples: bool) -> ParsedResult:
    _check_task_and_limit(data, task, path)
    table = _section(data, "results", task.name)
    names = _subtasks(data, task.name)
    files = _samples_files(data, names, path, is_required=needs_samples)
    values = [{metric: _item_values(metric, column) for metric, column in file.columns.items()} for file in files]
    scores = tuple(_scores(data, task, table, names, files))
    missing = [metric for metric, value in _metrics(table) if parse_float(value) is None]
    if not scores:
        msg = f"{path.name} contains no finite score of {task.name}"
        hint = "for a group without a score of its own, list its tasks instead" if not missing else SEE_LOGS
        raise ResultsError(msg, hint=hint)
    if len(files) > 1:
        _check_members(data, files)
    metrics = {score.metric for score in scores}
    values = [{metric: column for metric, column in file.items() if metric in metrics and column} for file in values]
    primary = select_primary_metric(task.metric, [metric for metric, _ in _metrics(table)])
    return ParsedResult(
        scores=with_direction(scores, primary, higher_is_better=task.higher_is_better),
        missing_scores=tuple(missing),
        primary_metric=primary,
        n_items=sum(file.effective for file in files) if files else _n_items(data, names, table),
        n_expected=_expected_items(task, [_count(data, name, "original") for name in names]),
        harness_version=parse_text(data.get("lm_eval_version")),
        task_version=_task_version(data, task.name, names),
        task_hash=_task_hash(data, names),
        n_shot=parse_count(_entry(data, "n-shot", task.name)),
        chat_template=parse_text(data.get("chat_template_sha")),
        usage=_usage(files),
        samples=read_samples(files, values) if any(values) else None,
        columns=_columns(files, values) if any(values) else None,
    )


def _columns(files: Sequence[SamplesFile], values: Sequence[Mapping[str, Sequence[float]]]) -> SampleColumns:
    """Join the columns of the tasks of a group."""
    if len(files) == 1:
        return SampleColumns(ids=files[0].ids, inputs=files[0].inputs, values=values[0])
    metrics = dict.fromkeys(metric for file in values for metric in file)
    return SampleColumns(
        ids=[f"{file.task}/{sample_id}" for file in files for sample_id in file.ids],
        inputs=[digest for file in files for digest in file.inputs],
        values={
            metric: [
                value
                for file, columns in zip(files, values, strict=True)
                for value in columns.get(metric, [math.nan] * len(file.ids))
            ]
            for metric in metrics
        },
    )


def _item_values(metric: str, column: Column) -> Sequence[float]:
    """Return one value for each item so that their mean is the score; empty if lm-eval stores no numbers.

    The score of a perplexity is a function of the ratio of two sums. Its items are linearised: their mean is the score,
    and the variance of their mean that of the score to first order (Wolter, Introduction to Variance Estimation, 2007,
    ch. 6).
    """
    if column.opaque or (column.weights is not None and len(column.weights) != len(column.values)):
        return ()
    if column.weights is None:
        return column.values
    total, weight, n = math.fsum(column.values), math.fsum(column.weights), len(column.values)
    ratio = total / weight
    match metric.partition(",")[0]:
        case "word_perplexity" | "byte_perplexity":
            score = slope = math.exp(-ratio)
        case "bits_per_byte":
            score, slope = -ratio / math.log(2), 1 / math.log(2)
        case _:
            return ()
    pairs = zip(column.values, column.weights, strict=True)
    return [score - slope * (value - ratio * size) * n / weight for value, size in pairs]


def _check_task_and_limit(data: Mapping[str, Any], task: HarnessTask, path: Path) -> None:
    """Reject results of another task or limit, which belong to an earlier run."""
    results = _section(data, "results")
    if task.name not in results:
        msg = f"{path.name} contains results of {', '.join(map(str, results)) or 'no task'}, not of {task.name}"
        raise ResultsError(msg, hint="a tag has no score of its own: list its tasks, or use a group")
    actual, requested = parse_float(as_mapping(data.get("config")).get("limit")), task.params.limit_samples
    if actual != (None if requested is None else float(requested)):
        made = f"with limit {actual:g}" if actual else "without a limit"
        msg = f"{path.name} was made {made}; the spec requests {'none' if requested is None else requested}"
        raise ResultsError(msg, hint="the file belongs to another run")


def _samples_files(
    data: Mapping[str, Any], names: Sequence[str], path: Path, *, is_required: bool
) -> list[SamplesFile]:
    """Scan the samples of all tasks; empty if a published file has none.

    Args:
        data: content of the results file.
        names: the tasks.
        path: the results file.
        is_required: the files are those of a run that was to save its samples.
    """
    stem = path.stem.removeprefix("results_")
    samples = {name: path.with_name(f"samples_{name}_{stem}.jsonl") for name in names}
    absent = [file for file in samples.values() if not _exists(file)]
    if absent and len(absent) == len(samples) and not is_required:
        return []
    if absent:
        msg = f"no {absent[0].name}: lm-eval could not save its samples"
        raise ResultsError(msg, hint="its disk may have been full; the log has the cause (`nel-action logs`)")
    return [scan_samples(file, name, *_counts(data, name, path)) for name, file in samples.items()]


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name that no file system accepts
        return False


def _counts(data: Mapping[str, Any], name: str, path: Path) -> tuple[int, int]:
    """Return how many items of a task were evaluated, and how many it has."""
    effective, original = _count(data, name, "effective"), _count(data, name, "original")
    if effective is None or original is None:
        msg = f"{path.name} does not report how many items of {name} were evaluated"
        raise ResultsError(msg)
    return effective, original


def _count(data: Mapping[str, Any], name: str, kind: str) -> int | None:
    return parse_count(as_mapping(_entry(data, "n-samples", name)).get(kind))


def _n_items(data: Mapping[str, Any], names: Sequence[str], table: Mapping[str, Any]) -> int | None:
    """Return the number of evaluated items of a result without samples; None if the file does not report it."""
    counts = [_count(data, name, "effective") for name in names]
    if counts and None not in counts:
        return sum(count for count in counts if count is not None)
    return parse_count(table.get("sample_len"))


def _subtasks(data: Mapping[str, Any], name: str) -> list[str]:
    """Return the tasks of a group in the file's order; a task is returned itself.

    A group that contains itself causes a RecursionError, which `schema_guard` reports.
    """
    children: Mapping[str, Sequence[str]] = data.get("group_subtasks") or {}
    if name in as_mapping(data.get("n-samples")) or not children.get(name):
        return [name]
    return list(dict.fromkeys(task for child in children[name] for task in _subtasks(data, child)))


def _metrics(table: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the metrics of a table, whose keys are `metric,filter` and `metric_stderr,filter`.

    Versions before 0.4 write no filter.
    """
    has_filters = any("," in key for key in table)
    for key, value in table.items():
        name, comma, _ = key.partition(",")
        is_number = parse_float(value) is not None or isinstance(value, float)
        if name.endswith("_stderr") or (has_filters and not comma):
            continue
        if comma or (is_number and name not in {"sample_len", "sample_count"}):
            yield key, value


def _scores(
    data: Mapping[str, Any],
    task: HarnessTask,
    table: Mapping[str, Any],
    names: Sequence[str],
    files: Sequence[SamplesFile],
) -> Iterator[Score]:
    """Yield the finite scores of a task.

    Args:
        data: content of the results file.
        task: the task as it was requested.
        table: its metrics.
        names: the tasks of a group.
        files: their samples.
    """
    directions = as_mapping(_entry(data, "higher_is_better", task.name))
    for metric, raw in _metrics(table):
        if (value := parse_float(raw)) is None:
            continue
        name, comma, filter_name = metric.partition(",")
        stderr = parse_float(table.get(f"{name}_stderr{comma}{filter_name}"))
        columns = [file.columns[metric] for file in files if metric in file.columns]
        aggregation = _aggregation(data, task.name, name)
        excluded = 0
        if len(names) == 1 and aggregation != "mean":
            # NOTE: a mean over NaN is NaN, so the aggregation leaves these items out.
            excluded = sum(column.without_value for column in columns)
        direction = directions.get(name)
        yield Score(
            metric=metric,
            value=value,
            stderr=stderr if stderr is not None and stderr >= 0 else None,
            n=sum(column.count for column in columns) if columns else None,
            excluded=excluded,
            higher_is_better=direction if isinstance(direction, bool) else None,
            mean_of_items=_is_mean(data, metric, value, names, aggregation),
        )


def _aggregation(data: Mapping[str, Any], task: str, metric: str) -> str | None:
    """Return how lm-eval aggregates a metric of a task; None if the file does not report it."""
    config = as_mapping(_entry(data, "configs", task))
    for entry in config.get("metric_list") or ():
        if as_mapping(entry).get("metric") == metric:
            return parse_text(entry.get("aggregation"))
    return None


def _is_mean(
    data: Mapping[str, Any], metric: str, value: float, names: Sequence[str], aggregation: str | None
) -> bool | None:
    """Return whether a score is defined as the mean of its items; None if the file does not determine it.

    Args:
        data: content of the results file.
        metric: the metric, as `metric,filter`.
        value: the score.
        names: the tasks of a group.
        aggregation: the aggregation of a single task.
    """
    if metric.partition(",")[0] in _PERPLEXITIES:
        return True
    if len(names) == 1:
        return None if aggregation is None else aggregation in {"mean", "nanmean"}
    # NOTE: the file does not record whether a group weights its tasks by their size; without, it is their plain mean.
    parts = [parse_float(as_mapping(_entry(data, "results", name)).get(metric)) for name in names]
    measured = [part for part in parts if part is not None]
    return not (measured and nearly_equal(value, math.fsum(measured) / len(measured)))


def _check_members(data: Mapping[str, Any], files: Sequence[SamplesFile]) -> None:
    """Reject a group of which a task's score is defined as the mean of its samples and is not.

    Raises:
        ResultsError: a task contradicts its samples.
    """
    for file in files:
        for metric, raw in _metrics(as_mapping(_entry(data, "results", file.task))):
            column, value = file.columns.get(metric), parse_float(raw)
            is_mean = _aggregation(data, file.task, metric.partition(",")[0]) == "mean"
            if not is_mean or column is None or value is None or column.opaque or column.without_value:
                continue
            measured = [item for item in column.values if not math.isnan(item)]
            if measured and not nearly_equal(value, math.fsum(measured) / len(measured)):
                mean = math.fsum(measured) / len(measured)
                msg = f"{metric} of {file.task} is {value:g} in the results, but {mean:g} over the samples"
                raise ResultsError(msg, hint="the files belong to different runs; run the task again")


def _expected_items(task: HarnessTask, originals: Sequence[int | None]) -> int | None:
    """Return how many items a complete run evaluates.

    Args:
        task: the task as it was requested.
        originals: number of items of each task of a group; None where the file does not report it.
    """
    limit, known = task.params.limit_samples, [original for original in originals if original is not None]
    total = sum(known) if known and len(known) == len(originals) else None
    if len(originals) == 1 or limit is None or total is None:
        return expected_items(task.expected_items, total, limit)
    # NOTE: lm-eval applies a limit to each task of a group.
    return sum(limited_count(original, limit) for original in known)


def _task_version(data: Mapping[str, Any], name: str, names: Sequence[str]) -> str | None:
    """Return the version of a task; of a group, its own and those of its tasks (`3 of 1.0`)."""
    version = parse_text(_entry(data, "versions", name))
    members = sorted({parse_text(_entry(data, "versions", member)) or "?" for member in names if member != name})
    return version if not members else f"{version or '?'} of {', '.join(members)}"


def _task_hash(data: Mapping[str, Any], names: Sequence[str]) -> str | None:
    """Return the hash of a task's prompts; of a group, a digest of its tasks' hashes."""
    hashes = {name: parse_text(_entry(data, "task_hashes", name)) for name in names}
    if None in hashes.values():
        return None
    if len(hashes) == 1:
        return next(iter(hashes.values()))
    return hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()


def _usage(files: Sequence[SamplesFile]) -> dict[str, float]:
    """Return the proportion of empty answers.

    lm-eval treats an answer that it cannot parse as empty and scores it as wrong.

    Raises:
        ResultsError: all answers are empty, so nothing was measured.
    """
    generated, empty = sum(file.generated for file in files), sum(file.empty for file in files)
    if generated and empty == generated:
        msg = f"all {empty} answers are empty: the endpoint returned no text"
        raise ResultsError(msg, hint="look for 'Could not parse generations' in the log, and check max_new_tokens")
    return {"empty_rate": empty / generated} if generated else {}


def _section(data: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    """Return a required section of the file.

    Raises:
        ResultsError: it is missing.
    """
    section: Any = data
    for key in keys:
        section = section.get(key) if isinstance(section, dict) else None
    if not isinstance(section, dict):
        msg = f"the results file has no {'.'.join(keys)}"
        raise ResultsError(msg, hint="supported are files of `lm-eval run` 0.4.10 or later")
    return section


def _entry(data: Mapping[str, Any], section: str, key: str) -> Any:  # noqa: ANN401 a JSON value
    return as_mapping(data.get(section)).get(key)
