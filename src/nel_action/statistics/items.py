"""The items behind a score as columns, and the pairing of the items of two runs."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from nel_action.statistics.means import cluster_codes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "ItemRange",
    "Items",
    "Pairs",
    "fitting_scales",
    "is_binary",
    "item_range",
    "mean_by_item",
    "pair_items",
    "rescaled",
]

_REPORT_PRECISION: Final = 6e-4
"""Largest difference of a reported score from the mean of its items, as a fraction of the unit: three decimals."""
_ROUNDING: Final = 1e-12
"""Differences below this are rounding errors."""


@dataclass(frozen=True, slots=True, eq=False)
class Items:
    """One metric of one run, one row for each item; repeats of an item are averaged."""

    index: dict[str, int]
    """Item id to row, in order of appearance."""
    values: NDArray[np.float64]
    """Mean score of each item over its repeats, in the unit of the samples, shape (n,), float64."""
    clusters: tuple[str | None, ...] | None
    """Name of each item's cluster; None if no item has one."""
    inputs: NDArray[np.int64] | None
    """Hash of each item's prompt, shape (n,), int64; None unless every sample has a prompt."""
    low: float
    """Smallest score of a single sample."""
    high: float
    """Largest score of a single sample."""
    samples: int
    """Number of samples, including repeats."""
    sample_mean: float | None = None
    """Mean over all samples, which differs from that over the items if some have more repeats; None without repeats."""

    def __len__(self) -> int:
        return len(self.index)


