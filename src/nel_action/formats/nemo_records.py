"""Per-sample records of the nemo-evaluator contract: JSON Lines files, one line per query.

A record has `id`, `sub_query_id`, `score` (null for a step that is not scored), `query`, `generation` and
`ground_truth`. The contract does not reliably name the metric of a score; it is the metric whose value equals the mean
of the records' scores, as a proportion or a percentage.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from nel_action.formats.parsing import nearly_equal, parse_float, read_json_lines, schema_guard, truncate_text
from nel_action.model.results import Sample, Score

__all__ = ["Records", "has_records", "read_records"]

_DIRECTORY: Final = "nemo-evaluator-per-sample-outputs"


@dataclass(frozen=True, slots=True)
class Records:
    """The scored records of a run."""

    count: int
    """Distinct items; an item that was queried several times counts once."""
    samples: Iterator[Sample] | None
    """None if no metric's value is the mean of the records' scores."""


def has_records(artifacts: Path) -> bool:
    """Return whether the harness wrote records."""
    return bool(_files(artifacts))


def read_records(artifacts: Path, scores: Sequence[Score]) -> Records:
    """Read the records of a run.

    Args:
        artifacts: directory with the artifacts of one run.
        scores: the scores that the records may explain.

    Raises:
        ResultsError: a file is truncated or does not have the expected structure.
    """
    queries: Counter[str] = Counter()
    total = 0.0
    with schema_guard(_DIRECTORY):
        for item, record in _scored(artifacts):
            queries[item] += 1
            total += parse_float(record["score"]) or 0.0
    mean = total / queries.total() if queries else 0.0
    scales = {score.metric: scale for score in scores for scale in (1, 100) if nearly_equal(score.value, mean * scale)}
    return Records(len(queries), _samples(artifacts, scales) if scales and queries else None)


def _samples(artifacts: Path, scales: Mapping[str, int]) -> Iterator[Sample]:
    """Yield one sample per record.

    Args:
        artifacts: directory with the artifacts of one run.
        scales: metric → factor from a record's score to the metric's unit.
    """
    repeats: Counter[str] = Counter()
    for item, record in _scored(artifacts):
        score = parse_float(record["score"]) or 0.0
        yield Sample(
            id=item,
            scores={metric: score * scale for metric, scale in scales.items()},
            repeat=repeats[item],
            input=truncate_text(record.get("query")),
            output=truncate_text(record.get("generation")),
            expected=truncate_text(record.get("ground_truth")),
        )
        repeats[item] += 1


def _scored(artifacts: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the item id and content of each scored record; ids of several files are prefixed with the file's name."""
    files = _files(artifacts)
    for path in files:
        prefix = f"{path.stem}/" if len(files) > 1 else ""
        for _, record in read_json_lines(path):
            if parse_float(record.get("score")) is not None:
                yield f"{prefix}{record.get('id')}", record


def _files(artifacts: Path) -> list[Path]:
    return sorted((artifacts / _DIRECTORY).rglob("*.jsonl"))
