from __future__ import annotations

import math

import pytest
from scipy import special, stats

from nel_action.statistics import distributions as dist

DF = [1, 2, 7, 29, 197, 1318, 14_041, 999_999, 5e7]
P = [1e-9, 1e-4, 0.005, 0.05, 0.2, 0.5, 0.8, 0.95, 0.995, 1 - 1e-6]


@pytest.mark.parametrize("df", DF)
def test_student_t_agrees_with_scipy(df: float) -> None:
    for t in (-40.0, -3.1, -0.2, 0.0, 0.7, 1.645, 5.5, 38.0):
        assert dist.t_sf(t, df) == pytest.approx(float(stats.t.sf(t, df)), rel=1e-5, abs=1e-300)
    for p in P:
        assert dist.t_quantile(p, df) == pytest.approx(float(stats.t.ppf(p, df)), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(("a", "b"), [(0.5, 0.5), (1, 30), (30, 1), (12, 19), (700, 620), (14_000, 43), (5e5, 5e5)])
def test_beta_agrees_with_scipy(a: float, b: float) -> None:
    mean = a / (a + b)
    sd = math.sqrt(mean * (1 - mean) / (a + b + 1))
    for x in (mean - 5 * sd, mean - sd, mean, mean + 2 * sd):
        if 0 < x < 1:
            assert dist.beta_cdf(x, a, b) == pytest.approx(float(special.betainc(a, b, x)), rel=1e-7)
    for p in P:
        assert dist.beta_quantile(p, a, b) == pytest.approx(float(special.betaincinv(a, b, p)), rel=1e-7)


@pytest.mark.parametrize("n", [1, 30, 198, 14_042])
@pytest.mark.parametrize("p", [0.01, 0.5, 0.97])
def test_binomial_tails_agree_with_scipy(n: int, p: float) -> None:
    for k in {-1, 0, 1, n // 3, int(n * p), n - 1, n, n + 1}:
        assert dist.binomial_at_most(k, n, p) == pytest.approx(float(stats.binom.cdf(k, n, p)), rel=1e-9, abs=1e-290)
        assert dist.binomial_at_least(k, n, p) == pytest.approx(
            float(stats.binom.sf(k - 1, n, p)), rel=1e-9, abs=1e-290
        )


def test_normal_tails_keep_relative_precision() -> None:
    assert dist.normal_sf(12.0) == pytest.approx(float(stats.norm.sf(12.0)), rel=1e-10)
    assert dist.normal_cdf(-12.0) == pytest.approx(dist.normal_sf(12.0))
    assert dist.normal_quantile(0.95) == pytest.approx(1.6448536269514722)


def test_cdfs_are_exact_at_the_ends_of_the_support() -> None:
    assert dist.beta_cdf(0.0, 2, 3) == 0
    assert dist.beta_cdf(1.0, 2, 3) == 1
    assert dist.t_sf(math.inf, 3) == 0
    assert dist.t_sf(-math.inf, 3) == 1
