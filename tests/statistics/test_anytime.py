from __future__ import annotations

import numpy as np
import pytest
from benchmarks.gate_trend import trend, trend_delay
from scipy import stats

from nel_action.statistics.anytime import Observation, anytime_test, detect_regression, split_errors

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


def test_few_runs_keep_the_entire_error_and_a_larger_shared_one() -> None:
    assert split_errors([0.0, 1.0, -1.0], STDERR) == (STDERR, 2.7 * STDERR)


def test_spread_between_runs_separates_the_shared_error() -> None:
    random = np.random.default_rng(4)
    own, shared = split_errors((0.05 + random.normal(0, 0.5, 200)).tolist(), 1.0)
    assert own == pytest.approx(0.6, abs=0.2)
    assert shared == pytest.approx(0.75**0.5, abs=0.1)
    _, none = split_errors(random.normal(0, 1.5, 200).tolist(), 1.0)
    assert none == 0


def test_step_and_slow_decline_are_not_taken_for_noise() -> None:
    random = np.random.default_rng(7)
    noise = random.normal(0, 1, 60)
    constant, _ = split_errors(noise.tolist(), 1.0)
    step, _ = split_errors((noise + np.where(np.arange(60) < 40, 0, 8)).tolist(), 1.0)
    decline, _ = split_errors((noise + 0.3 * np.arange(60)).tolist(), 1.0)
    assert step == pytest.approx(constant, rel=0.5)
    assert decline == pytest.approx(constant, rel=0.5)


@pytest.mark.parametrize(("autocorrelation", "sd"), [(0.0, 1), (0.0, 3), (0.5, 3), (0.7, 3), (0.9, 2), (0.9, 3)])
def test_noisy_and_autocorrelated_runs_at_the_limit_raise_no_alarm(autocorrelation: float, sd: float) -> None:
    """Errors of three standard errors with an autocorrelation of 0.9 raised an alarm in 48 % of the series."""
    (rates,) = trend(100, [(autocorrelation, sd)], (5, 10, 17, 30, 40))
    assert rates.false_fail <= 7


@pytest.mark.parametrize("before", [0, 20])
def test_step_of_two_and_a_half_standard_errors_is_detected_within_thirty_runs(before: int) -> None:
    (rates,) = trend_delay(60, [before])
    assert 100 - rates.false_pass >= 75
