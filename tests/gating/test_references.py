"""Agreement with scipy and statsmodels where they have the method, and with the definition where they have not."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import statsmodels.api
from numpy.typing import NDArray
from scipy import optimize, stats
from statsmodels.stats import proportion
from statsmodels.stats.multitest import multipletests

from nel_action.statistics.aggregate import Aggregate, HoeffdingMean, aggregate_difference, aggregate_mean
from nel_action.statistics.binary import PairedProportions, Proportion, TwoProportions
from nel_action.statistics.estimates import Evidence, Negated, StudentMean
from nel_action.statistics.means import mean_of_clusters, mean_of_items
from nel_action.statistics.multiplicity import holm
from nel_action.statistics.relative import Moments, fieller_interval, paired_moments

COUNTS = [(0, 10), (3, 30), (29, 30), (198, 198), (9_000, 14_042)]


@pytest.mark.parametrize(("right", "n"), COUNTS)
def test_one_proportion_is_clopper_pearson(right: int, n: int) -> None:
    ours = Proportion(right, n)
    low, high = proportion.proportion_confint(right, n, alpha=0.1, method="beta")
    assert ours.lower_bound(0.05) == pytest.approx(low, abs=1e-9)
    assert ours.upper_bound(0.05) == pytest.approx(high, abs=1e-9)
    for limit in (0.1, 0.5, 0.9):
        assert ours.p_value_at_most(limit) == pytest.approx(
            stats.binomtest(right, n, limit, alternative="greater").pvalue, rel=1e-7, abs=1e-280
        )
        assert ours.p_value_at_least(limit) == pytest.approx(
            stats.binomtest(right, n, limit, alternative="less").pvalue, rel=1e-7, abs=1e-280
        )


@pytest.mark.parametrize(
    ("a", "n1", "b", "n0"), [(20, 30, 25, 30), (80, 100, 170, 200), (7_000, 14_042, 7_500, 14_042)]
)
def test_two_proportions_are_agresti_caffo_and_miettinen_nurminen(a: int, n1: int, b: int, n0: int) -> None:
    ours = TwoProportions(Proportion(a, n1), Proportion(b, n0))
    _, high = proportion.confint_proportions_2indep(a, n1, b, n0, method="agresti-caffo", compare="diff", alpha=0.1)
    assert ours.upper_bound(0.05) == pytest.approx(high, abs=1e-9)
    for limit in (-0.2, -0.05, 0.03):
        assert ours.p_value_at_most(limit) == pytest.approx(score_test(a, n1, b, n0, limit), rel=1e-4, abs=1e-12)
    assert ours.p_value_at_most(ours.lower_bound(0.05)) == pytest.approx(0.05, abs=1e-6)


def score_test(a: int, n1: int, b: int, n0: int, limit: float) -> float:
    """Miettinen and Nurminen's test with the likeliest rates found by search, not by formula.

    NOTE: statsmodels 0.15 calls its own version experimental, and its rates are not the likeliest ones.
    """

    def cost(p0: float) -> float:
        cells = [(a, p0 + limit), (n1 - a, 1 - p0 - limit), (b, p0), (n0 - b, 1 - p0)]
        return -sum(k * math.log(max(p, 1e-300)) for k, p in cells)

    bounds = (max(0.0, -limit) + 1e-12, min(1.0, 1 - limit) - 1e-12)
    p0 = float(optimize.minimize_scalar(cost, bounds=bounds, method="bounded", options={"xatol": 1e-13}).x)
    p1 = p0 + limit
    variance = (p1 * (1 - p1) / n1 + p0 * (1 - p0) / n0) * (n1 + n0) / (n1 + n0 - 1)
    return float(stats.norm.sf((a / n1 - b / n0 - limit) / math.sqrt(variance)))


def tango_by_likelihood(up: int, down: int, n: int, limit: float) -> float:
    """The score statistic with the chance of getting worse found by search, not by formula."""

    def cost(q: float) -> float:
        cells = [(up, q + limit), (down, q), (n - up - down, 1 - 2 * q - limit)]
        return -sum(k * math.log(max(p, 1e-300)) for k, p in cells if k)

    bottom, top = max(0.0, -limit) + 1e-12, (1 - limit) / 2 - 1e-12
    q = float(optimize.minimize_scalar(cost, bounds=(bottom, top), method="bounded", options={"xatol": 1e-13}).x)
    return float(stats.norm.sf((up - down - n * limit) / math.sqrt(n * (2 * q + limit - limit * limit))))


@pytest.mark.parametrize(("up", "down", "n"), [(0, 0, 30), (3, 5, 60), (0, 4, 198), (30, 41, 400), (300, 300, 14_042)])
def test_the_score_interval_is_tangos(up: int, down: int, n: int) -> None:
    ours = PairedProportions(up, down, n)
    for limit in (-0.2, -0.1, -0.05, -0.01, 0.02):
        assert ours.p_value_at_most(limit) == pytest.approx(tango_by_likelihood(up, down, n, limit), rel=1e-4, abs=1e-9)
    assert ours.p_value_at_most(ours.lower_bound(0.05)) == pytest.approx(0.05, abs=1e-6)


def test_the_adjusted_interval_is_bonett_and_prices() -> None:
    ours = PairedProportions(better=6, worse=21, n=120)
    p12, p21 = 7 / 122, 22 / 122
    half = 1.6448536269514722 * math.sqrt((p12 + p21 - (p12 - p21) ** 2) / 122)
    assert ours.upper_bound(0.05) == pytest.approx(p12 - p21 + half, abs=1e-12)
    assert ours.p_value_at_least(ours.upper_bound(0.05)) == pytest.approx(0.05, abs=1e-9)


def test_without_skew_a_mean_is_students() -> None:
    half = np.random.default_rng(1).normal(0, 0.1, 100)
    values = np.concatenate([half, -half]) + 0.02
    ours = mean_of_items(values, -0.4, 0.4)
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    assert ours.lower_bound(0.05) == pytest.approx(low, abs=1e-9)
    assert ours.upper_bound(0.05) == pytest.approx(high, abs=1e-9)
    for limit in (0.005, 0.01):
        assert ours.p_value_at_most(limit) == pytest.approx(
            stats.ttest_1samp(values, limit, alternative="greater").pvalue, rel=1e-6
        )
    for limit in (0.03, 0.035):
        assert ours.p_value_at_least(limit) == pytest.approx(
            stats.ttest_1samp(values, limit, alternative="less").pvalue, rel=1e-6
        )


def test_with_skew_a_mean_is_halls() -> None:
    values = np.random.default_rng(2).exponential(0.1, 198)
    ours = mean_of_items(values, 0, 10)
    root, limit = math.sqrt(198), 0.09
    t = (values.mean() - limit) / (values.std(ddof=1) / root)
    g = float(((values - values.mean()) ** 3).mean() / values.std(ddof=1) ** 3) / root
    assert ours.p_value_at_most(limit) == pytest.approx(
        float(stats.t.sf(t + g * t**2 / 3 + g**2 * t**3 / 27 + g / 6, 197)), rel=1e-9
    )
    plain = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    # NOTE: a long tail to the right means that the truth may lie further up than t says, and less far down.
    assert ours.upper_bound(0.05) > plain[1]
    assert ours.lower_bound(0.05) > plain[0]


def test_clusters_are_statsmodels_own() -> None:
    random = np.random.default_rng(3)
    cluster = random.integers(0, 12, 300)
    values = random.normal(0, 0.1, 12)[cluster] + random.normal(0, 0.2, 300)
    fit = statsmodels.api.OLS(values, np.ones(300)).fit(cov_type="cluster", cov_kwds={"groups": cluster}, use_t=True)
    ours = mean_of_clusters(values, cluster, -5, 5)
    assert ours.estimate == pytest.approx(float(fit.params[0]))
    assert ours.sample_stderr == pytest.approx(float(fit.bse[0]), rel=1e-9)
    assert ours.df == 11


def test_clusters_of_one_are_independent_items() -> None:
    values = np.random.default_rng(4).normal(0, 0.1, 100)
    alone, single = mean_of_items(values, -1, 1), mean_of_clusters(values, np.arange(100), -1, 1)
    assert single.lower_bound(0.05) == pytest.approx(alone.lower_bound(0.05), rel=1e-3)


def test_unpaired_scores_are_welchs() -> None:
    ours = aggregate_difference(Aggregate(30.1, 0.8, 50), Aggregate(31.7, 0.5, 80), higher=True)
    assert isinstance(ours, StudentMean)
    reference = stats.ttest_ind_from_stats(
        30.1, 0.8 * math.sqrt(50), 50, 31.7, 0.5 * math.sqrt(80), 80, equal_var=False, alternative="less"
    )
    assert ours.p_value_at_least(0.0) == pytest.approx(float(reference.pvalue), rel=1e-9)


def test_holm_is_statsmodels_own() -> None:
    random = np.random.default_rng(5)
    for _ in range(20):
        p = (random.random(random.integers(1, 12)) ** 3).tolist()
        assert holm(p, [0.05] * len(p)) == multipletests(p, alpha=0.05, method="holm")[0].tolist()


def test_holm_with_unlike_confidence_compares_shares() -> None:
    assert holm([0.004, 0.02], [0.01, 0.05]) == [True, True]
    assert holm([0.006, 0.03], [0.01, 0.05]) == [False, False]
    assert holm([], []) == []


def test_fiellers_interval_is_where_the_contrast_is_not_rejected() -> None:
    random = np.random.default_rng(6)
    before = random.normal(5, 1, 200)
    after = 0.9 * before + random.normal(0, 0.5, 200)
    interval = fieller_interval(paired_moments(after, before), 1.645)
    assert interval is not None
    for end in interval:
        contrast = after - end * before
        assert abs(contrast.mean() / (contrast.std(ddof=1) / math.sqrt(200))) == pytest.approx(1.645, rel=1e-6)
    assert fieller_interval(Moments(1.0, 0.1, 0.01, 0.01), 1.645) is None


def test_chernoffs_bound_is_where_the_divergence_says() -> None:
    ours = HoeffdingMean(0.8, 100)
    for bound in (ours.lower_bound(0.05), ours.upper_bound(0.05)):
        assert 100 * stats.entropy([0.8, 0.2], [bound, 1 - bound]) == pytest.approx(math.log(20), rel=1e-6)
    assert HoeffdingMean(1.0, 100).upper_bound(0.05) == 1
    assert HoeffdingMean(0.0, 100).lower_bound(0.05) == 0


def every_kind() -> list[Evidence]:
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


@pytest.mark.parametrize("one", every_kind(), ids=lambda one: one.method)
@pytest.mark.parametrize("alpha", [0.2, 0.05, 0.005])
def test_bounds_and_p_values_say_the_same(one: Evidence, alpha: float) -> None:
    low, high = one.lower_bound(alpha), one.upper_bound(alpha)
    assert low < high
    assert low <= one.estimate <= high
    gap = 1e-3 * (high - low)
    assert one.p_value_at_most(low + gap) > alpha
    assert one.p_value_at_most(low - gap) <= alpha or low <= 0 <= one.estimate
    assert one.p_value_at_least(high - gap) > alpha
    assert one.p_value_at_least(high + gap) <= alpha


@pytest.mark.parametrize("one", every_kind(), ids=lambda one: one.method)
def test_p_values_move_one_way(one: Evidence) -> None:
    limits = np.linspace(-0.99, 0.99, 100).tolist()
    fails, passes = [one.p_value_at_least(limit) for limit in limits], [one.p_value_at_most(limit) for limit in limits]
    assert all(a >= b - 1e-9 for a, b in pairwise(fails))
    assert all(a <= b + 1e-9 for a, b in pairwise(passes))
    assert all(0 <= p <= 1 for p in fails + passes)
    assert not any(a <= 0.05 and b <= 0.05 for a, b in zip(fails, passes, strict=True))
