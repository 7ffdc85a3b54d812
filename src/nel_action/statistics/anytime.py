"""An anytime-valid test of a series of runs: its false alarm rate holds however often it is evaluated.

A new 5 % test after every run raises a false alarm sooner or later. Here one error rate covers all runs together.
The evidence is an e-value, the wealth of a bettor against "no run is worse than allowed", which reaches 1 / alpha at
any time with probability alpha at most (Ville, 1939). A regression may start at any run, so the stake is spread over
all starts; from each start, the wealth is Robbins' one-sided normal mixture (Howard, Ramdas, McAuliffe and Sekhon,
2021, "Time-uniform, nonparametric, nonasymptotic confidence sequences").
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import linear_regression
from typing import Final

from nel_action.statistics.distributions import normal_cdf, normal_quantile

__all__ = ["AnytimeTest", "Observation", "RegressionState", "anytime_test", "detect_regression", "split_errors"]

_MIN_RUNS_FOR_SPREAD: Final = 30
"""With fewer runs, their spread and their autocorrelation are too uncertain to separate the errors."""
_FEW_RUNS_FACTOR: Final = 2.7
"""Shared error of fewer runs, in units of the standard error: noisy or autocorrelated runs look like a drop."""
_FEWEST_AROUND_STEP: Final = 2
"""Runs on each side of a possible step."""
_SPREAD_ALLOWANCE: Final = 1.0
"""Relative allowance for the error of a spread, times the square root of the number of differences."""
_SHARED_ALLOWANCE: Final = 0.4
"""The same for the part that all runs share, of which an error widens the limit only once."""
_AUTOCORRELATION_QUANTILE: Final = 2.5
"""Upper bound of an estimated autocorrelation, in units of its standard error."""
_LARGEST_AUTOCORRELATION: Final = 0.97
_SMALLEST_OWN_FRACTION: Final = 0.1
_LARGEST_EXPONENT = 600.0
"""Keeps the exponential within the range of a float."""


@dataclass(frozen=True, slots=True)
class Observation:
    """One run's loss."""

    loss: float
    """Positive for a worse score, in the unit of the metric."""
    stderr: float
    """Standard error of the loss without the baseline's part, which all runs share."""


@dataclass(frozen=True, slots=True)
class AnytimeTest:
    """The outcome of an anytime-valid test after each run of a series."""

    alarm: int | None
    """Index of the first run at which the evidence reached the threshold; None if it never did."""
    e_value: float
    """Evidence after the last run."""
    threshold: float
    """Evidence that an alarm requires."""
    e_values: tuple[float, ...] = ()
    """Evidence after each run."""


def anytime_test(
    observations: Sequence[Observation], *, margin: float, baseline_stderr: float, confidence: float = 0.95
) -> AnytimeTest:
    """Test a series of losses against a margin.

    Over the entire series, the false alarm rate is at most 1 - confidence. Half of it is spent on the error of the
    baseline, which all runs share and which therefore widens the margin once.

    Args:
        observations: oldest first.
        margin: the allowed loss, in the unit of the metric.
        baseline_stderr: standard error of the baseline's score.
        confidence: of the entire series.

    Raises:
        ValueError: an observation is not finite or has no positive standard error.
    """
    half_alpha = (1 - confidence) / 2
    allowed = margin + normal_quantile(1 - half_alpha) * baseline_stderr
    starts: list[tuple[float, float, float]] = []
    """For each start: sum of the excess losses, sum of their variances, and the variance of the first."""
    e_values: list[float] = []
    threshold = 1 / half_alpha
    for index, observation in enumerate(observations):
        loss, stderr = observation.loss, observation.stderr
        if not (math.isfinite(loss) and math.isfinite(stderr) and stderr > 0):
            msg = f"observation {index}: loss {loss}, standard error {stderr}; need finite values and a positive error"
            raise ValueError(msg)
        variance = stderr**2
        starts = [(total + loss - allowed, spread + variance, first) for total, spread, first in starts]
        starts.append((loss - allowed, variance, variance))
        # NOTE: start j has the weight 1 / (j (j + 1)); the rest of the stake is kept for future starts.
        e_value = 1 / (len(starts) + 1)
        e_value += sum(_mixture_wealth(*start) / (number * (number + 1)) for number, start in enumerate(starts, 1))
        e_values.append(e_value)
    alarm = next((index for index, e_value in enumerate(e_values) if e_value >= threshold), None)
    return AnytimeTest(alarm, e_values[-1] if e_values else 1.0, threshold, tuple(e_values))


def _mixture_wealth(total: float, variance: float, prior_variance: float) -> float:
    """Return the wealth of the one-sided normal mixture martingale (Robbins, 1970).

    2 sqrt(r / (v + r)) exp(s^2 / (2 (v + r))) Phi(s / sqrt(v + r)) for the sum s, its variance v and the prior
    variance r; r is the variance of the first observation.
    """
    mixture_variance = variance + prior_variance
    exponent = min(total * total / (2 * mixture_variance), _LARGEST_EXPONENT)
    scale = 2 * math.sqrt(prior_variance / mixture_variance)
    return scale * math.exp(exponent) * normal_cdf(total / math.sqrt(mixture_variance))


