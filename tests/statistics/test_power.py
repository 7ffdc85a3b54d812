"""The minimum detectable drop and the number of items for a decision, compared with the textbook formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nel_action.statistics.binary import PairedProportions
from nel_action.statistics.estimates import Evidence, Scaled, StudentMean
from nel_action.statistics.means import mean_of_items
from nel_action.statistics.power import items_to_settle
from nel_action.statistics.power import minimum_detectable as plan


def minimum_detectable(evidence: Evidence, margin: float, alpha: float) -> float:
    loss = plan(evidence, margin, alpha)
    assert loss is not None
    return loss


def test_minimum_detectable_agrees_with_textbook_formula() -> None:
    mean = StudentMean(0.0, 0.01)
    assert minimum_detectable(mean, 0.0, 0.05) == pytest.approx(0.01 * (1.6449 + 0.8416), abs=1e-5)
    assert minimum_detectable(mean, 0.03, 0.05) == pytest.approx(0.03 + 0.024865, abs=1e-5)
    assert minimum_detectable(mean, 0.03, 0.005) > minimum_detectable(mean, 0.03, 0.05)


def test_items_to_settle_agrees_with_textbook_formula() -> None:
    n, sd, gap = 100, 0.2, 0.02
    needed = items_to_settle(StudentMean(-0.01, sd / 10), -0.03, n, fail_alpha=0.05, pass_alpha=0.05)
    assert needed == math.ceil(((1.6449 + 0.8416) * sd / gap) ** 2) == 619


def test_items_to_settle_increases_with_correction_for_a_fail_only() -> None:
    above, below = StudentMean(-0.01, 0.02), StudentMean(-0.05, 0.02)
    corrected_pass = items_to_settle(above, -0.03, 100, fail_alpha=0.005, pass_alpha=0.05)
    assert corrected_pass == items_to_settle(above, -0.03, 100, fail_alpha=0.05, pass_alpha=0.05)
    corrected_fail = items_to_settle(below, -0.03, 100, fail_alpha=0.005, pass_alpha=0.05)
    fail = items_to_settle(below, -0.03, 100, fail_alpha=0.05, pass_alpha=0.05)
    assert corrected_fail is not None
    assert fail is not None
    assert corrected_fail > fail


def test_items_to_settle_is_none_at_the_limit() -> None:
    assert items_to_settle(StudentMean(-0.03, 0.02), -0.03, 100, fail_alpha=0.05, pass_alpha=0.05) is None


def test_items_to_settle_accounts_for_rare_values() -> None:
    without_spread = mean_of_items(np.zeros(30), -1, 1)
    needed = items_to_settle(without_spread, -0.01, 30, fail_alpha=0.05, pass_alpha=0.05)
    assert needed is not None
    assert needed >= 299
    assert mean_of_items(np.zeros(needed), -1, 1).p_value_at_most(-0.01) <= 0.05


def test_items_to_settle_exceeds_the_present_number() -> None:
    significant = PairedProportions(better=40, worse=0, n=100)
    assert items_to_settle(significant, -0.1, 100, fail_alpha=0.05, pass_alpha=0.05) == 101


@pytest.mark.parametrize(("n", "flips", "margin"), [(1319, 0.005, 0.02), (400, 0.05, 0.05), (1000, 0.2, 0.01)])
def test_detectable_loss_of_right_or_wrong_items_has_the_stated_power(n: int, flips: float, margin: float) -> None:
    """A loss adds changed items; planned with the variance of unchanged runs, the power was 27 % instead of 80 %."""
    changed = round(n * flips / 2)
    pilot = PairedProportions(changed, changed, n)
    loss = minimum_detectable(pilot, margin, 0.05)
    random = np.random.default_rng(9)
    unrelated = changed / n
    samples = random.multinomial(n, [unrelated, unrelated + loss, 1 - 2 * unrelated - loss], 4000).tolist()
    detected = sum(PairedProportions(b, w, n).p_value_at_least(-margin) <= 0.05 for b, w, _ in samples)
    assert detected / 4000 == pytest.approx(0.8, abs=0.05)


def test_detectable_loss_of_a_percentage_is_that_of_the_proportion() -> None:
    pilot = PairedProportions(3, 3, 1000)
    percent = minimum_detectable(Scaled(pilot, 100), 2, 0.05)
    assert percent == pytest.approx(100 * minimum_detectable(pilot, 0.02, 0.05))


def test_items_to_settle_without_changes_are_the_smallest_number_that_passes() -> None:
    needed = items_to_settle(PairedProportions(0, 0, 30), -0.05, 30, fail_alpha=0.05, pass_alpha=0.05)
    assert needed is not None
    assert PairedProportions(0, 0, needed).p_value_at_most(-0.05) <= 0.05
    assert PairedProportions(0, 0, needed - 1).p_value_at_most(-0.05) > 0.05


def test_no_loss_is_detectable_in_very_few_items() -> None:
    assert plan(PairedProportions(0, 0, 2), 0.05, 0.05) is None
    assert plan(mean_of_items(np.zeros(4), -1, 1), 0.05, 0.05) is None
    assert plan(Scaled(PairedProportions(0, 0, 2), 100), 5, 0.05) is None
