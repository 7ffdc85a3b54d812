from __future__ import annotations

import pytest

from nel_action import formatting
from nel_action.formatting import Unit
from nel_action.model.results import Interval


@pytest.mark.parametrize(
    ("values", "higher_is_better", "expected"),
    [
        ((0.74,), True, Unit.PROPORTION),
        ((0.74, 0.81, None), None, Unit.PROPORTION),
        ((0.0, 1.0), True, Unit.PROPORTION),
        ((0.74, 1.01), True, Unit.PLAIN),
        ((-0.2, 0.3), True, Unit.PLAIN),
        ((74.1,), True, Unit.PLAIN),
        ((0.4,), False, Unit.PLAIN),
        ((None,), True, Unit.PLAIN),
        ((), None, Unit.PLAIN),
    ],
)
def test_unit_is_a_proportion_only_between_0_and_1_where_higher_is_better(
    values: tuple[float | None, ...], *, higher_is_better: bool | None, expected: Unit
) -> None:
    assert Unit.of(*values, higher_is_better=higher_is_better) is expected


def test_proportion_is_written_as_a_percentage() -> None:
    unit, bounds = Unit.PROPORTION, Interval(low=-0.079, high=0.0261, level=0.9, method="m")
    assert unit.score(0.741) == "74.1 %"
    assert unit.score(0.741, 0.019) == "74.1 ± 1.9 %"
    assert unit.difference(-0.053) == "−5.3 pp"
    assert unit.difference(0.021) == "+2.1 pp"
    assert unit.amount(-0.0526) == "5.26 pp"
    assert unit.amount(0.02) == "2 pp"
    assert unit.interval(bounds) == "[−7.9, +2.6]"
    assert unit.tick(0.725) == "72.5 %"


def test_plain_unit_keeps_the_value() -> None:
    unit, bounds = Unit.PLAIN, Interval(low=-0.079, high=0.0261, level=0.9, method="m")
    assert unit.score(7.41, 0.19) == "7.410 ± 0.190"
    assert unit.score(12345.6) == "12346"
    assert unit.difference(-0.053) == "−0.053"
    assert unit.difference(1234.5) == "+1234.5"
    assert unit.amount(-0.0526) == "0.0526"
    assert unit.interval(bounds) == "[−0.079, +0.026]"
    assert unit.tick(-0.725) == "−0.725"


@pytest.mark.parametrize("unit", list(Unit))
def test_missing_values(unit: Unit) -> None:
    assert unit.score(None) == "–"
    assert unit.difference(None) == ""
    assert unit.interval(None) == ""


@pytest.mark.parametrize(
    ("unit", "value", "expected"),
    [
        (Unit.PROPORTION, 0.7, "70.0 %"),
        (Unit.PROPORTION, 0.29, "29.0 %"),
        (Unit.PROPORTION, 0.7425, "74.25 %"),
        (Unit.PROPORTION, 1 / 3, "33.333333 %"),
        (Unit.PLAIN, 0.7, "0.700"),
        (Unit.PLAIN, 0.7425, "0.7425"),
        (Unit.PLAIN, 1500.0, "1500"),
    ],
)
def test_limit_keeps_all_decimals_of_the_policy(unit: Unit, value: float, expected: str) -> None:
    assert unit.limit(value) == expected


@pytest.mark.parametrize("value", [0.0, -0.0, -0.0001, 0.0004])
def test_difference_that_rounds_to_zero_has_no_sign(value: float) -> None:
    assert Unit.PROPORTION.difference(value) == "0.0 pp"
    assert Unit.PLAIN.difference(value) == "0.000"


@pytest.mark.parametrize(
    ("value", "expected"), [(7, "7"), (999, "999"), (1150, "1,150"), (1234, "1,240"), (45601, "45,700")]
)
def test_approximate_count_is_rounded_up_to_three_digits(value: int, expected: str) -> None:
    assert formatting.approximate_count(value) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(None, "–"), (-1, "–"), (0, "0s"), (45.4, "45s"), (59.6, "1m00s"), (130, "2m10s"), (11100, "3h05m")],
)
def test_duration(seconds: float | None, expected: str) -> None:
    assert formatting.duration(seconds) == expected


@pytest.mark.parametrize(
    ("size", "expected"),
    [(0, "0 B"), (999, "999 B"), (1200, "1.2 kB"), (5_000_000, "5.0 MB"), (10**15, "1000.0 TB")],
)
def test_file_size(size: int, expected: str) -> None:
    assert formatting.file_size(size) == expected


@pytest.mark.parametrize(
    ("done", "total", "expected"), [(271, 400, "271/400"), (271, None, "271"), (None, 400, "0/400"), (None, None, "")]
)
def test_progress(done: int | None, total: int | None, expected: str) -> None:
    assert formatting.progress(done, total) == expected


def test_counts_percentages_and_costs() -> None:
    assert formatting.count(150_000.0) == "150,000"
    assert formatting.plural(1, "item") == "1 item"
    assert formatting.plural(1319, "item") == "1,319 items"
    assert formatting.plural(2, "harness", "harnesses") == "2 harnesses"
    assert formatting.percentage(0.95) == "95 %"
    assert formatting.percentage(0.975) == "97.5 %"
    assert formatting.percentage(0.999) == "99.9 %"
    assert formatting.percentage(0.99999) == "99.999 %"
    assert formatting.percentage(0.29) == "29 %"
    assert formatting.percentage(1 - 0.1 / 3) == "96.67 %"
    assert formatting.percentage(-0.0512, 1) == "−5.1 %"
    assert formatting.cost(1234.5) == "1,234.50 USD"
    assert formatting.number(-0.5) == "−0.500"