def split_errors(losses: Sequence[float], stderr: float) -> tuple[float, float]:
    """Return the standard error of a run and the one that all runs share, from the spread between runs.

    The error of a run's difference from the baseline consists of a part that all runs share, such as the choice of the
    items, and a part of its own, which the spread between runs shows. The spread is that around the step or the line
    that fits best, so that a regression does not hide itself. Runs may be autocorrelated (a changing server, retried
    requests): the error of a run is that of the long-run variance of a first-order autoregressive series, with the
    upper bound of its estimated autocorrelation.

    Args:
        losses: one loss for each run, oldest first.
        stderr: standard error of a single loss.

    Returns:
        Both standard errors; with few runs, that of a run is the entire error, and the shared one is larger.
    """
    n = len(losses)
    if n < _MIN_RUNS_FOR_SPREAD:
        return stderr, _FEW_RUNS_FACTOR * stderr
    residuals = _without_change(losses)
    squares = sum(residual * residual for residual in residuals)
    spread = math.sqrt(squares / (n - 3))
    lagged = sum(earlier * later for earlier, later in itertools.pairwise(residuals))
    correlation = lagged / squares if squares > 0 else 0.0
    upper = min(_LARGEST_AUTOCORRELATION, max(0.0, correlation + _AUTOCORRELATION_QUANTILE / math.sqrt(n)))
    innovation = spread * math.sqrt(1 - min(upper, max(0.0, correlation)) ** 2)
    own = innovation * (1 + _SPREAD_ALLOWANCE / math.sqrt(n - 1)) / (1 - upper)
    separated = spread / (1 + _SHARED_ALLOWANCE / math.sqrt(n - 1))
    shared = math.sqrt(max(0.0, stderr**2 - separated**2))
    return max(own, _SMALLEST_OWN_FRACTION * stderr), shared


def _without_change(losses: Sequence[float]) -> list[float]:
    """Return the deviations from one step or from a straight line, whichever fits better, by least squares."""
    n, total = len(losses), sum(losses)
    sums = list(itertools.accumulate(losses))
    candidates = range(_FEWEST_AROUND_STEP, n - _FEWEST_AROUND_STEP + 1)
    step = max(candidates, key=lambda k: sums[k - 1] ** 2 / k + (total - sums[k - 1]) ** 2 / (n - k))
    before, after = sums[step - 1] / step, (total - sums[step - 1]) / (n - step)
    slope, intercept = linear_regression(range(n), losses)
    around_step = [loss - (before if index < step else after) for index, loss in enumerate(losses)]
    around_line = [loss - intercept - slope * index for index, loss in enumerate(losses)]
    return min(around_step, around_line, key=lambda deviations: sum(deviation**2 for deviation in deviations))


@dataclass(frozen=True, slots=True, kw_only=True)
class RegressionState:
    """State of a series after its last observation."""

    regressed: bool
    """An alarm was raised and no later loss was zero or less."""
    e_value: float
    """Evidence since the last recovery."""
    threshold: float


def detect_regression(
    observations: Sequence[Observation], *, shared_stderr: float, confidence: float, min_exceeding: int
) -> RegressionState:
    """Test a series of losses beyond a limit; the test restarts after each recovery.

    Args:
        observations: losses beyond the limit, oldest first, at least one; zero or less is within the limit.
        shared_stderr: standard error that all observations share: the choice of items and the baseline.
        confidence: of the series between two recoveries.
        min_exceeding: observations that must exceed the limit before an alarm.
    """
    start = 0
    while True:
        rest = observations[start:]
        test = anytime_test(rest, margin=0.0, baseline_stderr=shared_stderr, confidence=confidence)
        alarm = _first_alarm(rest, test, min_exceeding)
        if alarm is None:
            return RegressionState(regressed=False, e_value=test.e_value, threshold=test.threshold)
        recovery = next((index for index in range(alarm + 1, len(rest)) if rest[index].loss <= 0), None)
        if recovery is None:
            return RegressionState(regressed=True, e_value=test.e_value, threshold=test.threshold)
        if start + recovery + 1 == len(observations):
            return RegressionState(regressed=False, e_value=test.e_value, threshold=test.threshold)
        start += recovery + 1


def _first_alarm(observations: Sequence[Observation], test: AnytimeTest, min_exceeding: int) -> int | None:
    """Return the first index with enough evidence and enough exceeding observations."""
    exceeding = 0
    for index, (observation, e_value) in enumerate(zip(observations, test.e_values, strict=True)):
        exceeding += observation.loss > 0
        if e_value >= test.threshold and exceeding >= min_exceeding:
            return index
    return None
