"""Means of items, compared with scipy and statsmodels, or with the definition of the method."""

from __future__ import annotations

import math

import numpy as np
import pytest
import statsmodels.api
from scipy import stats

from nel_action.statistics.means import (
    BettingMean,
    SingleClusterError,
    cluster_codes,
    mean_of_clusters,
    mean_of_items,
)


def test_mean_without_skew_agrees_with_student_t() -> None:
    half = np.random.default_rng(1).normal(0, 0.1, 100)
    values = np.concatenate([half, -half]) + 0.02
    mean = mean_of_items(values, -0.4, 0.4)
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    assert mean.lower_bound(0.05) == pytest.approx(low, abs=1e-9)
    assert mean.upper_bound(0.05) == pytest.approx(high, abs=1e-9)
    for limit in (0.005, 0.01):
        expected = stats.ttest_1samp(values, limit, alternative="greater").pvalue
        assert mean.p_value_at_most(limit) == pytest.approx(expected, rel=1e-6)
    for limit in (0.03, 0.035):
        expected = stats.ttest_1samp(values, limit, alternative="less").pvalue
        assert mean.p_value_at_least(limit) == pytest.approx(expected, rel=1e-6)


def test_mean_with_skew_uses_the_transform_of_hall() -> None:
    values = np.random.default_rng(2).exponential(0.1, 198)
    mean = mean_of_items(values, 0, 10)
    root, limit = math.sqrt(198), 0.09
    t = (values.mean() - limit) / (values.std(ddof=1) / root)
    g = float(((values - values.mean()) ** 3).mean() / values.std(ddof=1) ** 3) / root
    expected = float(stats.t.sf(t + g * t**2 / 3 + g**2 * t**3 / 27 + g / 6, 197))
    assert mean.p_value_at_most(limit) == pytest.approx(expected, rel=1e-9)
    plain = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    # NOTE: with a long right tail, the true mean may be higher than the t interval allows, and less far below.
    assert mean.upper_bound(0.05) > plain[1]
    assert mean.lower_bound(0.05) > plain[0]


def test_few_items_use_the_betting_bound() -> None:
    assert isinstance(mean_of_items(np.linspace(0, 1, 19), 0, 1), BettingMean)
    assert not isinstance(mean_of_items(np.linspace(0, 1, 20), 0, 1), BettingMean)


def test_items_without_spread_are_bounded_by_the_values_that_a_sample_can_miss() -> None:
    mean = mean_of_items(np.zeros(100), -1, 1)
    assert mean.stderr > 0
    # NOTE: the exact rule of three: a value of probability q is missing from 100 items with probability (1 - q)^100.
    assert mean.lower_bound(0.05) == pytest.approx(-(1 - 0.05 ** (1 / 100)))


def test_clustered_standard_error_agrees_with_statsmodels() -> None:
    random = np.random.default_rng(3)
    cluster = np.arange(300) % 12
    values = random.normal(0, 0.1, 12)[cluster] + random.normal(0, 0.2, 300)
    fit = statsmodels.api.OLS(values, np.ones(300)).fit(cov_type="cluster", cov_kwds={"groups": cluster}, use_t=True)
    mean = mean_of_clusters(values, cluster, -5, 5)
    assert mean.estimate == pytest.approx(float(fit.params[0]))
    assert mean.sample_stderr == pytest.approx(float(fit.bse[0]), rel=1e-9)
    assert mean.df == pytest.approx(11)


def test_clusters_of_unequal_size_use_the_jackknife() -> None:
    random = np.random.default_rng(3)
    cluster = np.repeat(np.arange(12), random.integers(1, 60, 12))
    values = random.normal(0, 0.1, 12)[cluster] + random.normal(0, 0.2, len(cluster))
    left_out = np.array([values[cluster != code].mean() for code in range(12)])
    mean = mean_of_clusters(values, cluster, -5, 5)
    assert mean.sample_stderr == pytest.approx(math.sqrt(11 / 12 * ((left_out - values.mean()) ** 2).sum()))


@pytest.mark.parametrize("equal_within", [False, True])
def test_degrees_of_freedom_of_clusters_are_those_of_their_sums(*, equal_within: bool) -> None:
    """The covariance of the jackknifed sums, computed as matrices, gives the same degrees of freedom or more."""
    sizes = np.array([40, 3, 5, 1, 11, 20])
    weights = sizes / sizes.sum()
    outcomes = np.diag(sizes.astype(float) ** 2) if equal_within else np.diag(sizes.astype(float))
    centring = np.eye(6) - np.outer(weights, np.ones(6))
    scaled = np.diag(1 / (1 - weights))
    covariance = scaled @ centring @ outcomes @ centring.T @ scaled
    expected = np.trace(covariance) ** 2 / np.trace(covariance @ covariance)
    values = np.random.default_rng(1).normal(0, 0.1, sizes.sum())
    df = mean_of_clusters(values, np.repeat(np.arange(6), sizes), -1, 1).df
    assert df <= expected + 1e-9
    if equal_within:
        assert df == pytest.approx(expected)


def test_one_cluster_with_half_of_all_items_counts_as_two_clusters() -> None:
    cluster = np.minimum(np.arange(1140) // 10, 57)
    assert mean_of_clusters(np.random.default_rng(1).normal(0, 0.1, 1140), cluster, -1, 1).df < 1.2


def test_clusters_of_one_item_agree_with_independent_items() -> None:
    values = np.random.default_rng(4).normal(0, 0.1, 100)
    independent, clustered = mean_of_items(values, -1, 1), mean_of_clusters(values, np.arange(100), -1, 1)
    assert clustered.lower_bound(0.05) == pytest.approx(independent.lower_bound(0.05), rel=1e-3)


def test_single_cluster_is_an_error() -> None:
    with pytest.raises(SingleClusterError, match="all items are in one cluster"):
        mean_of_clusters(np.linspace(0, 1, 30), np.zeros(30, dtype=np.int64), 0, 1)


def test_cluster_codes_make_an_item_without_cluster_a_cluster_of_its_own() -> None:
    codes = cluster_codes(["a", None, "a", None, "b"])
    assert codes is not None
    assert codes.tolist() == [0, 1, 0, 2, 3]
    assert cluster_codes(["a", None, "b"]) is None
    assert cluster_codes([]) is None
