"""The candidate's gain over the baseline: of the same items if they can be paired, else of the two scores."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nel_action.statistics.aggregate import Aggregate, aggregate_difference, aggregate_stderr
from nel_action.statistics.binary import PairedProportions, Proportion
from nel_action.statistics.estimates import MIN_UNBOUNDED, Evidence, FailOnly, Negated, Obstacle, Scaled, Untestable
from nel_action.statistics.items import ItemRange, Items, Pairs, is_binary
from nel_action.statistics.log_scale import mean_of_positive_items
from nel_action.statistics.means import cluster_codes, mean_of_clusters, mean_of_items
from nel_action.statistics.relative import Moments, PairedRatio, contrast_factor, paired_moments

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Gain", "RelativeGain", "paired_gain", "score_of_items", "unpaired_gain"]


@dataclass(frozen=True, slots=True)
class RelativeGain:
    """An estimate for the limit "at most this fraction of the baseline is lost"."""

    evidence: Evidence
    """Of the ratio of the two proportions, or of the contrast candidate - k x baseline (`relative.contrast_factor`)."""
    limit: float
    """The fraction is not exceeded if the true mean of `evidence` is at least this."""
    moments: Moments
    """In the unit of the metric, for the interval of the relative loss."""


@dataclass(frozen=True, slots=True)
class Gain:
    """An estimate of the candidate's gain over the baseline, oriented so that larger is better."""

    evidence: Evidence
    n: int | None
    """Number of pairs; None if only the two scores could be compared."""
    relative: RelativeGain | None = None
    """If a relative limit was given and could be estimated."""


def score_of_items(items: Items, item_range: ItemRange, *, scale: float) -> Evidence:
    """Estimate the true score from its items.

    Args:
        items: the items of one run.
        item_range: possible scores of an item, in the unit of the score.
        scale: factor from the mean of the items to the score.

    Raises:
        SingleClusterError: all items are in one cluster.
    """
    if scale != 1:
        return Scaled(score_of_items(items, _divided(item_range, scale), scale=1), scale)
    cluster = cluster_codes(items.clusters) if items.clusters else None
    if cluster is None and item_range.is_unit and is_binary(items.values):
        return Proportion(int(items.values.sum()), len(items))
    if not item_range.observed or cluster is not None:
        return _mean(items.values, cluster, item_range)
    # NOTE: scores of one sign are taken to be bounded by 0, and by nothing on the other side.
    if items.low > 0:
        return _mean_of_positive(items.values)
    if items.high < 0:
        return Negated(_mean_of_positive(-items.values))
    mean = _mean(items.values, None, item_range)
    if len(items) >= MIN_UNBOUNDED:
        return mean
    return Untestable(mean.estimate, mean.stderr, Obstacle.FEW_UNBOUNDED)


def _mean_of_positive(values: NDArray[np.float64]) -> Evidence:
    """Estimate the mean of positive scores, with an allowance for missed ones of twice the largest one."""
    return mean_of_positive_items(values, _mean(values, None, ItemRange(0.0, 2 * float(values.max()))))


def _divided(item_range: ItemRange, scale: float) -> ItemRange:
    """Return the range in the unit of the items; percentages and proportions of the same items are the same data."""
    return replace(item_range, low=item_range.low / scale, high=item_range.high / scale)


def _mean(values: NDArray[np.float64], cluster: NDArray[np.int64] | None, item_range: ItemRange) -> Evidence:
    widened = item_range.widened()
    if cluster is None:
        return mean_of_items(values, widened.low, widened.high)
    return mean_of_clusters(values, cluster, widened.low, widened.high)


def paired_gain(
    pairs: Pairs, item_range: ItemRange, *, higher: bool, scale: float, relative_limit: float | None = None
) -> Gain:
    """Estimate the gain over the same items.

    Args:
        pairs: the items that both runs have.
        item_range: possible scores of an item, in the unit of the score.
        higher: whether larger values of the metric are better.
        scale: factor from the mean of the items to the score.
        relative_limit: the allowed loss as a fraction of the baseline, if there is such a limit.

    Raises:
        SingleClusterError: all items are in one cluster.
    """
    if scale != 1:
        inner = paired_gain(pairs, _divided(item_range, scale), higher=higher, scale=1, relative_limit=relative_limit)
        return replace(inner, evidence=Scaled(inner.evidence, scale), relative=_in_unit(inner.relative, pairs, scale))
    binary = pairs.cluster is None and item_range.is_unit and is_binary(pairs.candidate, pairs.baseline)
    candidate, baseline = pairs.candidate, pairs.baseline
    relative = None
    if relative_limit is not None and binary:
        relative = _ratio_gain(candidate, baseline, higher=higher, limit=relative_limit)
    elif relative_limit is not None:
        relative = _contrast_gain(pairs, candidate, baseline, item_range, higher=higher, limit=relative_limit)
    gain = candidate - baseline if higher else baseline - candidate
    evidence: Evidence
    if binary:
        evidence = PairedProportions(better=int((gain > 0).sum()), worse=int((gain < 0).sum()), n=len(pairs))
    else:
        width = item_range.high - item_range.low
        evidence = _mean(gain, pairs.cluster, ItemRange(-width, width))
        if item_range.observed and len(pairs) < MIN_UNBOUNDED:
            evidence = FailOnly(evidence, Obstacle.FEW_UNBOUNDED)
    return Gain(evidence=evidence, n=len(pairs), relative=relative)


