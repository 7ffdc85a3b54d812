"""Properties of every method: decisions agree with the estimate, and no arbitrary order decides."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nel_action.statistics.aggregate import Aggregate, HoeffdingMean, aggregate_difference, aggregate_mean
from nel_action.statistics.binary import PairedProportions, Proportion, TwoProportions
from nel_action.statistics.estimates import Evidence, StudentMean
from nel_action.statistics.means import mean_of_clusters, mean_of_items
from nel_action.statistics.relative import PairedRatio

pytestmark = pytest.mark.slow

ALPHA = 0.05
SCORES = st.lists(st.sampled_from([0.0, 0.05, 0.3, 0.5, 0.9, 0.95, 1.0]), min_size=2, max_size=40)
COUNT = st.integers(0, 40)


def _paired(scores: list[float], a: int, b: int) -> Evidence:
    return PairedProportions(a, b, a + b + len(scores))


def _ratio(scores: list[float], a: int, b: int) -> Evidence:
    return PairedRatio(len(scores), a, b, a + b + len(scores))


def _two(scores: list[float], a: int, b: int) -> Evidence:
    n = a + b + 1
    return TwoProportions(Proportion(a, n), Proportion(len(scores) // 2, len(scores)))


def _clusters(scores: list[float], a: int, b: int) -> Evidence:
    cluster = np.minimum(np.arange(len(scores)), a + 1)
    return mean_of_clusters(np.array(scores), cluster, 0, 1 + b)


def _difference(scores: list[float], a: int, b: int) -> Evidence:
    first, second = (Aggregate(k / 41, 0.01 + len(scores) / 500, len(scores) + k) for k in (a, b))
    difference = aggregate_difference(first, second, higher=True)
    assert difference is not None
    return difference


def _aggregate(scores: list[float], a: int, b: int) -> Evidence:
    mean = aggregate_mean(Aggregate(float(np.mean(scores)), (a + 1) / 1000 + b / 500, len(scores)))
    assert mean is not None
    return mean


METHODS: dict[str, Callable[[list[float], int, int], Evidence]] = {
    "items": lambda scores, _a, b: mean_of_items(np.array(scores), 0, 1 + b),
    "clusters": _clusters,
    "paired": _paired,
    "ratio": _ratio,
    "two proportions": _two,
    "proportion": lambda scores, a, b: Proportion(a, a + b + len(scores)),
    "hoeffding": lambda scores, a, b: HoeffdingMean(a / (a + b + 1), len(scores)),
    "student": lambda scores, a, b: StudentMean(float(np.mean(scores)), 1 / (a + 1), b + 1),
    "aggregate": _aggregate,
    "difference of aggregates": _difference,
}


@pytest.mark.parametrize("method", METHODS)
@given(scores=SCORES, a=COUNT, b=COUNT, distance=st.floats(0, 1), alpha=st.sampled_from([0.45, 0.05, 0.001]))
def test_no_method_passes_at_the_limit_or_fails_within_it(
    method: str, scores: list[float], a: int, b: int, distance: float, alpha: float
) -> None:
    evidence = METHODS[method](scores, a, b)
    estimate = evidence.estimate
    assert evidence.p_value_at_most(estimate + distance) > alpha, "passes although the estimate violates the limit"
    assert evidence.p_value_at_least(estimate - distance) > alpha, "fails although the estimate meets the limit"
    assert evidence.lower_bound(alpha) <= estimate <= evidence.upper_bound(alpha)


@given(scores=SCORES, seed=st.integers(0, 1000), limit=st.floats(0.01, 0.99))
def test_order_of_items_does_not_change_a_p_value(scores: list[float], seed: int, limit: float) -> None:
    values = np.array(scores)
    shuffled = np.random.default_rng(seed).permutation(values)
    first, second = mean_of_items(values, 0, 1), mean_of_items(shuffled, 0, 1)
    assert first.p_value_at_most(limit) == pytest.approx(second.p_value_at_most(limit), rel=1e-9)
    assert first.p_value_at_least(limit) == pytest.approx(second.p_value_at_least(limit), rel=1e-9)


@given(scores=SCORES, limit=st.floats(0.01, 0.99))
def test_percentages_are_judged_like_proportions(scores: list[float], limit: float) -> None:
    values = np.array(scores)
    first, second = mean_of_items(values, 0, 1), mean_of_items(100 * values, 0, 100)
    assert first.p_value_at_most(limit) == pytest.approx(second.p_value_at_most(100 * limit), rel=1e-6, abs=1e-9)


def test_large_scores_at_the_start_do_not_prove_a_mean_that_the_sample_does_not_have() -> None:
    """A bet on sorted scores in one fixed order passed a mean of 0.25 against a minimum of 0.3."""
    sixteen = mean_of_items(np.array([1, 1, 1, 0.95, 0.05] + [0] * 11), 0, 1)
    assert sixteen.p_value_at_most(0.3) == 1
    seventeen = mean_of_items(np.array([-1] * 8 + [-0.5] * 3 + [0.5] + [1] * 5), -1, 1)
    assert seventeen.p_value_at_most(-0.1) == 1
