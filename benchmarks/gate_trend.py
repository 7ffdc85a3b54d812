"""Families of the gate simulation for the trend: a year of scheduled runs at the limit, and a step beyond it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from benchmarks.gate_rates import ErrorRates
from benchmarks.gate_settings import seeded_generator

from nel_action.statistics.anytime import Observation, detect_regression, split_errors

NOISE = tuple((autocorrelation, sd) for autocorrelation in (0.0, 0.5, 0.7, 0.9) for sd in (1.0, 2.0, 3.0))
"""Autocorrelation of the errors, and their standard deviation in units of the standard error that is reported."""
CHECKS = (3, 5, 8, 10, 13, 17, 23, 30, 40, 55, 75, 100, 150)
"""Numbers of runs after which the series is judged."""
STEP = 2.5
"""Excess beyond the limit after a step, in standard errors."""
WITHIN = (8, 12, 16, 20, 24, 27, 30)
"""Numbers of runs after the step at which the series is judged."""


def is_regressed(losses: Sequence[float]) -> bool:
    """Judge excess losses in units of the standard error of a run."""
    own, shared = split_errors(losses, 1.0)
    observations = [Observation(loss, own) for loss in losses]
    return detect_regression(observations, shared_stderr=shared, confidence=0.95, min_exceeding=2).regressed


def draw_series(random: np.random.Generator, runs: int, autocorrelation: float, sd: float) -> list[float]:
    """Draw a stationary first-order autoregressive series with mean 0.

    Args:
        random: the generator.
        runs: length of the series.
        autocorrelation: of consecutive runs.
        sd: standard deviation of a run.
    """
    errors = [float(random.normal())]
    for innovation in random.normal(0, (1 - autocorrelation**2) ** 0.5, runs - 1).tolist():
        errors.append(autocorrelation * errors[-1] + innovation)
    return [sd * error for error in errors]


def trend(
    repeats: int, noise: Iterable[tuple[float, float]] = NOISE, checks: Sequence[int] = CHECKS
) -> Iterator[ErrorRates]:
    """Yield the rate of any alarm in a series of runs that are exactly at the limit, as false failures."""
    for autocorrelation, sd in noise:
        random = seeded_generator("trend", autocorrelation, sd)
        alarms = 0
        for _ in range(repeats):
            series = draw_series(random, checks[-1], autocorrelation, sd)
            alarms += any(is_regressed(series[:runs]) for runs in checks)
        yield ErrorRates(f"autocorrelation {autocorrelation}, sd {sd:g}", checks[-1], 100 * alarms / repeats, 0.0)


def trend_delay(repeats: int, before: Iterable[int] = (0, 10, 20, 40)) -> Iterator[ErrorRates]:
    """Yield how often a step is not detected within 30 runs, as false passes."""
    for earlier in before:
        random = seeded_generator("trend delay", earlier)
        missed = 0
        for _ in range(repeats):
            series = random.normal(0, 1, earlier + WITHIN[-1])
            series[earlier:] += STEP
            missed += not any(is_regressed(series[: earlier + runs].tolist()) for runs in WITHIN)
        yield ErrorRates(f"step after {earlier} runs", earlier + WITHIN[-1], 0.0, 100 * missed / repeats)
