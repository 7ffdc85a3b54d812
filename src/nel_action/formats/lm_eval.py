"""Results of lm-evaluation-harness: one `results_<time>.json`, and next to it a samples file for each task.

`read` verifies what the exit status does not show: lm-eval exits with 0 even if it could not save its samples, it
writes "N/A" for a standard error that it could not compute, a metric may cover fewer documents than were evaluated, and
the file does not record how the score of a group is weighted.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from nel_action.errors import ResultsError
from nel_action.formats.lm_eval_samples import MetricSummary, SamplesFile, read_samples, scan_samples
from nel_action.formats.parsing import (
    DetectedResult,
    ParsedResult,
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


def detect(path: Path) -> list[DetectedResult]:
    """Find the tasks and groups that lm-eval evaluated; a task that belongs to a group counts as part of it.

    Raises:
        ResultsError: a file of the right name is not valid JSON.
    """
    return [result for file in find_files(path, (_RESULTS, f"**/{_RESULTS}")) for result in _detect_file(file)]


def _detect_file(path: Path) -> Iterator[DetectedResult]:
    data = load_json(path)
    if not isinstance(data.get("results"), dict):
        return
    with schema_guard(path.name):
        config = data.get("config") or {}
        limit, model = config.get("limit"), _model(data, config)
        members = {name for names in (data.get("group_subtasks") or {}).values() for name in names}
        for name in data["results"]:
            if name not in members:
                task = recorded_task(name, limit=limit)
                yield DetectedResult(task=task, artifacts=path, model=model, params={"limit_samples": limit})


def _model(data: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """Return the model's name; `model_args` is a mapping only in recent versions of lm-eval."""
    argument = as_mapping(config.get("model_args")).get("model")
    return str(argument or data.get("model_name") or config.get("model") or "")


def read(path: Path, task: HarnessTask) -> ParsedResult:
    """Read the result of one task or group.

    Args:
        path: a results file, or a directory with the files of one run.
        task: the task as it was requested.

    Raises:
        ResultsError: files are missing, truncated, of another run or task, or contain no finite score.
    """
    file = path if path.is_file() else single_file(path.rglob(_RESULTS), kind=_RESULTS)
    data = load_json(file)
    with schema_guard(file.name):
        return _parse(file, data, task)


def _parse(path: Path, data: Mapping[str, Any], task: HarnessTask) -> ParsedResult:
    _check_task_and_limit(data, task, path)
    table = _section(data, "results", task.name)
    files = [_samples_file(data, name, path) for name in _subtasks(data, task.name)]
    summaries = _merge_summaries(files)
    scores = _scores(data, task, table, summaries)
    if not scores:
        msg = f"{path.name} contains no finite score of {task.name}"
        raise ResultsError(msg, hint="for a group without a score of its own, list its tasks instead")
    _check_means(data, scores, files, summaries)
    means = {score.metric for score in scores if _is_sample_mean(score, summaries.get(score.metric))}
    primary = select_primary_metric(task.metric, [score.metric for score in scores])
    return ParsedResult(
        scores=with_direction(scores, primary, higher_is_better=task.higher_is_better),
        primary_metric=primary,
        n_items=sum(file.effective for file in files),
        n_expected=_expected_items(task, files),
        harness_version=parse_text(data.get("lm_eval_version")),
        task_version=_task_version(data, task.name, files),
        task_hash=_task_hash(data, files),
        n_shot=parse_count(_entry(data, "n-shot", task.name)),
        chat_template=parse_text(data.get("chat_template_sha")),
        usage=_usage(files),
        samples=read_samples(files, means) if means else None,
    )


def _check_task_and_limit(data: Mapping[str, Any], task: HarnessTask, path: Path) -> None:
    """Reject results of another task or limit, which belong to an earlier run."""
    results = _section(data, "results")
    if task.name not in results:
        msg = f"{path.name} contains results of {', '.join(map(str, results)) or 'no task'}, not of {task.name}"
        raise ResultsError(msg, hint="a tag has no score of its own: list its tasks, or use a group")
    actual, requested = parse_float(_section(data, "config").get("limit")), task.params.limit_samples
    if actual != (None if requested is None else float(requested)):
        made = f"with limit {actual:g}" if actual else "without a limit"
        msg = f"{path.name} was made {made}; the spec requests {'none' if requested is None else requested}"
        raise ResultsError(msg, hint="the file belongs to another run")


