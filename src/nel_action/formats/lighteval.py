"""Results of lighteval (`results_<time>.json`): one task for each entry.

The items are in `details/<model>/<time>/details_<task>_<time>.parquet` if lighteval was run with `--save-details`;
reading them needs pyarrow. Otherwise a task is judged by its standard errors. The average of a suite
(`mmlu:_average|0`) stands above its tasks like a group of lm-eval: they are judged if the policy names them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
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
    truncate_text,
)
from nel_action.model.results import Sample, Score
from nel_action.model.task import HarnessTask

__all__ = ["detect", "read"]

logger = logging.getLogger(__name__)

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
        samples = _samples(path, task.name)
        n_items = len(samples) if samples is not None and n_items is None else n_items
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
            samples=samples,
            sample_metrics=None if samples is None else {name for sample in samples for name in sample.scores},
        )


def _samples(path: Path, task: str) -> list[Sample] | None:
    """Return the items of a task; None if there are no details, or without pyarrow.

    Args:
        path: the results file, `<output>/results/<model>/results_<time>.json`.
        task: name of the task.

    Raises:
        ResultsError: the details are damaged.
    """
    file = _details_file(path, task)
    if file is None:
        return None
    if find_spec("pyarrow") is None:
        logger.warning("%s: the items of %s need pyarrow; run `pip install pyarrow` to pair them", path.name, task)
        return None
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows = pq.read_table(file, columns=["doc", "metric", "model_response"]).to_pylist()
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        msg = f"cannot read {file.name}: {error}"
        raise ResultsError(msg, hint="the file is truncated or damaged") from error
    with schema_guard(file.name):
        return [_sample(row) for row in rows]


def _details_file(path: Path, task: str) -> Path | None:
    """Return the details of a task; None if there are none."""
    time = path.stem.removeprefix("results_")
    for parent in path.parents:
        if parent.name == "results":
            folder = parent.with_name("details") / path.parent.relative_to(parent) / time
            file = folder / f"details_{task}_{time}.parquet"
            return file if file.is_file() else None
    return None


def _sample(row: Mapping[str, Any]) -> Sample:
    """Return one item; values that are no finite numbers are left out."""
    doc, response = as_mapping(row["doc"]), as_mapping(row.get("model_response"))
    values = {name: parse_float(value) for name, value in as_mapping(row["metric"]).items()}
    texts = response.get("text") or ()
    return Sample(
        id=str(doc["id"]),
        scores={name: value for name, value in values.items() if value is not None},
        input=truncate_text(str(doc["query"])),
        output=truncate_text(str(texts[0])) if texts else None,
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
