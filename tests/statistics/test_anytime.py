from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from nel_action.statistics.anytime import Observation, anytime_test

NOISE = 0.01


def history(random: np.random.Generator, drops: list[float], baseline_noise: float = NOISE) -> list[Observation]:
    luck = random.normal(0, baseline_noise)
    return [Observation(drop + luck + random.normal(0, NOISE), NOISE) for drop in drops]


def test_a_hundred_looks_cry_wolf_no_more_often_than_one() -> None:
    random = np.random.default_rng(1)
    alarms = naive = 0
    for _ in range(300):
        nights = history(random, [0.02] * 100)
        alarms += anytime_test(nights, margin=0.02, baseline_stderr=NOISE).alarm is not None
        naive += any(stats.norm.sf((night.loss - 0.02) / (NOISE * 2**0.5)) < 0.05 for night in nights)
    assert alarms / 300 <= 0.05
    assert naive / 300 > 0.5


def test_without_a_fixed_baselines_luck_it_is_still_sound() -> None:
    random = np.random.default_rng(2)
    found = [anytime_test(history(random, [0.02] * 60, 0.0), margin=0.02, baseline_stderr=1e-9) for _ in range(300)]
    assert sum(one.alarm is not None for one in found) / 300 <= 0.05


def test_a_late_drop_is_found_soon() -> None:
    random = np.random.default_rng(3)
    delays = []
    for _ in range(50):
        nights = history(random, [0.0] * 60 + [0.1] * 15)
        alarm = anytime_test(nights, margin=0.02, baseline_stderr=NOISE).alarm
        assert alarm is not None
        assert alarm >= 60
        delays.append(alarm - 60)
    assert float(np.median(delays)) <= 3


def test_a_night_without_an_error_is_refused() -> None:
    for night in (Observation(0.1, 0.0), Observation(float("nan"), 0.1), Observation(0.1, float("inf"))):
        with pytest.raises(ValueError, match="observation 0"):
            anytime_test([night], margin=0.02, baseline_stderr=NOISE)


def test_no_night_says_nothing() -> None:
    assert anytime_test([], margin=0.02, baseline_stderr=NOISE).alarm is None
