"""One task against its baseline: evidence of the gain, from pairs where there are any, else from the two scores."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from nel_action.errors import ResultsError
from nel_action.gating.items import Items
from nel_action.gating.pairs import Pairs, bounds_of, is_binary
from nel_action.model.results import Score
from nel_action.statistics.aggregate import difference_evidence, stderr_of
from nel_action.statistics.binary import PairedProportions
from nel_action.statistics.clustered import clustered_evidence
from nel_action.statistics.continuous import mean_evidence
from nel_action.statistics.estimates import Evidence
from nel_action.statistics.ratio import PairedRatio
from nel_action.statistics.relative import Moments, contrast, moments

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Gain", "Relative", "gain_from_pairs", "gain_from_scores", "one_mean", "scale_of"]

_ROUNDED: Final = 6e-4
"""How far a reported score may lie from the mean of its items, as a share of the unit: three decimals."""


@dataclass(frozen=True, slots=True)
class Relative:
    """What is known of the candidate against a share of the baseline."""

    evidence: Evidence
    """At least `limit` says that no more than the share was lost: of the ratio itself, or of `relative.contrast`."""
    limit: float
    share: float
    moments: Moments
    """In the metric's own orientation, for the interval of the ratio."""


@dataclass(frozen=True, slots=True)
class Gain:
    """What is known of the candidate's gain over the baseline; more is better."""

    evidence: Evidence
    n: int | None
    """Pairs; None where only the two scores could be compared."""
    relative: Relative | None = None
    """Where a relative loss was asked about, and could be told."""
    notes: tuple[str, ...] = ()


def scale_of(items: Items, score: Score) -> float | None:
    """Return what turns the items' mean into the score: 1, 100 for percentages, None where it is no mean of them."""
    mean = float(items.values.mean())
    for scale in (1.0, 100.0):
        # NOTE: corpus scores (BLEU, macro F1) are no means of their items; their items cannot stand for them.
        if abs(mean * scale - score.value) <= _ROUNDED * max(scale, abs(score.value) if scale == 1 else 0):
            return scale
    return None


def one_mean(values: NDArray[np.float64], cluster: NDArray[np.int64] | None, bottom: float, top: float) -> Evidence:
    """Return what one column of items says of its true mean.

    Raises:
        ResultsError: all items lie in one cluster.
    """
    if top <= bottom:
        top = bottom + max(abs(bottom), 1.0)
        bottom = 2 * bottom - top
    if cluster is None:
        return mean_evidence(values, bottom, top)
    try:
        return clustered_evidence(values, cluster, bottom, top)
    except ValueError as error:
        raise ResultsError(str(error)) from error


def gain_from_pairs(
    pairs: Pairs, *, bounds: tuple[float, float] | None, higher: bool, scale: float, share: float | None
) -> Gain:
    """Return the gain over the same items.

    Args:
        pairs: the items that both sides have.
        bounds: of one item's score, as the policy states them.
        higher: whether more of the metric is better.
        scale: what turns the items' mean into the score.
        share: the relative loss that is asked about, if one is.

    Raises:
        ResultsError: an item lies outside the bounds, or all lie in one cluster.
    """
    low, high, only_seen = bounds_of(bounds, pairs.low, pairs.high, scale=scale)
    sign = 1 if higher else -1
    candidate, baseline = pairs.candidate * scale, pairs.baseline * scale
    relative = None
    if share is not None:
        relative = _share(pairs, candidate, baseline, (low, high), higher=higher, share=share, scale=scale)
    seen = f"no bounds are known, those seen are used ({low:g} to {high:g}); `bounds` states them"
    return Gain(
        evidence=_paired(sign * (candidate - baseline), pairs, scale=scale, width=high - low),
        n=len(pairs),
        relative=relative,
        notes=(seen,) if only_seen else (),
    )


def _right_or_wrong(pairs: Pairs, scale: float) -> bool:
    return pairs.cluster is None and scale == 1 and is_binary(pairs.candidate, pairs.baseline)


def _share(
    pairs: Pairs,
    candidate: NDArray[np.float64],
    baseline: NDArray[np.float64],
    ends: tuple[float, float],
    *,
    higher: bool,
    share: float,
    scale: float,
) -> Relative:
    """Hold what was lost against a share of the baseline: by the ratio of rates, else by a contrast of means."""
    known, factor, sign = moments(candidate, baseline), contrast(share, higher=higher), 1 if higher else -1
    if _right_or_wrong(pairs, scale):
        # NOTE: where less is better the ratio is turned over, for which bound fails and which passes is not symmetric.
        up, down = (candidate, baseline) if higher else (baseline, candidate)
        both, better, worse = (int(sum_.sum()) for sum_ in (up * down, up * (1 - down), (1 - up) * down))
        return Relative(PairedRatio(both, better, worse, len(pairs)), factor if higher else 1 / factor, share, known)
    low, high = ends
    bottom, top = sorted((sign * (low - factor * high), sign * (high - factor * low)))
    evidence = one_mean(sign * (candidate - factor * baseline), pairs.cluster, bottom, top)
    return Relative(evidence, 0.0, share, known)


def _paired(gain: NDArray[np.float64], pairs: Pairs, *, scale: float, width: float) -> Evidence:
    if _right_or_wrong(pairs, scale):
        return PairedProportions(better=int((gain > 0).sum()), worse=int((gain < 0).sum()), n=len(pairs))
    return one_mean(gain, pairs.cluster, -width, width)


def gain_from_scores(
    candidate: tuple[Score, int | None], baseline: tuple[Score, int | None], *, higher: bool, share: float | None
) -> Gain | str:
    """Return the gain between two scores that cannot be paired, or why nothing can be said of it.

    Args:
        candidate: its score and number of items.
        baseline: the same of the baseline.
        higher: whether more of the metric is better.
        share: the relative loss that is asked about, if one is.
    """
    evidence = difference_evidence(candidate, baseline, higher=higher)
    if isinstance(evidence, str):
        return evidence
    relative = None
    if share is not None:
        contrasted = difference_evidence(candidate, baseline, higher=higher, factor=contrast(share, higher=higher))
        spreads = [stderr_of(*side) or math.nan for side in (candidate, baseline)]
        known = Moments(candidate[0].value, baseline[0].value, spreads[0] ** 2, spreads[1] ** 2)
        relative = None if isinstance(contrasted, str) else Relative(contrasted, 0.0, share, known)
    note = "its items could not be paired; two scores alone find less"
    return Gain(evidence=evidence, n=None, relative=relative, notes=(note,))
