"""Properties that every estimate has: its bounds invert its tests, and its p-values are monotone."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from nel_action.statistics.aggregate import Aggregate, HoeffdingMean, aggregate_mean
from nel_action.statistics.binary import PairedProportions, Proportion, TwoProportions
from nel_action.statistics.estimates import Evidence, MostConservative, Negated, PointEstimate, StudentMean
from nel_action.statistics.means import mean_of_clusters, mean_of_items


def make_estimates() -> list[Evidence]:
    random = np.random.default_rng(7)
    values: NDArray[np.float64] = np.clip(random.normal(0.02, 0.2, 60), -1, 1)
    score = aggregate_mean(Aggregate(0.4, 0.03, 90))
    assert score is not None
    return [
        Proportion(20, 30),
        PairedProportions(4, 9, 80),
        TwoProportions(Proportion(20, 30), Proportion(25, 30)),
        mean_of_items(values, -1, 1),
        mean_of_items(values[:12], -1, 1),
        mean_of_items(np.zeros(50), -1, 1),
        mean_of_items(random.exponential(0.1, 200), 0, 5),
        mean_of_clusters(values, np.arange(60) // 5, -1, 1),
        HoeffdingMean(0.7, 50),
        score,
        Negated(mean_of_items(values, -1, 1)),
    ]


@pytest.mark.parametrize("estimate", make_estimates(), ids=lambda estimate: estimate.method)
@pytest.mark.parametrize("alpha", [0.2, 0.05, 0.005])
def test_bounds_invert_the_tests(estimate: Evidence, alpha: float) -> None:
    low, high = estimate.lower_bound(alpha), estimate.upper_bound(alpha)
    assert low < high
    assert low <= estimate.estimate <= high
    gap = 1e-3 * (high - low)
    assert estimate.p_value_at_most(low + gap) > alpha
    assert estimate.p_value_at_most(low - gap) <= alpha or low <= 0 <= estimate.estimate
    assert estimate.p_value_at_least(high - gap) > alpha
    assert estimate.p_value_at_least(high + gap) <= alpha


@pytest.mark.parametrize("estimate", make_estimates(), ids=lambda estimate: estimate.method)
def test_p_values_are_monotone_and_exclusive(estimate: Evidence) -> None:
    limits = np.linspace(-0.99, 0.99, 100).tolist()
    at_least = [estimate.p_value_at_least(limit) for limit in limits]
    at_most = [estimate.p_value_at_most(limit) for limit in limits]
    assert all(a >= b - 1e-9 for a, b in pairwise(at_least))
    assert all(a <= b + 1e-9 for a, b in pairwise(at_most))
    assert all(0 <= p <= 1 for p in at_least + at_most)
    assert not any(a <= 0.05 and b <= 0.05 for a, b in zip(at_least, at_most, strict=True))


def test_student_mean_rejects_zero_standard_error() -> None:
    with pytest.raises(ValueError, match="must be positive"):
        StudentMean(0.5, 0.0)


def test_point_estimate_has_no_uncertainty() -> None:
    point = PointEstimate(0.8)
    assert (point.lower_bound(0.05), point.upper_bound(0.05)) == (0.8, 0.8)
    assert (point.p_value_at_least(0.8), point.p_value_at_least(0.81)) == (1.0, 0.0)
    assert (point.p_value_at_most(0.8), point.p_value_at_most(0.81)) == (0.0, 1.0)


def test_most_conservative_takes_the_weaker_of_both_methods() -> None:
    narrow, wide = StudentMean(0.5, 0.01), StudentMean(0.5, 0.1)
    both = MostConservative(narrow, wide)
    assert (both.lower_bound(0.05), both.upper_bound(0.05)) == (wide.lower_bound(0.05), wide.upper_bound(0.05))
    assert both.p_value_at_most(0.4) == wide.p_value_at_most(0.4)
    assert both.p_value_at_least(0.6) == wide.p_value_at_least(0.6)
