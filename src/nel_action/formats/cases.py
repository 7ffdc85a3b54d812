"""Results that are lists of cases, each with values: what the readers of test reports and of similar files share."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nel_action.errors import ResultsError
from nel_action.formats.parsing import ParsedResult, load_json, parse_float, select_primary_metric, truncate_text
from nel_action.model.results import Sample, Score
from nel_action.model.task import HarnessTask

__all__ = ["Case", "finite", "is_json_of", "json_files", "parsed_cases"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One case of a test report."""

    id: str
    values: Mapping[str, float] = field(default_factory=dict)
    """Metric → value; empty for a case that was not measured."""
    unmeasured: bool = False
    """The case was to be measured and has no value, because the program failed."""
    input: str | None = None
    output: str | None = None
    expected: str | None = None


def parsed_cases(
    cases: Sequence[Case],
    task: HarnessTask,
    *,
    metrics: Mapping[str, bool | None],
    n_expected: int | None = None,
    **fields: Any,  # noqa: ANN401 fields of `ParsedResult`
) -> ParsedResult:
    """Return the result of a list of cases; each score is the mean of its items.

    Args:
        cases: the cases in the order of the file; a repeated id is a repeat of the item.
        task: the task as it was requested.
        metrics: metric → whether larger values are better, the primary one first.
        n_expected: cases of a complete run, by default those that were to be measured.
        fields: other fields of the result.

    Raises:
        ResultsError: no case has a value.
    """
    measured = [case for case in cases if case.values]
    ids = {case.id for case in measured}
    failed = {case.id for case in cases if case.unmeasured and not case.values}
    if not ids:
        msg = f"no case of {task.display} was measured: {len(cases)} were skipped or failed to run"
        raise ResultsError(msg, hint="run at least one of them")
    scores = []
    for metric, higher_is_better in metrics.items():
        by_item: dict[str, list[float]] = {}
        for case in measured:
            if metric in case.values:
                by_item.setdefault(case.id, []).append(case.values[metric])
        if by_item:
            value = math.fsum(math.fsum(values) / len(values) for values in by_item.values()) / len(by_item)
            score = Score(
                metric=metric,
                value=value,
                n=len(by_item),
                higher_is_better=higher_is_better,
                mean_of_items=True,
                bounds=(0.0, 1.0) if metric.rpartition(".")[2] == "pass_rate" else None,
            )
            scores.append(score)
    names = [score.metric for score in scores]
    return ParsedResult(
        scores=tuple(scores),
        missing_scores=tuple(metric for metric in metrics if metric not in names),
        primary_metric=select_primary_metric(task.metric, list(metrics)),
        n_items=len(ids - failed),
        n_expected=len(ids | failed) if n_expected is None else n_expected,
        samples=_samples(measured),
        sample_metrics=names,
        **fields,
    )


def _samples(cases: Iterable[Case]) -> Iterator[Sample]:
    repeats: Counter[str] = Counter()
    for case in cases:
        yield Sample(
            id=case.id,
            scores=dict(case.values),
            repeat=repeats[case.id],
            input=truncate_text(case.input),
            output=truncate_text(case.output),
            expected=truncate_text(case.expected),
        )
        repeats[case.id] += 1


def json_files(path: Path) -> list[Path]:
    """Return the JSON files of a path: itself, or those in the directory and in its subdirectories."""
    if not path.is_dir():
        return [path] if path.suffix == ".json" else []
    return sorted(path.glob("*.json")) or sorted(path.glob("*/*.json"))


def is_json_of(path: Path, *keys: str) -> dict[str, Any] | None:
    """Return the content of a JSON file with these keys; None for a file of another program, or a damaged one."""
    try:
        data = load_json(path)
    except ResultsError:
        return None
    return data if all(key in data for key in keys) else None


def finite(values: Mapping[str, object]) -> dict[str, float]:
    """Return the values that are finite numbers; a boolean is 0 or 1."""
    numbers = {name: float(value) if isinstance(value, bool) else parse_float(value) for name, value in values.items()}
    return {name: number for name, number in numbers.items() if number is not None}
