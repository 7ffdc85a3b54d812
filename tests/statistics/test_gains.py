"""The gain over a baseline: the method that each kind of data gets."""

from __future__ import annotations

import numpy as np
import pytest

from nel_action.statistics.aggregate import Aggregate
from nel_action.statistics.binary import PairedProportions, Proportion, TwoProportions
from nel_action.statistics.gains import paired_gain, score_of_items, unpaired_gain
from nel_action.statistics.items import ItemRange, Items, Pairs, pair_items
from nel_action.statistics.means import SkewAdjustedMean
from nel_action.statistics.relative import PairedRatio

UNIT = ItemRange(0.0, 1.0)


def make_items(values: list[float]) -> Items:
    return Items(
        index={str(row): row for row in range(len(values))},
        values=np.asarray(values),
        clusters=None,
        inputs=None,
        low=min(values),
        high=max(values),
        samples=len(values),
    )


def make_pairs(candidate: list[float], baseline: list[float]) -> Pairs:
    pairs = pair_items(make_items(candidate), make_items(baseline))
    assert pairs is not None
    return pairs


BASELINE = [1.0] * 30 + [0.0] * 10
CANDIDATE = [0.0] * 5 + [1.0] * 27 + [0.0] * 8


def test_binary_pairs_use_discordant_pairs_in_the_direction_of_the_metric() -> None:
    higher = paired_gain(make_pairs(CANDIDATE, BASELINE), UNIT, higher=True, scale=1)
    assert higher.evidence == PairedProportions(better=2, worse=5, n=40)
    assert higher.n == 40
    lower = paired_gain(make_pairs(CANDIDATE, BASELINE), UNIT, higher=False, scale=1)
    assert lower.evidence == PairedProportions(better=5, worse=2, n=40)


def test_relative_gain_of_binary_pairs_is_a_ratio_that_is_inverted_if_lower_is_better() -> None:
    pairs = make_pairs(CANDIDATE, BASELINE)
    higher = paired_gain(pairs, UNIT, higher=True, scale=1, relative_limit=0.1).relative
    assert higher is not None
    assert higher.evidence == PairedRatio(both=25, better=2, worse=5, n=40)
    assert higher.limit == pytest.approx(0.9)
    lower = paired_gain(pairs, UNIT, higher=False, scale=1, relative_limit=0.1).relative
    assert lower is not None
    assert lower.evidence == PairedRatio(both=25, better=5, worse=2, n=40)
    assert lower.limit == pytest.approx(1 / 1.1)


def test_relative_gain_of_other_pairs_is_a_contrast() -> None:
    random = np.random.default_rng(1)
    baseline = random.random(50)
    candidate = 0.9 * baseline
    pairs = make_pairs(candidate.tolist(), baseline.tolist())
    gain = paired_gain(pairs, UNIT, higher=True, scale=1, relative_limit=0.1)
    assert isinstance(gain.evidence, SkewAdjustedMean)
    assert gain.relative is not None
    assert gain.relative.limit == 0
    assert gain.relative.evidence.estimate == pytest.approx(0, abs=1e-12)


def test_score_of_items_is_exact_for_binary_items() -> None:
    assert score_of_items(make_items(BASELINE), UNIT, scale=1) == Proportion(30, 40)
    percentage = score_of_items(make_items(BASELINE), ItemRange(0.0, 100.0), scale=100)
    assert percentage.method == Proportion(30, 40).method
    assert percentage.lower_bound(0.05) == pytest.approx(100 * Proportion(30, 40).lower_bound(0.05))
    assert percentage.p_value_at_most(60) == Proportion(30, 40).p_value_at_most(0.6)
    assert percentage.estimate == pytest.approx(75)


def test_unpaired_gain_needs_standard_errors() -> None:
    score = Aggregate(0.8, None, 200)
    gain = unpaired_gain(score, score, higher=True, relative_limit=0.1)
    assert gain is not None
    assert gain.n is None
    assert isinstance(gain.evidence, TwoProportions)
    assert gain.relative is not None
    assert gain.relative.evidence.estimate == pytest.approx(0.08)
    assert unpaired_gain(Aggregate(30.0, None, None), score, higher=True) is None
