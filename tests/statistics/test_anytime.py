from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from nel_action.statistics.anytime import Observation, anytime_test, detect_regression

pytestmark = pytest.mark.slow

STDERR = 0.01


def make_series(random: np.random.Generator, losses: list[float], baseline_stderr: float = STDERR) -> list[Observation]:
    """Draw observations with one error of the baseline for all, and one of each run."""
    baseline_error = random.normal(0, baseline_stderr)
    return [Observation(loss + baseline_error + random.normal(0, STDERR), STDERR) for loss in losses]


def test_false_alarm_rate_holds_over_a_hundred_runs() -> None:
    random = np.random.default_rng(1)
    alarms = naive_alarms = 0
    for _ in range(300):
        series = make_series(random, [0.02] * 100)
        alarms += anytime_test(series, margin=0.02, baseline_stderr=STDERR).alarm is not None
        naive_alarms += any(stats.norm.sf((run.loss - 0.02) / (STDERR * 2**0.5)) < 0.05 for run in series)
    assert alarms / 300 <= 0.05
    assert naive_alarms / 300 > 0.5


def test_false_alarm_rate_holds_with_an_exact_baseline() -> None:
    random = np.random.default_rng(2)
    tests = [anytime_test(make_series(random, [0.02] * 60, 0.0), margin=0.02, baseline_stderr=1e-9) for _ in range(300)]
    assert sum(test.alarm is not None for test in tests) / 300 <= 0.05


def test_late_drop_is_detected_within_few_runs() -> None:
    random = np.random.default_rng(3)
    delays = []
    for _ in range(50):
        series = make_series(random, [0.0] * 60 + [0.1] * 15)
        alarm = anytime_test(series, margin=0.02, baseline_stderr=STDERR).alarm
        assert alarm is not None
        assert alarm >= 60
        delays.append(alarm - 60)
    assert float(np.median(delays)) <= 3


def test_observation_without_finite_positive_error_is_rejected() -> None:
    for observation in (Observation(0.1, 0.0), Observation(float("nan"), 0.1), Observation(0.1, float("inf"))):
        with pytest.raises(ValueError, match="observation 0"):
            anytime_test([observation], margin=0.02, baseline_stderr=STDERR)


def test_empty_series_raises_no_alarm() -> None:
    assert anytime_test([], margin=0.02, baseline_stderr=STDERR).alarm is None


def detect(losses: list[float]) -> bool:
    series = [Observation(loss, STDERR) for loss in losses]
    return detect_regression(series, shared_stderr=STDERR, confidence=0.95, min_exceeding=2).regressed


def test_detect_regression_needs_several_exceeding_observations() -> None:
    assert not detect([-0.01] * 5 + [10.0])
    assert detect([-0.01] * 5 + [10.0, 10.0])


def test_detect_regression_restarts_after_recovery() -> None:
    assert detect([0.1] * 6)
    assert not detect([0.1] * 6 + [-0.01])
    assert not detect([0.1] * 6 + [-0.01, 0.1])
    assert detect([0.1] * 6 + [-0.01] + [0.1] * 6)


def test_detect_regression_reports_evidence_since_the_recovery() -> None:
    series = [Observation(loss, STDERR) for loss in [0.1] * 6 + [-0.01, 0.0]]
    state = detect_regression(series, shared_stderr=STDERR, confidence=0.95, min_exceeding=2)
    since_recovery = anytime_test(series[7:], margin=0.0, baseline_stderr=STDERR)
    assert (state.e_value, state.threshold) == (since_recovery.e_value, since_recovery.threshold)
