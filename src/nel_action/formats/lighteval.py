"""Results of lighteval (`results_<time>.json`): one task for each entry, judged by its standard errors.

The file has no scores of items. The average of a suite (`mmlu:_average|0`) stands above its tasks like a group of
lm-eval: they are judged if the policy names them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from nel_action.errors import ResultsError
from nel_action.formats.cases import is_json_of
from nel_action.formats.parsing import (
    DetectedResult,
    ParsedResult,
    as_mapping,
    find_files,
    load_json,
    parse_count,
    parse_float,
    parse_text,
    recorded_task,
    schema_guard,
    select_primary_metric,
)
from nel_action.model.results import Score
from nel_action.model.task import HarnessTask

__all__ = ["detect", "read"]

_PATTERNS: Final = ("results_*.json", "**/results_*.json", "*.json")
_AVERAGE: Final = ":_average|"
_TOTAL: Final = "all"
"""Mean over all tasks of the run, which is no task."""


def detect(path: Path) -> list[DetectedResult]:
    """Find tasks.

    Raises:
        ResultsError: a file of lighteval does not have the expected structure.
    """
    detected = []
    for file in find_files(path, _PATTERNS):
        data = is_json_of(file, "config_general", "results")
        if data is None or not isinstance(data["results"], dict):
            continue
        with schema_guard(file.name):
            general = as_mapping(data["config_general"])
            model = general.get("model_name") or as_mapping(general.get("model_config")).get("model_name")
            limit = general.get("max_samples")
            suites = {name.partition(_AVERAGE)[0]: name for name in data["results"] if _AVERAGE in name}
            for name in data["results"]:
                suite, colon, _ = name.partition(":")
                part_of = suites.get(suite) if colon and _AVERAGE not in name else None
                if name != _TOTAL:
                    task = recorded_task(name, limit=limit)
                    params = {"limit_samples": limit}
                    detected.append(
                        DetectedResult(
                            task=task, artifacts=file, model=str(model or ""), part_of=part_of, params=params
                        )
                    )
    return detected


def read(path: Path, task: HarnessTask) -> ParsedResult:
    """Read one task.

    Args:
        path: the results file.
        task: the task as it was detected.

    Raises:
        ResultsError: the file is truncated, lacks the task, or contains no finite score of it.
    """
    data = load_json(path)
    with schema_guard(path.name):
        table = as_mapping(data["results"]).get(task.name)
        if not isinstance(table, dict):
            msg = f"{path.name} contains no results of {task.name}"
            raise ResultsError(msg)
        config = as_mapping(as_mapping(data.get("config_tasks")).get(task.name))
        n_items = parse_count(config.get("effective_num_docs"))
        scores = tuple(_scores(table, config, n_items))
        names = [name for name in table if not name.endswith("_stderr")]
        if not scores:
            msg = f"{path.name} contains no finite score of {task.name}"
            raise ResultsError(msg)
        hashes = as_mapping(as_mapping(as_mapping(data.get("summary_tasks")).get(task.name)).get("hashes"))
        return ParsedResult(
            scores=scores,
            missing_scores=tuple(name for name in names if name not in {score.metric for score in scores}),
            primary_metric=select_primary_metric(task.metric, names),
            n_items=n_items,
            harness_version=parse_text(as_mapping(data["config_general"]).get("lighteval_sha")),
            task_version=parse_text(config.get("version")),
            task_hash=parse_text(hashes.get("hash_full_prompts")),
            n_shot=parse_count(config.get("num_fewshots")),
        )


def _scores(table: Mapping[str, Any], config: Mapping[str, Any], n_items: int | None) -> Iterator[Score]:
    """Yield the finite scores.

    Args:
        table: metrics of the task.
        config: its entry in `config_tasks`; empty for an average.
        n_items: number of items.
    """
    metrics = {str(entry["metric_name"]): entry for entry in config.get("metrics") or ()}
    for name, raw in table.items():
        if name.endswith("_stderr") or (value := parse_float(raw)) is None:
            continue
        stderr, direction = (
            parse_float(table.get(f"{name}_stderr")),
            as_mapping(metrics.get(name)).get("higher_is_better"),
        )
        yield Score(
            metric=name,
            value=value,
            stderr=stderr if stderr is not None and stderr >= 0 else None,
            n=n_items,
            higher_is_better=direction if isinstance(direction, bool) else None,
        )
