"""Estimates from a reported score, its standard error and its number of items, without the items.

The test of a mean of bounded items assumes the least favourable skewness that range, mean and variance allow. Nothing
is decided if the number of items is unknown, or if there are few of them and their range is unknown.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

from nel_action.statistics.binary import Proportion, TwoProportions, agresti_coull_stderr
from nel_action.statistics.estimates import (
    MIN_UNBOUNDED,
    Evidence,
    FailOnly,
    MostConservative,
    Negated,
    Obstacle,
    Scaled,
    StudentMean,
    Untestable,
)
from nel_action.statistics.means import RareValueBound, SkewAdjustedMean

__all__ = [
    "Aggregate",
    "HoeffdingDifference",
    "HoeffdingMean",
    "aggregate_difference",
    "aggregate_mean",
    "aggregate_stderr",
    "as_proportion",
    "is_mean_of_bounded_items",
]

Bounds = tuple[float, float] | None
"""Smallest and largest possible score of an item; None if unknown."""
_REPORT_PRECISION: Final = 6e-4
"""Largest difference of a reported proportion from a fraction of n: three decimals."""
_MIN_ITEMS_FOR_T: Final = 20
_STDERR_TOLERANCE: Final = 0.02
"""Relative difference of two standard errors that are equal except for rounding and n versus n - 1."""
_EXACT: Final = 1e-9
"""Relative difference of numbers that are equal except for the rounding of floating-point arithmetic."""
_ROUNDED_DIGITS: Final = 8
_MOST_INFERRED: Final = 1e5
"""With more items, a graded score could have the standard error of binary ones by coincidence."""
_UNIT: Final = (0.0, 1.0)


class Aggregate(NamedTuple):
    """A reported score."""

    value: float
    stderr: float | None
    """Standard error of the value; None if unknown."""
    n: int | None
    """Number of items; None if unknown."""


@dataclass(frozen=True, slots=True)
class HoeffdingMean:
    """A mean of items in 0..1 with unknown variance.

    The tail bound exp(-n KL(estimate, limit)) holds for every number of items (Hoeffding, 1963, theorem 1).
    """

    estimate: float
    n: int
    method: str = "Chernoff-Hoeffding"
    max_item_deviation: float = 1.0

    @property
    def stderr(self) -> float:
        """Largest standard error of such a mean, that of binary items; see `agresti_coull_stderr`."""
        return agresti_coull_stderr(self.estimate * self.n, self.n)

    def _tail_bound(self, limit: float) -> float:
        return math.exp(-self.n * _bernoulli_divergence(self.estimate, limit))

    def p_value_at_least(self, limit: float) -> float:
        """See `Evidence.p_value_at_least`."""
        return self._tail_bound(limit) if limit > self.estimate else 1.0

    def p_value_at_most(self, limit: float) -> float:
        """See `Evidence.p_value_at_most`."""
        return self._tail_bound(limit) if limit < self.estimate else 1.0

    def upper_bound(self, alpha: float) -> float:
        """See `Evidence.upper_bound`."""
        return self._bound(alpha, self.estimate, 1.0)

    def lower_bound(self, alpha: float) -> float:
        """See `Evidence.lower_bound`."""
        return self._bound(alpha, self.estimate, 0.0)

    def _bound(self, alpha: float, inside: float, outside: float) -> float:
        for _ in range(60):
            middle = (inside + outside) / 2
            inside, outside = (middle, outside) if self._tail_bound(middle) > alpha else (inside, middle)
        return outside


def _bernoulli_divergence(a: float, b: float) -> float:
    """Return the Kullback-Leibler divergence of Bernoulli(a) from Bernoulli(b)."""
    total = 0.0
    for p, q in ((a, b), (1 - a, 1 - b)):
        if p > 0:
            total += p * math.log(p / q) if q > 0 else math.inf
    return total


def as_proportion(score: Aggregate) -> Proportion | None:
    """Return the score as a proportion if its value and standard error are those of binary items, else None."""
    value, stderr, n = score
    if not 0 <= value <= 1 or n == 0:
        return None
    if n is None:
        n = _binary_count(value, stderr)
        return None if n is None else Proportion(round(value * n), n)
    successes = round(value * n)
    if abs(value * n - successes) > _REPORT_PRECISION * n:
        return None
    if not stderr:
        return Proportion(successes, n) if abs(value * n - successes) < 1e-6 * n else None
    binary_stderr = math.sqrt(value * (1 - value) / n)
    is_binary = abs(stderr - binary_stderr) <= _STDERR_TOLERANCE * binary_stderr + binary_stderr / n
    return Proportion(successes, n) if is_binary else None


@dataclass(frozen=True, slots=True)
class HoeffdingDifference:
    """A difference of two means of few bounded items with unknown distributions.

    The tail bound exp(-2 d^2 / (w1^2 / n1 + w0^2 / n0)) holds for every number of items (Hoeffding, 1963, theorem 2).
    """

    estimate: float
    squared_width: float
    """w1^2 / n1 + w0^2 / n0 for the widths of the two ranges."""
    stderr: float
    method: str = "Hoeffding"
    max_item_deviation: float = 0.0

    def p_value_at_least(self, limit: float) -> float:
        """See `Evidence.p_value_at_least`."""
        return self._tail_bound(limit - self.estimate)

    def p_value_at_most(self, limit: float) -> float:
        """See `Evidence.p_value_at_most`."""
        return self._tail_bound(self.estimate - limit)

    def _tail_bound(self, distance: float) -> float:
        return math.exp(-2 * distance * distance / self.squared_width) if distance > 0 else 1.0

    def upper_bound(self, alpha: float) -> float:
        """See `Evidence.upper_bound`."""
        return self.estimate + math.sqrt(-math.log(alpha) * self.squared_width / 2)

    def lower_bound(self, alpha: float) -> float:
        """See `Evidence.lower_bound`."""
        return self.estimate - math.sqrt(-math.log(alpha) * self.squared_width / 2)


def _binary_count(value: float, stderr: float | None) -> int | None:
    """Return the number of binary items that have exactly this proportion and standard error; None if there is none.

    If the standard error has all its digits, an agreement to nine of them is no coincidence; a rounded one
    (0.8 +- 0.01) fits some number of items anyway.
    """
    if not stderr or not 0 < value < 1 or round(stderr, _ROUNDED_DIGITS) == stderr:
        return None
    for correction in (1, 0):
        n = value * (1 - value) / stderr**2 + correction
        is_whole = abs(n - round(n)) <= _EXACT * n and abs(value * n - round(value * n)) <= _EXACT * n
        if is_whole and 1 < n < _MOST_INFERRED:
            return round(n)
    return None


def aggregate_mean(score: Aggregate, bounds: Bounds = None) -> Evidence | None:
    """Estimate the true score.

    Args:
        score: the score.
        bounds: smallest and largest possible score of an item; by default 0 and 1 if the score agrees with them.

    Returns:
        The estimate; None without a standard error if no bound exists either.
    """
    possible = _possible_range(score, bounds)
    if possible is None:
        return _unbounded_mean(score)
    low, high = possible
    unit = _unit_mean(_in_unit(score, possible))
    return unit if unit is None or possible == _UNIT else Scaled(unit, high - low, low)


def _possible_range(score: Aggregate, bounds: Bounds) -> tuple[float, float] | None:
    """Return the range of an item: as stated, else 0 to 1 if the score agrees with it; None if unknown."""
    if bounds is not None:
        return bounds if bounds[0] <= score.value <= bounds[1] else None
    is_unit = 0 <= score.value <= 1 and (not score.stderr or is_mean_of_bounded_items(score))
    return _UNIT if is_unit or as_proportion(score) is not None else None


def _in_unit(score: Aggregate, bounds: tuple[float, float]) -> Aggregate:
    """Return the score of items that are rescaled to 0..1."""
    low, width = bounds[0], bounds[1] - bounds[0]
    return Aggregate((score.value - low) / width, None if score.stderr is None else score.stderr / width, score.n)


def _unit_mean(score: Aggregate) -> Evidence | None:
    """Estimate the mean of items in 0..1; None without a standard error and a number of items."""
    proportion = as_proportion(score)
    if proportion is not None:
        return proportion
    value, stderr, n = score
    if not n:
        return Untestable(value, stderr, Obstacle.UNKNOWN_COUNT) if stderr else None
    if not stderr or n < _MIN_ITEMS_FOR_T or not is_mean_of_bounded_items(score):
        return HoeffdingMean(value, n)
    rare_values, method = (RareValueBound(n, value, 1 - value),), "t with extreme skewness, from the score"
    first, second = (
        SkewAdjustedMean(value, stderr, n - 1, skew, rare_values, method) for skew in _extreme_skews(value, stderr, n)
    )
    return MostConservative(first, second)


def _unbounded_mean(score: Aggregate) -> Evidence | None:
    value, stderr, n = score
    if not stderr:
        return None
    if not n:
        return Untestable(value, stderr, Obstacle.UNKNOWN_COUNT)
    if n < MIN_UNBOUNDED:
        return Untestable(value, stderr, Obstacle.FEW_UNBOUNDED) if n > 1 else None
    return StudentMean(value, stderr, df=n - 1, method="t, from the score")


def is_mean_of_bounded_items(score: Aggregate, bounds: Bounds = None) -> bool:
    """Return whether items within the bounds, by default 0 and 1, can have this mean and standard error.

    The number of items may be unknown.
    """
    low, high = bounds or _UNIT
    value, stderr, n = score
    if not stderr or n == 1 or not low < value < high:
        return False
    largest = (value - low) * (high - value) / ((n or 2) - 1)
    return stderr * stderr <= largest * (1 + _STDERR_TOLERANCE) ** 2


def _extreme_skews(value: float, stderr: float, n: int) -> tuple[float, float]:
    """Return the smallest and the largest skewness of a mean of items in 0..1 with this mean and standard error.

    Given mean and variance, both extremes have two values, one of them at an end of the range.
    """
    sd, below, above = stderr * math.sqrt(n), value, 1 - value
    if below <= 0 or above <= 0:
        return 0.0, 0.0
    return (sd / below - below / sd) / math.sqrt(n), (above / sd - sd / above) / math.sqrt(n)


def aggregate_stderr(score: Aggregate) -> float | None:
    """Return the standard error of a score: its own one, else the largest that its value allows; None if unknown."""
    proportion = as_proportion(score)
    if proportion is not None:
        return proportion.stderr
    value, stderr, n = score
    if stderr and n != 1:
        return stderr
    return HoeffdingMean(value, n).stderr if n and 0 <= value <= 1 else None


def aggregate_difference(
    candidate: Aggregate, baseline: Aggregate, *, higher: bool, factor: float = 1.0, bounds: Bounds = None
) -> Evidence | None:
    """Estimate candidate - factor x baseline from two scores without common items.

    Two proportions use `TwoProportions`; with a factor other than 1, the more conservative of two Welch tests, with
    and without a success and a failure added to each side (Agresti and Caffo, 2000). Means of bounded items use Welch's
    test with the least favourable skewness of both and an allowance for rare values, or Hoeffding's bound if one of the
    two has fewer than 20 items. Other scores use Welch's test.

    Args:
        candidate: score of the candidate.
        baseline: score of the baseline.
        higher: whether larger values of the metric are better.
        factor: multiplier of the baseline.
        bounds: smallest and largest possible score of an item; by default 0 and 1 if both scores agree with them.

    Returns:
        The estimate, oriented so that larger is better; None if a standard error is unknown or there is one item only.
    """
    ranges = [_possible_range(score, bounds) for score in (candidate, baseline)]
    if ranges[0] is None or ranges[0] != ranges[1]:
        return _unbounded_difference(candidate, baseline, factor, higher=higher)
    low, high = ranges[0]
    first, second = _in_unit(candidate, ranges[0]), _in_unit(baseline, ranges[0])
    difference = _unit_difference(first, second, factor, higher=higher)
    if difference is None or ranges[0] == _UNIT:
        return difference
    return Scaled(difference, high - low, (1 - factor) * low * (1 if higher else -1))


def _unit_difference(candidate: Aggregate, baseline: Aggregate, factor: float, *, higher: bool) -> Evidence | None:
    """Estimate candidate - factor x baseline for items in 0..1, oriented so that larger is better.

    Args:
        candidate: score of the candidate.
        baseline: score of the baseline.
        factor: multiplier of the baseline.
        higher: whether larger values of the metric are better.
    """
    first, second = as_proportion(candidate), as_proportion(baseline)
    if first is None or second is None:
        difference = _bounded_difference(candidate, baseline, factor)
    elif factor == 1:
        return TwoProportions(first, second) if higher else TwoProportions(second, first, is_inverted=True)
    elif 1 in {first.n, second.n}:
        return None  # Welch's test has no degrees of freedom with one item
    else:
        sides = (Aggregate(side.estimate, side.stderr, side.n) for side in (first, second))
        adjusted = _welch(_agresti_caffo(first), _agresti_caffo(second), factor)
        difference = MostConservative(_welch(next(sides), next(sides), factor), adjusted)
    return difference if higher or difference is None else Negated(difference)


def _bounded_difference(candidate: Aggregate, baseline: Aggregate, factor: float) -> Evidence | None:
    """Estimate candidate - factor x baseline for graded items in 0..1."""
    first, second = (Aggregate(score.value, aggregate_stderr(score), score.n) for score in (candidate, baseline))
    if first.stderr is None or second.stderr is None:
        return None
    welch = _welch(first, second, factor)
    if not first.n or not second.n:
        return Untestable(welch.estimate, welch.stderr, Obstacle.UNKNOWN_COUNT)
    if min(first.n, second.n) < _MIN_ITEMS_FOR_T:
        return HoeffdingDifference(welch.estimate, 1 / first.n + factor * factor / second.n, welch.stderr)
    (low, high), (baseline_low, baseline_high) = (
        tuple(skew * stderr**3 for skew in _extreme_skews(value, stderr, n))
        for value, stderr, n in ((first.value, first.stderr, first.n), (second.value, second.stderr, second.n))
    )
    rare_values = (
        RareValueBound(first.n, first.value, 1 - first.value),
        RareValueBound(second.n, factor * (1 - second.value), factor * second.value),
    )
    smallest, largest = (
        SkewAdjustedMean(
            welch.estimate,
            welch.stderr,
            welch.df,
            third_moment / welch.stderr**3,
            rare_values,
            "unpaired t with extreme skewness",
        )
        for third_moment in (low - factor**3 * baseline_high, high - factor**3 * baseline_low)
    )
    return MostConservative(smallest, largest)


def _unbounded_difference(candidate: Aggregate, baseline: Aggregate, factor: float, *, higher: bool) -> Evidence | None:
    """Estimate candidate - factor x baseline by Welch's test, oriented so that larger is better.

    Args:
        candidate: score of the candidate.
        baseline: score of the baseline.
        factor: multiplier of the baseline.
        higher: whether larger values of the metric are better.
    """
    if not candidate.stderr or not baseline.stderr or 1 in {candidate.n, baseline.n}:
        return None
    welch = _welch(candidate, baseline, factor)
    if not candidate.n or not baseline.n:
        untestable = Untestable(welch.estimate, welch.stderr, Obstacle.UNKNOWN_COUNT)
        return untestable if higher else Negated(untestable)
    difference: Evidence = welch if higher else Negated(welch)
    is_few = min(candidate.n, baseline.n) < MIN_UNBOUNDED
    return FailOnly(difference, Obstacle.FEW_UNBOUNDED) if is_few else difference


def _agresti_caffo(sample: Proportion) -> Aggregate:
    """Return the proportion with one success and one failure added (Agresti and Caffo, 2000)."""
    p = (sample.successes + 1) / (sample.n + 2)
    return Aggregate(p, math.sqrt(p * (1 - p) / (sample.n + 2)), sample.n)


def _welch(candidate: Aggregate, baseline: Aggregate, factor: float) -> StudentMean:
    """Return candidate - factor x baseline with the degrees of freedom of Welch (1947)."""
    parts = [
        ((weight * (score.stderr or 0.0)) ** 2, score.n - 1 if score.n else math.inf)
        for score, weight in ((candidate, 1.0), (baseline, factor))
    ]
    variance = sum(part for part, _ in parts)
    df_denominator = sum(part * part / df for part, df in parts)
    return StudentMean(
        candidate.value - factor * baseline.value,
        math.sqrt(variance),
        df=variance * variance / df_denominator if df_denominator else math.inf,
        method="unpaired t",
    )
