"""Columns of items: ranges, scales and the pairing of two runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from nel_action.statistics.items import ItemRange, Items, fitting_scales, item_range, mean_by_item, pair_items


def make_items(ids: str, values: Sequence[float], *, clusters: str = "", inputs: Sequence[int] | None = None) -> Items:
    """Return items with one-letter ids and clusters."""
    return Items(
        index={name: row for row, name in enumerate(ids)},
        values=np.asarray(values, dtype=np.float64),
        clusters=tuple(clusters) if clusters else None,
        inputs=None if inputs is None else np.asarray(inputs, dtype=np.int64),
        low=min(values),
        high=max(values),
        samples=len(values),
    )


def test_mean_by_item_averages_repeats() -> None:
    rows, values = np.asarray([0, 1, 0, 0]), np.asarray([1.0, 0.0, 0.0, 0.5])
    assert mean_by_item(rows, values).tolist() == [0.5, 0.0]


@pytest.mark.parametrize(("score", "scales"), [(0.75, (1,)), (0.7504, (1,)), (75.0, (100,)), (0.8, ()), (60.0, ())])
def test_fitting_scales_distinguishes_fractions_percentages_and_other_scores(
    score: float, scales: tuple[float, ...]
) -> None:
    assert fitting_scales(make_items("abcd", [1, 1, 1, 0]), score) == scales


def test_fitting_scales_of_a_score_of_zero_are_both() -> None:
    assert fitting_scales(make_items("ab", [0, 0]), 0.0) == (1.0, 100.0)


def test_item_range_is_stated_else_unit_interval_else_observed() -> None:
    assert item_range(0.2, 0.9, scale=1, stated=(-1.0, 2.0)) == ItemRange(-1.0, 2.0)
    assert item_range(0.2, 0.9, scale=1) == ItemRange(0.0, 1.0)
    assert item_range(0.2, 0.9, scale=100) == ItemRange(0.0, 100.0)
    assert item_range(0.2, 1.5, scale=1) == ItemRange(0.2, 1.5, observed=True)


def test_item_range_of_equal_items_is_widened() -> None:
    assert ItemRange(3.0, 3.0).widened() == ItemRange(0.0, 6.0)
    assert ItemRange(0.0, 0.0).widened() == ItemRange(-1.0, 1.0)
    assert ItemRange(0.0, 1.0).widened() == ItemRange(0.0, 1.0)


def test_pair_items_matches_ids_in_the_order_of_the_candidate() -> None:
    candidate = make_items("cab", [0.1, 0.2, 0.3])
    pairs = pair_items(candidate, make_items("abd", [1.0, 2.0, 3.0]))
    assert pairs is not None
    assert pairs.ids == ("a", "b")
    assert pairs.candidate.tolist() == [0.2, 0.3]
    assert pairs.baseline.tolist() == [1.0, 2.0]
    assert (pairs.only_candidate, pairs.only_baseline) == (1, 1)
    assert (pairs.low, pairs.high) == (0.1, 3.0)
    assert pair_items(candidate, make_items("xyz", [1.0, 2.0, 3.0])) is None


def test_pair_items_counts_changed_inputs() -> None:
    candidate = make_items("ab", [0, 1], inputs=[1, 2])
    pairs = pair_items(candidate, make_items("ba", [0, 1], inputs=[3, 1]))
    assert pairs is not None
    assert pairs.changed_inputs == 1
    unknown = pair_items(candidate, make_items("ab", [0, 1]))
    assert unknown is not None
    assert unknown.changed_inputs == 0


def test_pair_items_uses_clusters_of_either_run() -> None:
    pairs = pair_items(make_items("ab", [0, 1]), make_items("ab", [0, 1], clusters="xx"))
    assert pairs is not None
    assert pairs.cluster is not None
    assert pairs.cluster.tolist() == [0, 0]


def test_changed_returns_rows_by_size_of_the_change() -> None:
    pairs = pair_items(make_items("abcd", [0.5, 0.1, 0.9, 1.0]), make_items("abcd", [0.6, 0.9, 0.2, 1.0]))
    assert pairs is not None
    count, rows = pairs.changed(-1, 10)
    assert (count, rows.tolist()) == (2, [1, 0])
    count, rows = pairs.changed(-1, 1)
    assert (count, rows.tolist()) == (2, [1])
    assert pairs.changed(1, 10)[1].tolist() == [2]
