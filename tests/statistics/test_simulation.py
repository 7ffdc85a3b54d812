"""A fast slice of `benchmarks/gate_simulation.py`: the true drop at the margin, fixed seeds."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from benchmarks.gate_families import (
    Rates,
    binary,
    clusters,
    continuous,
    coverage,
    few,
    floors,
    relative,
    relative_scores,
    relative_unpaired,
    several,
    unpaired,
)
from benchmarks.gate_simulation import power

WORST, MEAN = 6.5, 5.0
"""What the gate promises, in percent."""
SLACK = 0.8
"""For the few repeats of a slice: two standard errors at 3,000."""


def sound(found: Iterable[Rates]) -> None:
    rates = list(found)
    assert rates
    for field in ("false_fail", "false_pass"):
        errors = [getattr(one, field) for one in rates]
        assert sum(errors) / len(errors) <= MEAN + SLACK / 2
        assert max(errors) <= WORST + SLACK, max(rates, key=lambda one: getattr(one, field))


GRID = [(0.5, 0.0, 0.05), (0.7, 0.6, 0.02), (0.85, 0.8, 0.05), (0.97, 0.95, 0.1), (0.3, 0.3, 0.01)]


def test_pairs_that_are_right_or_wrong() -> None:
    sound(binary(3000, (30, 198, 14_042), GRID))


def test_the_paired_t_interval_would_not_do() -> None:
    """The slice can see what it is for: today's common interval passes a real drop far too often."""
    from benchmarks.gate_families import of_pairs, rates, unique
    from benchmarks.gate_settings import generator

    from nel_action.statistics.estimates import StudentMean

    setting, n, chances, margin = next(of_pairs((30,), [(0.97, 0.95, 0.02)]))
    drawn = unique(generator("t", n).multinomial(n, chances, size=3000)[:, :2])

    def plain(up: int, down: int) -> StudentMean:
        mean = (up - down) / n
        return StudentMean(mean, max(((up + down) / n - mean**2) / (n - 1), 1e-30) ** 0.5, n - 1)

    assert rates(setting, n, ((plain(*row), count) for row, count in drawn), -margin).false_pass > 30


def test_proportions_that_cannot_be_paired() -> None:
    sound(unpaired(3000, (30, 400), GRID))


def test_a_share_of_the_baseline() -> None:
    grid = [(0.3, 0.0, 0.02), (0.5, 0.6, 0.1), (0.85, 0.95, 0.05), (0.93, 0.3, 0.02), (0.97, 0.95, 0.25)]
    sound(relative(3000, (30, 60, 198), grid))


def test_a_share_of_the_baseline_by_two_rates() -> None:
    sound(relative_unpaired(2000, (30,), [(0.5, 0.0, 0.25), (0.7, 0.0, 0.1), (0.97, 0.0, 0.25)]))


def test_a_share_of_the_baselines_marks() -> None:
    sound(relative_scores(600, (60,)))


def test_floors() -> None:
    sound(floors(3000, (30, 400)))


SKEWED = ("normal, sd 0.2", "exponential drops", "gamma(1/4) gains", "2 % drop by 0.8", "0.5 % drop by 0.95")


def test_items_that_are_more_than_right_or_wrong() -> None:
    sound(continuous(1500, (30, 198), SKEWED))


def test_very_few_items() -> None:
    sound(few(100))


def test_clusters() -> None:
    sound(clusters(600, (8, 20)))


def test_several_tasks_under_holm() -> None:
    sound(several(1000, (1, 10)))


def test_intervals_cover_what_they_claim() -> None:
    for one in coverage(1000, (198,)):
        assert one.false_fail + one.false_pass == pytest.approx(10, abs=2)


def test_power_is_as_planned() -> None:
    for one in power(500, (198,)):
        assert one.found == pytest.approx(80, abs=5)
        assert one.settled == pytest.approx(80, abs=5)
