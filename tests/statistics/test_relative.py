"""Relative losses: the ratio of paired proportions and Fieller's interval."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import optimize, stats

from nel_action.statistics.relative import (
    Moments,
    PairedRatio,
    fieller_interval,
    paired_moments,
    relative_loss,
)


def score_statistic_by_search(both: int, better: int, worse: int, n: int, ratio: float) -> float:
    """Return the score statistic, with the restricted estimate found by search instead of the formula."""

    def minus_log_likelihood(p_worse: float) -> float:
        p_solved = (both + better + worse) / n
        p_both = (p_solved - (1 + ratio) * p_worse) / ratio
        p_better = p_solved - p_both - p_worse
        cells = ((both, p_both), (better, p_better), (worse, p_worse))
        return -sum(k * math.log(max(p, 1e-300)) for k, p in cells)

    p_solved = (both + better + worse) / n
    bounds = (max(0.0, (1 - ratio) * p_solved), p_solved / (1 + ratio))
    result = optimize.minimize_scalar(minus_log_likelihood, bounds=bounds, method="bounded", options={"xatol": 1e-12})
    variance = n * ((1 + ratio) * result.x - (1 - ratio) * p_solved)
    return float((both + better - ratio * (both + worse)) / math.sqrt(variance))


@pytest.mark.parametrize(("both", "better", "worse", "n"), [(120, 10, 25, 200), (20, 5, 3, 60), (700, 40, 60, 1319)])
@pytest.mark.parametrize("ratio", [0.75, 0.9, 0.98])
def test_paired_ratio_agrees_with_nam_blackwelder(both: int, better: int, worse: int, n: int, ratio: float) -> None:
    statistic = score_statistic_by_search(both, better, worse, n, ratio)
    expected = float(stats.t.sf(statistic, both + better + worse - 1))
    assert PairedRatio(both, better, worse, n).p_value_at_most(ratio) == pytest.approx(expected, abs=1e-4)


def test_bounds_of_paired_ratio_invert_its_tests() -> None:
    ratio = PairedRatio(120, 10, 25, 200)
    assert ratio.estimate == pytest.approx(130 / 145)
    assert ratio.p_value_at_most(ratio.lower_bound(0.05)) == pytest.approx(0.05, abs=1e-6)
    assert ratio.p_value_at_least(ratio.upper_bound(0.05)) == pytest.approx(0.05, abs=1e-6)
    assert ratio.lower_bound(0.05) < ratio.estimate < ratio.upper_bound(0.05)
    limits = np.linspace(0.3, 1.5, 50)
    assert all(np.diff([ratio.p_value_at_most(limit) for limit in limits]) >= 0)
    assert all(np.diff([ratio.p_value_at_least(limit) for limit in limits]) <= 0)


@pytest.mark.parametrize("ratio", [PairedRatio(10, 0, 0, 10), PairedRatio(0, 0, 0, 10)])
def test_paired_ratio_without_discordant_pairs_is_not_certain(ratio: PairedRatio) -> None:
    assert ratio.stderr > 0
    assert math.isfinite(ratio.estimate)
    assert ratio.p_value_at_most(0.99) > 0.05
    assert ratio.p_value_at_least(0.99) > 0.05


def test_fieller_interval_is_where_the_contrast_is_not_rejected() -> None:
    random = np.random.default_rng(6)
    before = random.normal(5, 1, 200)
    after = 0.9 * before + random.normal(0, 0.5, 200)
    interval = fieller_interval(paired_moments(after, before), 1.645)
    assert interval is not None
    for end in interval:
        contrast = after - end * before
        assert abs(contrast.mean() / (contrast.std(ddof=1) / math.sqrt(200))) == pytest.approx(1.645, rel=1e-6)
    assert fieller_interval(Moments(1.0, 0.1, 0.01, 0.01), 1.645) is None


def test_relative_loss_is_positive_for_a_worse_score_in_either_direction() -> None:
    moments = Moments(0.6, 0.8, 1e-4, 1e-4)
    loss = relative_loss(moments, 1.645, higher=True)
    assert loss.estimate == pytest.approx(0.25)
    assert loss.interval is not None
    assert loss.interval[0] < 0.25 < loss.interval[1]
    assert relative_loss(moments, 1.645, higher=False).estimate == pytest.approx(-0.25)
    assert relative_loss(Moments(1.0, 0.1, 0.01, 0.01), 1.645, higher=True).interval is None
