"""Estimates from a reported score, its standard error and its number of items, without the items."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

from nel_action.statistics.binary import Proportion, TwoProportions, agresti_coull_stderr
from nel_action.statistics.estimates import Evidence, MostConservative, Negated, Scaled, StudentMean
from nel_action.statistics.means import RareValueBound, SkewAdjustedMean

__all__ = [
    "Aggregate",
    "HoeffdingMean",
    "aggregate_difference",
    "aggregate_mean",
    "aggregate_stderr",
    "as_proportion",
    "is_mean_of_bounded_items",
]

_REPORT_PRECISION: Final = 6e-4
"""Largest difference of a reported proportion from a fraction of n: three decimals."""
_MIN_ITEMS_FOR_T: Final = 20
_STDERR_TOLERANCE: Final = 0.02
"""Relative difference of two standard errors that are equal except for rounding and n versus n - 1."""


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
    if not n or not 0 <= value <= 1:
        return None
    successes = round(value * n)
    if abs(value * n - successes) > _REPORT_PRECISION * n:
        return None
    if not stderr:
        return Proportion(successes, n) if abs(value * n - successes) < 1e-6 * n else None
    binary_stderr = math.sqrt(value * (1 - value) / n)
    is_binary = abs(stderr - binary_stderr) <= _STDERR_TOLERANCE * binary_stderr + binary_stderr / n
    return Proportion(successes, n) if is_binary else None


def aggregate_mean(score: Aggregate, bounds: tuple[float, float] | None = None) -> Evidence | None:
    """Estimate the true score.

    A mean of bounded items is tested with the largest skewness that its range, mean and variance allow, and with the
    allowance for rare values; fewer than 20 items use the Chernoff-Hoeffding bound.

    Args:
        score: the score.
        bounds: smallest and largest possible score of an item; by default 0 and 1 if the score agrees with them.

    Returns:
        The estimate; None without a standard error if no bound exists either.
    """
    proportion = as_proportion(score)
    if proportion is not None:
        return proportion
    value, stderr, n = score
    if stderr and n and is_mean_of_bounded_items(score, bounds):
        return _bounded_mean(value, stderr, n, *(bounds or (0.0, 1.0)))
    if stderr and n != 1:
        return StudentMean(value, stderr, df=n - 1 if n else math.inf, method="t, from the score")
    return HoeffdingMean(value, n) if n and 0 <= value <= 1 else None


def is_mean_of_bounded_items(score: Aggregate, bounds: tuple[float, float] | None = None) -> bool:
    """Return whether items within the bounds, by default 0 and 1, can have this mean and standard error."""
    low, high = bounds or (0.0, 1.0)
    value, stderr, n = score
    if not stderr or not n or n < 2 or not low < value < high:  # noqa: PLR2004 - a variance needs two items
        return False
    largest = (value - low) * (high - value) / (n - 1)
    return stderr * stderr <= largest * (1 + _STDERR_TOLERANCE) ** 2


def _bounded_mean(value: float, stderr: float, n: int, low: float, high: float) -> Evidence:
    """Return the more conservative one of the tests with the smallest and the largest possible skewness.

    Given mean and variance, both extremes have two values, one of them at an end of the range.
    """
    if n < _MIN_ITEMS_FOR_T and low == 0:
        return Scaled(HoeffdingMean(value / high, n), high)
    sd, below, above = stderr * math.sqrt(n), value - low, high - value
    rare_values, method = (RareValueBound(n, below, above),), "t with extreme skewness, from the score"
    first, second = (
        SkewAdjustedMean(value, stderr, n - 1, skew / math.sqrt(n), rare_values, method)
        for skew in (sd / below - below / sd, above / sd - sd / above)
    )
    return MostConservative(first, second)


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
    candidate: Aggregate, baseline: Aggregate, *, higher: bool, factor: float = 1.0
) -> Evidence | None:
    """Estimate candidate - factor x baseline from two scores without common items.

    Two proportions use `TwoProportions`; with a factor other than 1, the more conservative of two Welch tests, with
    and without a success and a failure added to each side (Agresti and Caffo, 2000). Other scores use Welch's test.

    Args:
        candidate: score of the candidate.
        baseline: score of the baseline.
        higher: whether larger values of the metric are better.
        factor: multiplier of the baseline.

    Returns:
        The estimate, oriented so that larger is better; None if a standard error is unknown or there is one item only.
    """
    candidate_proportion, baseline_proportion = as_proportion(candidate), as_proportion(baseline)
    if candidate_proportion is not None and baseline_proportion is not None and factor == 1:
        better, worse = candidate_proportion, baseline_proportion
        return TwoProportions(better, worse) if higher else TwoProportions(worse, better)
    if 1 in {candidate.n, baseline.n}:
        return None  # Welch's test has no degrees of freedom with one item
    candidate_stderr, baseline_stderr = aggregate_stderr(candidate), aggregate_stderr(baseline)
    if candidate_stderr is None or baseline_stderr is None:
        return None
    first = Aggregate(candidate.value, candidate_stderr, candidate.n)
    second = Aggregate(baseline.value, baseline_stderr, baseline.n)
    difference: Evidence = _welch(first, second, factor)
    if candidate_proportion is not None and baseline_proportion is not None:
        adjusted = _welch(_agresti_caffo(candidate_proportion), _agresti_caffo(baseline_proportion), factor)
        difference = MostConservative(difference, adjusted)
    return difference if higher else Negated(difference)


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
