"""Estimates from reported scores, compared with scipy or with the definition of the method."""

from __future__ import annotations

import math

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
from nel_action.statistics.estimates import StudentMean


def test_difference_of_scores_agrees_with_welch() -> None:
    difference = aggregate_difference(Aggregate(30.1, 0.8, 50), Aggregate(31.7, 0.5, 80), higher=True)
    assert isinstance(difference, StudentMean)
    reference = stats.ttest_ind_from_stats(
        30.1, 0.8 * math.sqrt(50), 50, 31.7, 0.5 * math.sqrt(80), 80, equal_var=False, alternative="less"
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


def test_aggregate_mean_uses_the_most_specific_method() -> None:
    assert isinstance(aggregate_mean(Aggregate(0.8, None, 200)), Proportion)
    assert isinstance(aggregate_mean(Aggregate(30.1, 0.8, 50)), StudentMean)
    assert isinstance(aggregate_mean(Aggregate(0.8041, None, 200)), HoeffdingMean)
    assert aggregate_mean(Aggregate(30.1, None, 50)) is None
    assert aggregate_mean(Aggregate(30.1, 0.8, 1)) is None


def test_aggregate_stderr_is_the_largest_one_for_a_bounded_score_without_its_own() -> None:
    assert aggregate_stderr(Aggregate(30.1, 0.8, 50)) == 0.8
    assert aggregate_stderr(Aggregate(0.8041, None, 200)) == HoeffdingMean(0.8041, 200).stderr
    assert aggregate_stderr(Aggregate(30.1, None, 50)) is None
