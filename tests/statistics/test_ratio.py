"""The ratio of two shares of the same items."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import optimize

from nel_action.statistics.relative import PairedRatio


def likeliest(both: int, better: int, worse: int, n: int, ratio: float) -> float:
    """Return the score statistic, its variance by a search for the likeliest rates in place of the formula."""

    def minus_likelihood(down: float) -> float:
        share = (both + better + worse) / n
        stay = (share - (1 + ratio) * down) / ratio
        up = share - stay - down
        return -sum(k * math.log(max(p, 1e-300)) for k, p in ((both, stay), (better, up), (worse, down)))

    share = (both + better + worse) / n
    low, high = max(0.0, (1 - ratio) * share), share / (1 + ratio)
    found = optimize.minimize_scalar(minus_likelihood, bounds=(low, high), method="bounded", options={"xatol": 1e-12})
    variance = n * ((1 + ratio) * found.x - (1 - ratio) * share)
    return float((both + better - ratio * (both + worse)) / math.sqrt(variance))


@pytest.mark.parametrize(("both", "better", "worse", "n"), [(120, 10, 25, 200), (20, 5, 3, 60), (700, 40, 60, 1319)])
@pytest.mark.parametrize("ratio", [0.75, 0.9, 0.98])
def test_the_score_test_is_that_of_the_likeliest_rates(
    both: int, better: int, worse: int, n: int, ratio: float
) -> None:
    from scipy.stats import norm

    ours = PairedRatio(both, better, worse, n).p_value_at_most(ratio)
    assert ours == pytest.approx(float(norm.sf(likeliest(both, better, worse, n, ratio))), abs=1e-4)


def test_bounds_are_where_the_p_values_cross() -> None:
    known = PairedRatio(120, 10, 25, 200)
    assert known.estimate == pytest.approx(130 / 145)
    assert known.p_value_at_most(known.lower_bound(0.05)) == pytest.approx(0.05, abs=1e-6)
    assert known.p_value_at_least(known.upper_bound(0.05)) == pytest.approx(0.05, abs=1e-6)
    assert known.lower_bound(0.05) < known.estimate < known.upper_bound(0.05)
    rates = np.linspace(0.3, 1.5, 50)
    assert all(np.diff([known.p_value_at_most(rate) for rate in rates]) >= 0)
    assert all(np.diff([known.p_value_at_least(rate) for rate in rates]) <= 0)


@pytest.mark.parametrize("known", [PairedRatio(10, 0, 0, 10), PairedRatio(0, 0, 0, 10)])
def test_no_spread_is_no_certainty(known: PairedRatio) -> None:
    assert known.stderr > 0
    assert math.isfinite(known.estimate)
    assert known.p_value_at_most(0.99) > 0.05
    assert known.p_value_at_least(0.99) > 0.05
