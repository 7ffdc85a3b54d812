"""Estimates from reported scores, compared with scipy or with the definition of the method."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from nel_action.statistics.aggregate import (
    Aggregate,
    HoeffdingMean,
    aggregate_difference,
    aggregate_mean,
    aggregate_stderr,
    as_proportion,
)
from nel_action.statistics.binary import Proportion, TwoProportions
from nel_action.statistics.estimates import FailOnly, Obstacle, StudentMean, Untestable, obstacle


def test_difference_of_scores_agrees_with_welch() -> None:
    difference = aggregate_difference(Aggregate(30.1, 0.8, 60), Aggregate(31.7, 0.5, 80), higher=True)
    assert isinstance(difference, StudentMean)
    reference = stats.ttest_ind_from_stats(
        30.1, 0.8 * math.sqrt(60), 60, 31.7, 0.5 * math.sqrt(80), 80, equal_var=False, alternative="less"
    )
    assert difference.p_value_at_least(0.0) == pytest.approx(float(reference.pvalue), rel=1e-9)


def test_difference_of_two_proportions_is_oriented_by_the_metric() -> None:
    candidate, baseline = Aggregate(0.8, 0.0283, 200), Aggregate(0.7, 0.0324, 200)
    higher = aggregate_difference(candidate, baseline, higher=True)
    assert higher == TwoProportions(Proportion(160, 200), Proportion(140, 200))
    lower = aggregate_difference(candidate, baseline, higher=False)
    assert lower is not None
    assert lower.estimate == pytest.approx(-0.1)


def test_difference_without_a_standard_error_is_unknown() -> None:
    known, unknown = Aggregate(30.1, 0.8, 50), Aggregate(30.1, None, None)
    assert aggregate_difference(known, unknown, higher=True) is None
    assert aggregate_difference(unknown, known, higher=True) is None


def test_hoeffding_bound_is_where_the_divergence_reaches_the_error_rate() -> None:
    mean = HoeffdingMean(0.8, 100)
    for bound in (mean.lower_bound(0.05), mean.upper_bound(0.05)):
        assert 100 * stats.entropy([0.8, 0.2], [bound, 1 - bound]) == pytest.approx(math.log(20), rel=1e-6)
    assert HoeffdingMean(1.0, 100).upper_bound(0.05) == 1
    assert HoeffdingMean(0.0, 100).lower_bound(0.05) == 0


def test_score_is_a_proportion_if_its_standard_error_is_that_of_binary_items() -> None:
    assert as_proportion(Aggregate(0.8, math.sqrt(0.16 / 200), 200)) == Proportion(160, 200)
    assert as_proportion(Aggregate(0.8, 0.01, 200)) is None
    assert as_proportion(Aggregate(0.8, None, 200)) == Proportion(160, 200)
    assert as_proportion(Aggregate(0.8041, None, 200)) is None
    assert as_proportion(Aggregate(1.2, None, 200)) is None
    assert as_proportion(Aggregate(0.8, None, None)) is None


def test_number_of_right_or_wrong_items_follows_from_their_exact_standard_error() -> None:
    """lighteval reports no number of items; 0.75 +- 0.16366341767699427 is 6 of 8."""
    assert as_proportion(Aggregate(0.75, 0.16366341767699427, None)) == Proportion(6, 8)
    assert as_proportion(Aggregate(0.85, math.sqrt(0.85 * 0.15 / 1318), None)) is None
    assert as_proportion(Aggregate(1121 / 1319, math.sqrt(1121 * 198 / 1319**2 / 1318), None)) == Proportion(1121, 1319)
    assert as_proportion(Aggregate(0.75, 0.1637, None)) is None
    random = np.random.default_rng(3)
    for n in (20, 300, 5000):
        graded = random.beta(2, 1, (200, n))
        reported = zip(graded.mean(axis=1).tolist(), (graded.std(axis=1, ddof=1) / n**0.5).tolist(), strict=True)
        assert all(as_proportion(Aggregate(value, stderr, None)) is None for value, stderr in reported)


def test_aggregate_mean_uses_the_most_specific_method() -> None:
    assert isinstance(aggregate_mean(Aggregate(0.8, None, 200)), Proportion)
    assert isinstance(aggregate_mean(Aggregate(30.1, 0.8, 60)), StudentMean)
    assert isinstance(aggregate_mean(Aggregate(30.1, 0.8, 50)), Untestable)
    assert isinstance(aggregate_mean(Aggregate(0.8041, None, 200)), HoeffdingMean)
    assert aggregate_mean(Aggregate(30.1, None, 50)) is None
    assert aggregate_mean(Aggregate(30.1, 0.8, 1)) is None


def test_aggregate_stderr_is_the_largest_one_for_a_bounded_score_without_its_own() -> None:
    assert aggregate_stderr(Aggregate(30.1, 0.8, 50)) == 0.8
    assert aggregate_stderr(Aggregate(0.8041, None, 200)) == HoeffdingMean(0.8041, 200).stderr
    assert aggregate_stderr(Aggregate(30.1, None, 50)) is None


def test_graded_score_of_one_item_is_no_proportion() -> None:
    assert as_proportion(Aggregate(0.7, 0.3, 1)) is None
    assert as_proportion(Aggregate(0.333, 0.2722, 3)) is not None


@pytest.mark.parametrize("n", [20, 200])
def test_minimum_of_a_bounded_score_is_not_passed_at_the_limit(n: int) -> None:
    """Scores of 0, 0.9 and 1 with the mean 0.925; a t test passes 36 % of the samples of 20 and 9 % of 200."""
    random = np.random.default_rng(6)
    scores = random.choice([0, 0.9, 1], (1500, n), p=[0.05, 0.25, 0.7])
    rows = [Aggregate(float(row.mean()), float(row.std(ddof=1)) / n**0.5, n) for row in scores]
    estimates = [estimate for row in rows if (estimate := aggregate_mean(row)) is not None]
    assert sum(estimate.p_value_at_most(0.925) <= 0.05 for estimate in estimates) / len(rows) <= 0.065
    assert sum(estimate.p_value_at_least(0.925) <= 0.05 for estimate in estimates) / len(rows) <= 0.065


def test_bounds_state_the_range_of_a_score_without_items() -> None:
    unit, percent = aggregate_mean(Aggregate(0.9, 0.01, 100)), aggregate_mean(Aggregate(90, 1, 100), (0, 100))
    assert unit is not None
    assert percent is not None
    assert percent.lower_bound(0.05) == pytest.approx(100 * unit.lower_bound(0.05))
    unknown = aggregate_mean(Aggregate(90, 1, 100))
    assert isinstance(unknown, StudentMean)


def test_score_without_a_number_of_items_decides_nothing() -> None:
    """0.8 +- 0.01 may be two items."""
    for score in (Aggregate(0.8, 0.01, None), Aggregate(31.2, 0.01, None)):
        mean = aggregate_mean(score, None)
        difference = aggregate_difference(score, Aggregate(score.value + 1, 0.01, 500), higher=True)
        for evidence in (mean, difference):
            assert evidence is not None
            assert obstacle(evidence) is Obstacle.UNKNOWN_COUNT
            assert evidence.p_value_at_least(1000) == evidence.p_value_at_most(-1000) == 1


@pytest.mark.parametrize("higher", [True, False])
def test_few_items_without_a_range_can_fail_and_not_pass(higher: bool) -> None:  # noqa: FBT001 - a parameter
    worse, better = (Aggregate(value, 0.5, 30) for value in ((30.0, 40.0) if higher else (40.0, 30.0)))
    fallen = aggregate_difference(worse, better, higher=higher)
    risen = aggregate_difference(better, worse, higher=higher)
    assert isinstance(fallen, FailOnly)
    assert isinstance(risen, FailOnly)
    assert fallen.p_value_at_least(-5) < 0.001
    assert risen.p_value_at_most(-5) == 1
    bounded = aggregate_difference(better, worse, higher=higher, bounds=(0, 100))
    assert bounded is not None
    assert bounded.p_value_at_most(-5) < 0.05


def test_range_of_items_changes_only_the_unit_of_a_bound() -> None:
    unit = aggregate_mean(Aggregate(0.6, 0.05, 12), (0, 1))
    grade = aggregate_mean(Aggregate(1 + 4 * 0.6, 4 * 0.05, 12), (1, 5))
    assert unit is not None
    assert grade is not None
    for alpha in (0.05, 0.001):
        assert grade.lower_bound(alpha) == pytest.approx(1 + 4 * unit.lower_bound(alpha))
        assert grade.upper_bound(alpha) == pytest.approx(1 + 4 * unit.upper_bound(alpha))
    unit_loss, grade_loss = (
        aggregate_difference(
            Aggregate(low + width * 0.6, width * 0.02, 100),
            Aggregate(low + width * 0.7, width * 0.02, 80),
            higher=True,
            bounds=(low, low + width),
            factor=0.9,
        )
        for low, width in ((0, 1), (1, 4))
    )
    assert unit_loss is not None
    assert grade_loss is not None
    shift = 1 - 0.9
    assert grade_loss.estimate == pytest.approx(shift + 4 * unit_loss.estimate)
    assert grade_loss.lower_bound(0.05) == pytest.approx(shift + 4 * unit_loss.lower_bound(0.05))
