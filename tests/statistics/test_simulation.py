"""Error rates of the gate's methods at the margin: a fast part of `benchmarks/gate_simulation.py`, fixed seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import pytest
from benchmarks.gate_exact import few_pairs, few_proportions, few_ratios
from benchmarks.gate_families import (
    binary,
    clusters,
    continuous,
    coverage,
    few,
    floors,
    paired_settings,
    relative,
    relative_scores,
    relative_unpaired,
    several,
    unpaired,
)
from benchmarks.gate_power import (
    PlannedPower,
    power_of_clusters,
    power_of_pairs,
    power_of_proportions,
    power_of_scores,
)
from benchmarks.gate_rates import ErrorRates, error_rates, unique_rows
from benchmarks.gate_scores import (
    ceilings,
    reported_differences,
    reported_means,
    unequal_proportions,
    unequal_repeats,
)
from benchmarks.gate_settings import UNIT_SHAPES, seeded_generator

from nel_action.statistics.estimates import StudentMean

pytestmark = pytest.mark.slow

WORST, MEAN = 6.5, 5.0
"""Guaranteed error rates of the worst setting and of the mean of all settings, in percent."""
SLACK = 0.8
"""Two standard errors of 3,000 repeats, in percentage points."""


def assert_error_rates(rates: Iterable[ErrorRates], slack: float = SLACK) -> None:
    settings = list(rates)
    assert settings
    for field in ("false_fail", "false_pass"):
        errors = [getattr(setting, field) for setting in settings]
        assert sum(errors) / len(errors) <= MEAN + slack / 2
        assert max(errors) <= WORST + slack, max(settings, key=lambda setting: getattr(setting, field))


GRID = [(0.5, 0.0, 0.05), (0.7, 0.6, 0.02), (0.85, 0.8, 0.05), (0.97, 0.95, 0.1), (0.3, 0.3, 0.01)]


def test_error_rates_of_binary_pairs() -> None:
    assert_error_rates(binary(3000, (30, 198, 14_042), GRID))


def test_simulation_detects_the_errors_of_the_paired_t_interval() -> None:
    """The common interval passes a real drop far too often, and the simulation shows it."""
    setting, n, chances, margin = next(paired_settings((30,), [(0.97, 0.95, 0.02)]))
    rows = unique_rows(seeded_generator("t", n).multinomial(n, chances, size=3000)[:, :2])

    def paired_t(better: int, worse: int) -> StudentMean:
        mean = (better - worse) / n
        return StudentMean(mean, max(((better + worse) / n - mean**2) / (n - 1), 1e-30) ** 0.5, n - 1)

    rates = error_rates(setting, n, ((paired_t(*row), count) for row, count in rows), -margin)
    assert rates.false_pass > 30


def test_exact_error_rates_of_few_pairs() -> None:
    """Tango's interval with normal quantiles passes 9 % of 2 pairs, 8.6 % of 11 and 7.2 % of 25."""
    assert_error_rates(few_pairs(0, (2, 3, 7, 11, 25)), slack=0)


def test_exact_error_rates_of_ratios_of_few_pairs() -> None:
    """The test of Nam and Blackwelder with normal quantiles passes 12 % of 3 pairs and 6.7 % of 12."""
    assert_error_rates(few_ratios(0, (3, 5, 12)), slack=0)


def test_exact_error_rates_of_two_proportions_of_few_items() -> None:
    """Normal quantiles err in up to 13.6 % with 2 and 40 items and in 12 % with 5 and 200."""
    assert_error_rates(few_proportions(0, ((2, 40), (5, 5), (10, 30))), slack=0)


def test_error_rates_of_two_proportions() -> None:
    assert_error_rates(unpaired(3000, (30, 400), GRID))


def test_error_rates_of_relative_limits_on_binary_pairs() -> None:
    grid = [(0.3, 0.0, 0.02), (0.5, 0.6, 0.1), (0.85, 0.95, 0.05), (0.93, 0.3, 0.02), (0.97, 0.95, 0.25)]
    assert_error_rates(relative(3000, (30, 60, 198), grid))


