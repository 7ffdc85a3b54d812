"""The minimum detectable drop and the number of items for a decision, compared with the textbook formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nel_action.statistics.binary import PairedProportions
from nel_action.statistics.estimates import StudentMean
from nel_action.statistics.means import mean_of_items
from nel_action.statistics.power import items_to_settle, minimum_detectable


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