def _in_unit(relative: RelativeGain | None, pairs: Pairs, scale: float) -> RelativeGain | None:
    """Return a relative gain, which has no unit, with its moments in the unit of the metric."""
    if relative is None:
        return None
    return replace(relative, moments=paired_moments(pairs.candidate * scale, pairs.baseline * scale))


def _ratio_gain(
    candidate: NDArray[np.float64], baseline: NDArray[np.float64], *, higher: bool, limit: float
) -> RelativeGain:
    """Estimate the relative gain of binary items by the ratio of the two proportions.

    Args:
        candidate: 0 or 1 for each item, shape (n,), float64.
        baseline: the same of the baseline, in the same order.
        higher: whether larger values of the metric are better.
        limit: the allowed loss as a fraction of the baseline.
    """
    factor = contrast_factor(limit, higher=higher)
    # NOTE: if smaller is better, the ratio is inverted, since its two bounds are of different methods.
    top, bottom = (candidate, baseline) if higher else (baseline, candidate)
    both, better, worse = (int(cell.sum()) for cell in (top * bottom, top * (1 - bottom), (1 - top) * bottom))
    ratio = PairedRatio(both, better, worse, len(candidate))
    return RelativeGain(ratio, factor if higher else 1 / factor, paired_moments(candidate, baseline))


def _contrast_gain(
    pairs: Pairs,
    candidate: NDArray[np.float64],
    baseline: NDArray[np.float64],
    item_range: ItemRange,
    *,
    higher: bool,
    limit: float,
) -> RelativeGain:
    """Estimate the relative gain by the contrast candidate - k x baseline (Fieller, 1954).

    Args:
        pairs: the items that both runs have.
        candidate: scores of the candidate in the unit of the score, shape (n,), float64.
        baseline: scores of the baseline in the same unit and order, shape (n,), float64.
        item_range: possible scores of an item, in the unit of the score.
        higher: whether larger values of the metric are better.
        limit: the allowed loss as a fraction of the baseline.
    """
    factor, sign = contrast_factor(limit, higher=higher), 1 if higher else -1
    low, high = sorted(
        (sign * (item_range.low - factor * item_range.high), sign * (item_range.high - factor * item_range.low))
    )
    evidence = _mean(sign * (candidate - factor * baseline), pairs.cluster, ItemRange(low, high))
    if item_range.observed and len(pairs) < MIN_UNBOUNDED:
        evidence = FailOnly(evidence, Obstacle.FEW_UNBOUNDED)
    return RelativeGain(evidence, 0.0, paired_moments(candidate, baseline))


def unpaired_gain(
    candidate: Aggregate,
    baseline: Aggregate,
    *,
    higher: bool,
    relative_limit: float | None = None,
    bounds: tuple[float, float] | None = None,
) -> Gain | None:
    """Estimate the gain between two scores whose items cannot be paired.

    Args:
        candidate: score of the candidate.
        baseline: score of the baseline.
        higher: whether larger values of the metric are better.
        relative_limit: the allowed loss as a fraction of the baseline, if there is such a limit.
        bounds: smallest and largest possible score of an item, if known.

    Returns:
        The gain; None if a standard error is unknown.
    """
    evidence = aggregate_difference(candidate, baseline, higher=higher, bounds=bounds)
    if evidence is None:
        return None
    relative = None
    if relative_limit is not None:
        factor = contrast_factor(relative_limit, higher=higher)
        contrast = aggregate_difference(candidate, baseline, higher=higher, factor=factor, bounds=bounds)
        variances = [(aggregate_stderr(score) or math.nan) ** 2 for score in (candidate, baseline)]
        moments = Moments(candidate.value, baseline.value, variances[0], variances[1])
        relative = None if contrast is None else RelativeGain(contrast, 0.0, moments)
    return Gain(evidence=evidence, n=None, relative=relative)
