"""A history that is looked at every night: a test that stays valid however often one looks.

A fresh 5 % every night cries wolf sooner or later. Here one chance of error is spent on the whole history: evidence
is an e-value, a fair bettor's wealth, which reaches 1/alpha at any time with chance alpha at most (Ville, 1939). Each
night might be the one on which things got worse, so the stake is spread over all starts; from each, the wealth is
Robbins' one-sided normal mixture (Howard, Ramdas, McAuliffe and Sekhon, Time-uniform confidence sequences, 2021).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from nel_action.statistics.distributions import normal_cdf, normal_quantile

__all__ = ["History", "Night", "judge_history"]


@dataclass(frozen=True, slots=True)
class Night:
    """One run's loss against the baseline."""

    drop: float
    """Positive for worse, in the metric's unit."""
    stderr: float
    """Of the night's own score."""


@dataclass(frozen=True, slots=True)
class History:
    """What all nights together say."""

    alarm: int | None
    """The first night, counted from 0, on which the loss was surely beyond the margin; None where there was none."""
    evidence: float
    """The e-value of the last night; an alarm needs `threshold` of it."""
    threshold: float
    course: tuple[float, ...] = ()
    """The e-value of every night."""


def judge_history(
    nights: Sequence[Night], *, margin: float, baseline_stderr: float, confidence: float = 0.95
) -> History:
    """Say whether and when a history fell beyond the margin.

    In all nights together the chance of a false alarm is at most 1 - confidence. Half of it is spent on the baseline,
    whose own luck all nights share, and which therefore widens the margin.

    Args:
        nights: oldest first.
        margin: the loss that is allowed.
        baseline_stderr: standard error of the baseline's score.
        confidence: over the whole history.

    Raises:
        ValueError: a night has no standard error, or a value is not finite.
    """
    half = (1 - confidence) / 2
    allowed = margin + normal_quantile(1 - half) * baseline_stderr
    sums: list[tuple[float, float, float]] = []
    course: list[float] = []
    threshold = 1 / half
    for place, night in enumerate(nights):
        if not (math.isfinite(night.drop) and math.isfinite(night.stderr) and night.stderr > 0):
            msg = f"night {place} has no finite drop with a standard error"
            raise ValueError(msg)
        square = night.stderr**2
        sums = [(total + night.drop - allowed, spread + square, first) for total, spread, first in sums]
        sums.append((night.drop - allowed, square, square))
        # NOTE: a start on night j has weight 1 / (j (j + 1)); what is left stands for starts that are yet to come.
        evidence = 1 / (len(sums) + 1)
        evidence += sum(_wealth(*one) / (start * (start + 1)) for start, one in enumerate(sums, 1))
        course.append(evidence)
    alarm = next((place for place, evidence in enumerate(course) if evidence >= threshold), None)
    return History(alarm, course[-1] if course else 1.0, threshold, tuple(course))


def _wealth(total: float, spread: float, first: float) -> float:
    """The one-sided normal mixture, its prior as wide as the first night's noise."""
    whole = spread + first
    exponent = min(total * total / (2 * whole), 600.0)
    return 2 * math.sqrt(first / whole) * math.exp(exponent) * normal_cdf(total / math.sqrt(whole))