def test_error_rates_of_relative_limits_on_two_proportions() -> None:
    assert_error_rates(relative_unpaired(2000, (30,), [(0.5, 0.0, 0.25), (0.7, 0.0, 0.1), (0.97, 0.0, 0.25)]))


def test_error_rates_of_relative_limits_on_graded_pairs() -> None:
    assert_error_rates(relative_scores(600, (60,)))


def test_error_rates_of_minimum_on_a_proportion() -> None:
    assert_error_rates(floors(3000, (30, 400)))


SKEWED = ("normal, sd 0.2", "exponential drops", "gamma(1/4) gains", "2 % drop by 0.8", "0.5 % drop by 0.95")


def test_error_rates_of_graded_items() -> None:
    assert_error_rates(continuous(1500, (30, 198), SKEWED))


def test_error_rates_of_few_items() -> None:
    assert_error_rates(few(500, (5, 16, 17)))


def test_error_rates_of_clustered_items() -> None:
    assert_error_rates(clusters(600, (8, 20)))


def test_error_rates_of_clusters_of_unequal_size() -> None:
    assert_error_rates(clusters(600, (57, 150), ("lognormal sizes", "one with half")))


SMALL_RUN_SLACK = 1.8
"""Two standard errors of 600 repeats, in percentage points."""


def test_error_rates_of_reported_scores_with_masses_at_the_bounds() -> None:
    """A t test passes 36 % of 20 items with scores of 0, 0.9 and 1."""
    assert_error_rates(reported_means(600, (5, 20, 198)), SMALL_RUN_SLACK)


def test_error_rates_of_differences_of_reported_scores() -> None:
    sizes = ((10, 30), (60, 400))
    assert_error_rates(reported_differences(400, sizes, tuple(UNIT_SHAPES)[:6]), SMALL_RUN_SLACK)


def test_error_rates_of_a_maximum_on_latencies() -> None:
    """With the observed range, 38 % of 20 latencies with time-outs pass, and 25 % of lognormal ones."""
    shapes = ("5 % time out at 30", "lognormal, sd 2", "Pareto, exponent 3", "gamma(1/4)")
    assert_error_rates(ceilings(600, (20, 60), shapes), SMALL_RUN_SLACK)


def test_error_rates_of_items_with_unequal_repeats() -> None:
    """The naive standard error of all samples failed 17 % and passed 20 % of 200 items with 1 to 8 repeats."""
    assert_error_rates(unequal_repeats(600, (60, 200)), SMALL_RUN_SLACK)


def test_error_rates_of_proportions_of_unequal_samples() -> None:
    assert_error_rates(unequal_proportions(3000, ((5, 200), (15, 1_000), (30, 400))))


def test_family_wise_error_rates_of_several_tasks() -> None:
    assert_error_rates(several(1000, (1, 10)))


def test_coverage_of_intervals_is_nominal() -> None:
    for rates in coverage(1000, (198,)):
        assert rates.false_fail + rates.false_pass == pytest.approx(10, abs=2)


@pytest.mark.parametrize(
    ("plans", "tolerance"),
    [
        (partial(power_of_pairs, 2000, (30, 198)), 5.5),
        (partial(power_of_proportions, 2000, (198,)), 8),
        (partial(power_of_scores, 400, (19, 20, 60)), 9),
        (partial(power_of_clusters, 300, (20,)), 9),
    ],
)
def test_planned_drops_are_detected_in_80_percent(
    plans: Callable[[], Iterable[PlannedPower]], tolerance: float
) -> None:
    """The drop of two proportions was planned with the variance of equal ones: its power was 28 to 99 %."""
    rates = [plan.detected for plan in plans() if plan.detected is not None]
    assert rates
    assert max(abs(rate - 80) for rate in rates) <= tolerance
    assert sum(rates) / len(rates) == pytest.approx(80, abs=3)


def test_planned_numbers_of_items_settle_in_80_percent() -> None:
    plans = [*power_of_pairs(2000, (60,)), *power_of_scores(300, (198,))]
    rates = [plan.settled for plan in plans if plan.settled is not None]
    assert len(rates) > 10
    assert min(rates) >= 73
    assert sum(rates) / len(rates) == pytest.approx(81, abs=4)
