"""What a comparison can find, and how many items would settle it: held against the rule it plans for."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nel_action.statistics.binary import PairedProportions
from nel_action.statistics.estimates import StudentMean
from nel_action.statistics.means import mean_of_items
from nel_action.statistics.power import items_to_settle, minimum_detectable


def test_the_smallest_drop_that_is_found_is_the_textbooks() -> None:
    known = StudentMean(0.0, 0.01)
    assert minimum_detectable(known, 0.0, 0.05) == pytest.approx(0.01 * (1.6449 + 0.8416), abs=1e-5)
    assert minimum_detectable(known, 0.03, 0.05) == pytest.approx(0.03 + 0.024865, abs=1e-5)
    assert minimum_detectable(known, 0.03, 0.005) > minimum_detectable(known, 0.03, 0.05)


def test_the_number_of_items_is_the_textbooks() -> None:
    n, spread, gap = 100, 0.2, 0.02
    settle = items_to_settle(StudentMean(-0.01, spread / 10), -0.03, n, fail_alpha=0.05, pass_alpha=0.05)
    assert settle == math.ceil(((1.6449 + 0.8416) * spread / gap) ** 2) == 619


def test_a_fail_that_was_corrected_takes_more_items_and_a_pass_does_not() -> None:
    above, below = StudentMean(-0.01, 0.02), StudentMean(-0.05, 0.02)
    same = items_to_settle(above, -0.03, 100, fail_alpha=0.005, pass_alpha=0.05)
    assert same == items_to_settle(above, -0.03, 100, fail_alpha=0.05, pass_alpha=0.05)
    corrected = items_to_settle(below, -0.03, 100, fail_alpha=0.005, pass_alpha=0.05)
    plain = items_to_settle(below, -0.03, 100, fail_alpha=0.05, pass_alpha=0.05)
    assert corrected is not None
    assert plain is not None
    assert corrected > plain


def test_at_the_limit_itself_no_number_would_settle_it() -> None:
    assert items_to_settle(StudentMean(-0.03, 0.02), -0.03, 100, fail_alpha=0.05, pass_alpha=0.05) is None


def test_what_no_sample_showed_takes_items_too() -> None:
    quiet = mean_of_items(np.zeros(30), -1, 1)
    settle = items_to_settle(quiet, -0.01, 30, fail_alpha=0.05, pass_alpha=0.05)
    assert settle is not None
    assert settle >= 299
    assert mean_of_items(np.zeros(settle), -1, 1).p_value_at_most(-0.01) <= 0.05


def test_it_is_always_more_than_there_are() -> None:
    sure = PairedProportions(better=40, worse=0, n=100)
    assert items_to_settle(sure, -0.1, 100, fail_alpha=0.05, pass_alpha=0.05) == 101
