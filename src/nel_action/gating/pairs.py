"""The same items on both sides."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from nel_action.errors import ResultsError
from nel_action.gating.items import Items
from nel_action.gating.verdict import Flip
from nel_action.statistics.clustered import codes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Pairs", "bounds_of", "is_binary", "pair"]

_SHOWN: Final = 1000
"""Flips that a report names, on each side."""
_ROUNDING: Final = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Items that both sides have, in the candidate's order."""

    ids: tuple[str, ...]
    candidate: NDArray[np.float64]
    baseline: NDArray[np.float64]
    cluster: NDArray[np.int64] | None
    """Numbered from 0; None where every item stands alone."""
    low: float
    """Smallest value of a single sample on either side."""
    high: float
    """Largest value of a single sample on either side."""
    only_candidate: int
    """Items that the baseline lacks."""
    only_baseline: int
    """Items that the candidate lacks."""
    asked_otherwise: int
    """Items whose question differs."""

    def __len__(self) -> int:
        return len(self.ids)

    def flips(self, sign: int) -> tuple[int, tuple[Flip, ...]]:
        """Return how many items moved in the direction of `sign`, and those that moved most."""
        import numpy as np

        moved = (self.candidate - self.baseline) * sign
        places = np.flatnonzero(moved > _ROUNDING)
        shown = places[np.argsort(-moved[places], kind="stable")[:_SHOWN]]
        return len(places), tuple(
            Flip(id=self.ids[place], baseline=float(self.baseline[place]), candidate=float(self.candidate[place]))
            for place in shown.tolist()
        )


def pair(candidate: Items, baseline: Items) -> Pairs:
    """Match items by their ids.

    Raises:
        ResultsError: no item is on both sides.
    """
    import numpy as np

    if candidate.index == baseline.index:
        here = there = np.arange(len(candidate))
    else:
        matches = np.fromiter(_places(candidate, baseline), dtype=np.int64, count=len(candidate))
        here = np.flatnonzero(matches >= 0)
        there = matches[here]
    if not len(here):
        msg = "no item is in both runs: their ids do not match"
        raise ResultsError(msg)
    ids = tuple(candidate.index)
    clusters = _clusters(candidate, here) or _clusters(baseline, there)
    return Pairs(
        ids=ids if len(here) == len(ids) else tuple(ids[place] for place in here.tolist()),
        candidate=candidate.values[here],
        baseline=baseline.values[there],
        cluster=codes(clusters) if clusters else None,
        low=min(candidate.low, baseline.low),
        high=max(candidate.high, baseline.high),
        only_candidate=len(candidate) - len(here),
        only_baseline=len(baseline) - len(here),
        asked_otherwise=_differing(candidate, here, baseline, there),
    )


def _places(candidate: Items, baseline: Items) -> Iterator[int]:
    find = baseline.index.get
    return (find(name, -1) for name in candidate.index)


def _clusters(items: Items, places: NDArray[np.int64]) -> list[str | None]:
    return [items.clusters[place] for place in places.tolist()] if items.clusters else []


def _differing(candidate: Items, here: NDArray[np.int64], baseline: Items, there: NDArray[np.int64]) -> int:
    if candidate.inputs is None or baseline.inputs is None:
        return 0
    return int((candidate.inputs[here] != baseline.inputs[there]).sum())


def is_binary(*columns: NDArray[np.float64]) -> bool:
    """Say whether all values are 0 or 1."""
    return all(bool(((column == 0) | (column == 1)).all()) for column in columns)


def bounds_of(
    stated: tuple[float, float] | None, low: float, high: float, *, scale: float
) -> tuple[float, float, bool]:
    """Return the smallest and largest value that an item can have, and whether that is only what was seen.

    Args:
        stated: by the policy, in the score's unit.
        low: smallest value seen.
        high: largest value seen.
        scale: what the score's unit is, in the items' unit.

    Raises:
        ResultsError: an item lies outside the stated bounds.
    """
    low, high = low * scale, high * scale
    if stated is not None:
        if low < stated[0] or high > stated[1]:
            outside = low if low < stated[0] else high
            msg = f"an item scores {outside:g}, outside the policy's bounds {stated[0]:g} to {stated[1]:g}"
            raise ResultsError(msg)
        return *stated, False
    if low >= 0 and high <= scale:
        return 0.0, scale, False
    return low, high, True
