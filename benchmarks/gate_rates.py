"""Error rates of one setting of the gate simulation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from nel_action.statistics.estimates import Evidence

ALPHA = 0.05
Counts = np.ndarray[tuple[int, int], np.dtype[np.int64]]
WeightedEvidence = Iterator[tuple[Evidence, float]]
"""Estimates, each with the number of repeats that had the same data, or with its probability."""


@dataclass(frozen=True)
class ErrorRates:
    """Fractions of the repeats with a wrong verdict, in percent."""

    setting: str
    n: int
    false_fail: float
    false_pass: float


def error_rates(setting: str, n: int, evidence: Iterable[tuple[Evidence, float]], limit: float) -> ErrorRates:
    """Test estimates at the limit that is their true mean.

    Args:
        setting: name of the setting.
        n: number of items, or of clusters.
        evidence: estimates with their number of repeats or their probability.
        limit: the true mean.
    """
    fails = passes = total = 0.0
    for estimate, count in evidence:
        total += count
        fails += count * (estimate.p_value_at_least(limit) <= ALPHA)
        passes += count * (estimate.p_value_at_most(limit) <= ALPHA)
    return ErrorRates(setting, n, 100 * fails / total, 100 * passes / total)


def unique_rows(counts: Counts) -> Iterator[tuple[list[int], int]]:
    """Yield each distinct row of `counts`, shape (repeats, k), with its number of occurrences."""
    rows, occurrences = np.unique(counts, axis=0, return_counts=True)
    yield from zip(rows.tolist(), occurrences.tolist(), strict=True)