def _samples_file(data: Mapping[str, Any], name: str, path: Path) -> SamplesFile:
    """Scan the samples of a task; there must be as many as lm-eval reports to have evaluated."""
    counts = _section(data, "n-samples", name)
    effective, original = parse_count(counts.get("effective")), parse_count(counts.get("original"))
    if effective is None or original is None:
        msg = f"{path.name} does not report how many items of {name} were evaluated"
        raise ResultsError(msg)
    samples = path.with_name(f"samples_{name}_{path.stem.removeprefix('results_')}.jsonl")
    if not samples.exists():
        msg = f"no {samples.name}: lm-eval could not save its samples"
        raise ResultsError(msg, hint="its disk may have been full; the log has the cause (`nel-action logs`)")
    return scan_samples(samples, name, effective, original)


def _subtasks(data: Mapping[str, Any], name: str) -> list[str]:
    """Return the tasks of a group in the file's order; a task is returned itself.

    A group that contains itself causes a RecursionError, which `schema_guard` reports.
    """
    children: Mapping[str, Sequence[str]] = data.get("group_subtasks") or {}
    if name in _section(data, "n-samples"):
        return [name]
    return list(dict.fromkeys(task for child in children.get(name, ()) for task in _subtasks(data, child)))


def _merge_summaries(files: Sequence[SamplesFile]) -> dict[str, MetricSummary]:
    total: dict[str, MetricSummary] = {}
    for file in files:
        for metric, summary in file.summaries.items():
            total[metric] = total.get(metric, MetricSummary()) + summary
    return total


def _scores(
    data: Mapping[str, Any], task: HarnessTask, table: Mapping[str, Any], summaries: Mapping[str, MetricSummary]
) -> tuple[Score, ...]:
    """Parse the table of a task, whose keys are `metric,filter` and `metric_stderr,filter`."""
    directions = _entry(data, "higher_is_better", task.name) or {}
    scores = []
    for metric, raw in table.items():
        name, comma, filter_name = metric.partition(",")
        if not comma or name.endswith("_stderr") or (value := parse_float(raw)) is None:
            continue
        stderr = parse_float(table.get(f"{name}_stderr,{filter_name}"))
        summary = summaries.get(metric)
        direction = directions.get(name)
        scores.append(
            Score(
                metric=metric,
                value=value,
                stderr=stderr if stderr is not None and stderr >= 0 else None,
                n=summary.count if summary else None,
                higher_is_better=direction if isinstance(direction, bool) else None,
            )
        )
    return tuple(scores)


def _check_means(
    data: Mapping[str, Any],
    scores: Sequence[Score],
    files: Sequence[SamplesFile],
    summaries: Mapping[str, MetricSummary],
) -> None:
    """Reject a score that lm-eval aggregates as a mean and that differs from the mean of its samples."""
    if len(files) != 1:
        return
    config = _entry(data, "configs", files[0].task) or {}
    means = {m.get("metric") for m in config.get("metric_list") or () if m.get("aggregation") == "mean"}
    for score in scores:
        summary = summaries.get(score.metric)
        if score.metric.partition(",")[0] not in means or summary is None or not summary.all_finite:
            continue
        if not _is_sample_mean(score, summary):
            msg = f"{score.metric} is {score.value:g} in the results, but {summary.mean:g} over the samples"
            raise ResultsError(msg, hint="the files belong to different runs; run the task again")


def _is_sample_mean(score: Score, summary: MetricSummary | None) -> bool:
    """Return whether a score is the plain mean of its samples; only then can samples be compared in pairs."""
    if summary is None or not summary.all_finite or not summary.count:
        return False
    return nearly_equal(score.value, summary.mean)


def _expected_items(task: HarnessTask, files: Sequence[SamplesFile]) -> int | None:
    limit = task.params.limit_samples
    if len(files) == 1 or limit is None:
        return expected_items(task.expected_items, sum(file.original for file in files), limit)
    # NOTE: lm-eval applies a limit to each task of a group.
    return sum(limited_count(file.original, limit) for file in files)


def _task_version(data: Mapping[str, Any], name: str, files: Sequence[SamplesFile]) -> str | None:
    """Return the version of a task; of a group, its own and those of its tasks (`3 of 1.0`)."""
    version = parse_text(_entry(data, "versions", name))
    members = sorted({parse_text(_entry(data, "versions", file.task)) or "?" for file in files if file.task != name})
    return version if not members else f"{version or '?'} of {', '.join(members)}"


def _task_hash(data: Mapping[str, Any], files: Sequence[SamplesFile]) -> str | None:
    """Return the hash of a task's prompts; of a group, a digest of its tasks' hashes."""
    hashes = {file.task: parse_text(_entry(data, "task_hashes", file.task)) for file in files}
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