def mean_by_item(rows: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average the samples of each item.

    Args:
        rows: row of each sample's item, shape (samples,), int64.
        values: score of each sample, shape (samples,), float64.

    Returns:
        Mean score of each item, shape (n,), float64.
    """
    import numpy as np

    means: NDArray[np.float64] = np.bincount(rows, values) / np.bincount(rows)
    return means


def fitting_scales(items: Items, score: float) -> tuple[float, ...]:
    """Return every factor from the mean of the items to the reported score.

    Returns:
        1, 100 for a percentage, or both if score and mean are 0; empty if the score is not the mean of its items.
    """
    mean = float(items.values.mean())
    return tuple(
        scale
        for scale in (1.0, 100.0)
        if abs(mean * scale - score) <= _REPORT_PRECISION * max(scale, abs(score) if scale == 1 else 0)
    )


def rescaled(items: Items, factor: float) -> Items:
    """Return the same items in another unit.

    Args:
        items: the items.
        factor: new value of what was 1.
    """
    return replace(items, values=items.values * factor, low=items.low * factor, high=items.high * factor)


def is_binary(*columns: NDArray[np.float64]) -> bool:
    """Return whether all values of all columns, shape (n,) each, are 0 or 1."""
    return all(bool(((column == 0) | (column == 1)).all()) for column in columns)


@dataclass(frozen=True, slots=True)
class ItemRange:
    """The possible scores of one item, in the unit of the score."""

    low: float
    high: float
    observed: bool = False
    """The range is only that of the samples, since no other one is known."""

    @property
    def is_unit(self) -> bool:
        """Whether scores of 0 and 1 are the ends of the range; items of 0 to 5 may all be 0 or 1 by chance."""
        return self.low >= 0 and self.high <= 1

    def widened(self) -> ItemRange:
        """Return a range of positive width around the same upper or lower end, for items that are all equal."""
        if self.high > self.low:
            return self
        high = self.low + max(abs(self.low), 1.0)
        return ItemRange(2 * self.low - high, high, self.observed)


def item_range(
    low: float, high: float, *, scale: float, stated: tuple[float, float] | None = None, is_proportion: bool = True
) -> ItemRange:
    """Return the possible scores of an item: as stated, else 0 to 1 if all samples are within, else as observed.

    Args:
        low: smallest score of a sample.
        high: largest score of a sample.
        scale: factor from the unit of the samples to that of the score; 0 to 1 becomes 0 to `scale`.
        stated: smallest and largest possible score, in the unit of the score.
        is_proportion: scores between 0 and 1 are proportions; otherwise they may be seconds or losses, which have no
            upper bound.
    """
    if stated is not None:
        return ItemRange(*stated)
    low, high = low * scale, high * scale
    if low >= 0 and high <= scale:
        return ItemRange(0.0, scale, observed=not is_proportion)
    return ItemRange(low, high, observed=True)


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """The items that two runs have in common, in the order of the candidate."""

    ids: tuple[str, ...]
    candidate: NDArray[np.float64]
    """Score of each item in the candidate, shape (n,), float64."""
    baseline: NDArray[np.float64]
    """Score of each item in the baseline, shape (n,), float64."""
    cluster: NDArray[np.int64] | None
    """Code of each item's cluster from 0, shape (n,), int64; None if all items are independent."""
    low: float
    """Smallest score of a single sample in either run."""
    high: float
    """Largest score of a single sample in either run."""
    only_candidate: int
    """Number of items that the baseline lacks."""
    only_baseline: int
    """Number of items that the candidate lacks."""
    changed_inputs: int
    """Number of items with different prompts."""

    def __len__(self) -> int:
        return len(self.ids)

    def changed(self, sign: int, most: int) -> tuple[int, NDArray[np.int64]]:
        """Return the number of items whose score moved in the direction of `sign`, and the rows of some of them.

        Args:
            sign: direction of the move, 1 or -1.
            most: largest number of rows.

        Returns:
            The number, and the rows with the largest moves, largest first, of equal ones the earlier row first.
        """
        import numpy as np

        change = (self.candidate - self.baseline) * sign
        rows = np.flatnonzero(change > _ROUNDING)
        count = len(rows)
        if count > most:
            # NOTE: sorting a million moves takes longer than finding the thousandth one.
            smallest = np.partition(change[rows], count - most)[count - most]
            rows = rows[change[rows] >= smallest]
        return count, rows[np.argsort(-change[rows], kind="stable")][:most]


def pair_items(candidate: Items, baseline: Items) -> Pairs | None:
    """Match the items of two runs by their ids; None if no item is in both."""
    import numpy as np

    # NOTE: comparing the names in their order reads memory in sequence, unlike the comparison of two dictionaries.
    if len(candidate) == len(baseline) and all(map(operator.eq, candidate.index, baseline.index)):
        rows = baseline_rows = np.arange(len(candidate))
    else:
        lookup = baseline.index.get
        matches = np.fromiter((lookup(name, -1) for name in candidate.index), dtype=np.int64, count=len(candidate))
        rows = np.flatnonzero(matches >= 0)
        baseline_rows = matches[rows]
    if not len(rows):
        return None
    ids = tuple(candidate.index)
    clusters = _select_clusters(candidate, rows) or _select_clusters(baseline, baseline_rows)
    return Pairs(
        ids=ids if len(rows) == len(ids) else tuple(ids[row] for row in rows.tolist()),
        candidate=candidate.values[rows],
        baseline=baseline.values[baseline_rows],
        cluster=cluster_codes(clusters) if clusters else None,
        low=min(candidate.low, baseline.low),
        high=max(candidate.high, baseline.high),
        only_candidate=len(candidate) - len(rows),
        only_baseline=len(baseline) - len(rows),
        changed_inputs=_count_changed_inputs(candidate, rows, baseline, baseline_rows),
    )


def _select_clusters(items: Items, rows: NDArray[np.int64]) -> Sequence[str | None]:
    return [items.clusters[row] for row in rows.tolist()] if items.clusters else []


def _count_changed_inputs(
    candidate: Items, rows: NDArray[np.int64], baseline: Items, baseline_rows: NDArray[np.int64]
) -> int:
    if candidate.inputs is None or baseline.inputs is None:
        return 0
    return int((candidate.inputs[rows] != baseline.inputs[baseline_rows]).sum())
