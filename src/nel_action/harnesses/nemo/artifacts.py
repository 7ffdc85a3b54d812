"""The files of lm-evaluation-harness inside a container's artifacts."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nel_action.errors import ResultsError
from nel_action.formats.lm_eval_results import read_results
from nel_action.formats.parsing import ParsedResult, text
from nel_action.model.results import Sample, Score
from nel_action.model.task import HarnessTask

__all__ = ["lm_eval_reading"]


def lm_eval_reading(
    task: HarnessTask, params: Mapping[str, Any], artifacts: Path, scores: Sequence[Score]
) -> ParsedResult | None:
    """Read lm-eval's own files where they are there, whole, and agree with the container's scores.

    The container renames metrics: `exact_match,strict` becomes `exact_match__strict`, `acc,none` becomes `acc`.
    """
    if not any(artifacts.rglob("results_*.json")):
        return None
    name = text(params.get("task")) or task.name
    try:
        reading = read_results(dataclasses.replace(task, name=name), artifacts)
    except ResultsError:
        # NOTE: these files are no part of the contract, whose own results were read; without them there are no counts
        # and no samples, which is what the caller sees.
        return None
    values = {_container_name(score.metric): score.value for score in reading.scores}
    if any(values.get(score.metric, score.value) != score.value for score in scores):
        return None
    samples = None if reading.samples is None else _renamed(reading.samples)
    return dataclasses.replace(reading, samples=samples)


def _renamed(samples: Iterator[Sample] | Any) -> Iterator[Sample]:  # noqa: ANN401 any iterable
    for sample in samples:
        scores = {_container_name(metric): value for metric, value in sample.scores.items()}
        yield sample.model_copy(update={"scores": scores})


def _container_name(metric: str) -> str:
    return metric.removesuffix(",none").replace(",", "__")
