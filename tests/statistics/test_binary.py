"""Proportions, compared with scipy and statsmodels, or with the definition of the method."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import optimize, stats
from statsmodels.stats import proportion

from nel_action.statistics.binary import PairedProportions, Proportion, TwoProportions, agresti_coull_stderr

COUNTS = [(0, 10), (3, 30), (29, 30), (198, 198), (9_000, 14_042)]


@pytest.mark.parametrize(("successes", "n"), COUNTS)
def test_proportion_agrees_with_clopper_pearson(successes: int, n: int) -> None:
    estimate = Proportion(successes, n)
    low, high = proportion.proportion_confint(successes, n, alpha=0.1, method="beta")
    assert estimate.lower_bound(0.05) == pytest.approx(low, abs=1e-9)
    assert estimate.upper_bound(0.05) == pytest.approx(high, abs=1e-9)
    for limit in (0.1, 0.5, 0.9):
        assert estimate.p_value_at_most(limit) == pytest.approx(
            stats.binomtest(successes, n, limit, alternative="greater").pvalue, rel=1e-7, abs=1e-280
        )
        assert estimate.p_value_at_least(limit) == pytest.approx(
            stats.binomtest(successes, n, limit, alternative="less").pvalue, rel=1e-7, abs=1e-280
        )


@pytest.mark.parametrize(("successes", "n"), COUNTS)
def test_agresti_coull_stderr_agrees_with_statsmodels(successes: int, n: int) -> None:
    # NOTE: statsmodels adds z^2 pseudo-observations; Agresti and Coull round z to 2.
    z = 2.0
    low, high = proportion.proportion_confint(successes, n, alpha=2 * stats.norm.sf(z), method="agresti_coull")
    stderr = agresti_coull_stderr(successes, n)
    middle = (successes + 2) / (n + 4)
    assert max(0.0, middle - z * stderr) == pytest.approx(low, abs=1e-9)
    assert min(1.0, middle + z * stderr) == pytest.approx(high, abs=1e-9)


@pytest.mark.parametrize(
    ("a", "n1", "b", "n0"), [(20, 30, 25, 30), (80, 100, 170, 200), (7_000, 14_042, 7_500, 14_042)]
)
def test_two_proportions_agree_with_agresti_caffo_and_miettinen_nurminen(a: int, n1: int, b: int, n0: int) -> None:
    difference = TwoProportions(Proportion(a, n1), Proportion(b, n0))
    _, high = proportion.confint_proportions_2indep(a, n1, b, n0, method="agresti-caffo", compare="diff", alpha=0.1)
    assert difference.upper_bound(0.05) == pytest.approx(high, abs=1e-9)
    for limit in (-0.2, -0.05, 0.03):
        expected = miettinen_nurminen_by_search(a, n1, b, n0, limit)
        assert difference.p_value_at_most(limit) == pytest.approx(expected, rel=1e-4, abs=1e-12)
    assert difference.p_value_at_most(difference.lower_bound(0.05)) == pytest.approx(0.05, abs=1e-6)


def miettinen_nurminen_by_search(a: int, n1: int, b: int, n0: int, limit: float) -> float:
    """Return the p-value of the score test, with the restricted estimates found by search instead of the formula.

    NOTE: statsmodels 0.15 marks its own version as experimental, and its estimates do not maximise the likelihood.
    """

    def cost(p0: float) -> float:
        cells = [(a, p0 + limit), (n1 - a, 1 - p0 - limit), (b, p0), (n0 - b, 1 - p0)]
        return -sum(k * math.log(max(p, 1e-300)) for k, p in cells)

    bounds = (max(0.0, -limit) + 1e-12, min(1.0, 1 - limit) - 1e-12)
    p0 = float(optimize.minimize_scalar(cost, bounds=bounds, method="bounded", options={"xatol": 1e-13}).x)
    p1 = p0 + limit
    variance = (p1 * (1 - p1) / n1 + p0 * (1 - p0) / n0) * (n1 + n0) / (n1 + n0 - 1)
    return float(stats.norm.sf((a / n1 - b / n0 - limit) / math.sqrt(variance)))


def tango_by_search(better: int, worse: int, n: int, limit: float) -> float:
    """Return the p-value of the score test, with the restricted estimate found by search instead of the formula."""

    def cost(q: float) -> float:
        cells = [(better, q + limit), (worse, q), (n - better - worse, 1 - 2 * q - limit)]
        return -sum(k * math.log(max(p, 1e-300)) for k, p in cells if k)

    low, high = max(0.0, -limit) + 1e-12, (1 - limit) / 2 - 1e-12
    q = float(optimize.minimize_scalar(cost, bounds=(low, high), method="bounded", options={"xatol": 1e-13}).x)
    statistic = (better - worse - n * limit) / math.sqrt(n * (2 * q + limit - limit * limit))
    return float(stats.t.sf(statistic, n - 1))


@pytest.mark.parametrize(
    ("better", "worse", "n"), [(0, 0, 30), (3, 5, 60), (0, 4, 198), (30, 41, 400), (300, 300, 14_042)]
)
def test_paired_score_interval_agrees_with_tango(better: int, worse: int, n: int) -> None:
    difference = PairedProportions(better, worse, n)
    for limit in (-0.2, -0.1, -0.05, -0.01, 0.02):
        expected = tango_by_search(better, worse, n, limit)
        assert difference.p_value_at_most(limit) == pytest.approx(expected, rel=1e-4, abs=1e-9)
    assert difference.p_value_at_most(difference.lower_bound(0.05)) == pytest.approx(0.05, abs=1e-6)


def test_paired_adjusted_interval_agrees_with_bonett_price() -> None:
    difference = PairedProportions(better=6, worse=21, n=120)
    p12, p21 = 7 / 122, 22 / 122
    half_width = 1.6448536269514722 * math.sqrt((p12 + p21 - (p12 - p21) ** 2) / 122)
    assert difference.upper_bound(0.05) == pytest.approx(p12 - p21 + half_width, abs=1e-12)
    assert difference.p_value_at_least(difference.upper_bound(0.05)) == pytest.approx(0.05, abs=1e-9)


@pytest.mark.parametrize(("n", "n_baseline"), [(15, 1000), (1000, 15)])
def test_two_proportions_of_very_unequal_samples_do_not_pass_at_the_margin(n: int, n_baseline: int) -> None:
    random = np.random.default_rng(11)
    for rate in (0.3, 0.7, 0.93):
        solved = zip(random.binomial(n, rate - 0.05, 1500), random.binomial(n_baseline, rate, 1500), strict=True)
        estimates = [TwoProportions(Proportion(int(a), n), Proportion(int(b), n_baseline)) for a, b in solved]
        assert sum(estimate.p_value_at_most(-0.05) <= 0.05 for estimate in estimates) / 1500 <= 0.07
