"""Records of single items as the nemo-evaluator contract defines them: JSON lines, one for each query.

A record has `id`, `sub_query_id`, `score` (none for a step that is not scored), `query`, `generation`, `ground_truth`.
What metric a score belongs to is not said reliably; it is the one whose value is the mean of the records' scores.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from nel_action.formats.parsing import clip, finite, json_lines, shaped
from nel_action.model.results import Sample, Score

__all__ = ["FOLDER", "Records", "has_records", "records"]

FOLDER: Final = "nemo-evaluator-per-sample-outputs"


@dataclass(frozen=True, slots=True)
class Records:
    """The items of a run."""

    count: int
    """Items that were scored, each once however often it was asked."""
    samples: Iterator[Sample] | None
    """None where the records' mean is no metric's value."""


def has_records(artifacts: Path) -> bool:
    """Say whether the harness wrote records."""
    return any(_files(artifacts))


def records(artifacts: Path, scores: Sequence[Score]) -> Records:
    """Read the records.

    Raises:
        ResultsError: a file is truncated or holds something else.
    """
    seen: Counter[str] = Counter()
    total = 0.0
    with shaped(FOLDER):
        for name, record in _scored(artifacts):
            seen[name] += 1
            total += finite(record["score"]) or 0.0
    mean = total / seen.total() if seen else 0.0
    factors = {score.metric: factor for score in scores for factor in (1, 100) if _equal(score.value, mean * factor)}
    return Records(len(seen), _samples(artifacts, factors) if factors and seen else None)


def _samples(artifacts: Path, factors: Mapping[str, int]) -> Iterator[Sample]:
    seen: Counter[str] = Counter()
    for name, record in _scored(artifacts):
        score = finite(record["score"]) or 0.0
        yield Sample(
            id=name,
            scores={metric: score * factor for metric, factor in factors.items()},
            repeat=seen[name],
            input=clip(record.get("query")),
            output=clip(record.get("generation")),
            expected=clip(record.get("ground_truth")),
        )
        seen[name] += 1


def _scored(artifacts: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    files = list(_files(artifacts))
    for path in files:
        prefix = f"{path.stem}/" if len(files) > 1 else ""
        for _, record in json_lines(path):
            if finite(record.get("score")) is not None:
                yield f"{prefix}{record.get('id')}", record


def _files(artifacts: Path) -> Iterator[Path]:
    return iter(sorted((artifacts / FOLDER).rglob("*.jsonl")))


def _equal(left: float, right: float) -> bool:
    return abs(left - right) <= 1e-6 * max(1.0, abs(left))
