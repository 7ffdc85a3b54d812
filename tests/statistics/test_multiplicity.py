from __future__ import annotations

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from nel_action.statistics.multiplicity import holm

pytestmark = pytest.mark.slow


def test_holm_agrees_with_statsmodels() -> None:
    random = np.random.default_rng(5)
    for _ in range(20):
        p = (random.random(random.integers(1, 12)) ** 3).tolist()
        assert holm(p, [0.05] * len(p)) == multipletests(p, alpha=0.05, method="holm")[0].tolist()


def test_holm_orders_tests_with_different_error_rates_by_their_ratio() -> None:
    assert holm([0.004, 0.02], [0.01, 0.05]) == [True, True]
    assert holm([0.006, 0.03], [0.01, 0.05]) == [False, False]
    assert holm([], []) == []
