"""The power of what the gate plans for 80 %: the minimum detectable drop and the number of items to settle."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from benchmarks.gate_rates import ALPHA, Counts, unique_rows
from benchmarks.gate_settings import seeded_generator

from nel_action.statistics.binary import PairedProportions, Proportion, TwoProportions
from nel_action.statistics.estimates import Evidence
from nel_action.statistics.means import SkewAdjustedMean, mean_of_clusters, mean_of_items
from nel_action.statistics.power import items_to_settle, minimum_detectable

SIZES = (30, 60, 198, 400, 1_319)
MARGINS = (0.0, 0.01, 0.02, 0.05, 0.1)
MOST_TO_SETTLE = 30_000
"""Larger plans are not simulated."""


@dataclass(frozen=True)
class PlannedPower:
    """Results of plans for 80 % power, in percent."""

    data: str
    setting: str
    n: int
    detected: float | None
    """Drops of the minimum detectable size that failed; None if there is no such drop."""
    settled: float | None = None
    """Comparisons with the planned number of items that passed; None if none is planned."""


def _rate(evidence: Iterable[tuple[Evidence, float]], margin: float, *, passes: bool = False) -> float:
    """Return how often a loss is rejected as too large, or as small enough, in percent."""
    decided = total = 0.0
    for estimate, count in evidence:
        p_value = estimate.p_value_at_most(-margin) if passes else estimate.p_value_at_least(-margin)
        decided, total = decided + count * (p_value <= ALPHA), total + count
    return 100 * decided / total


def power_of_pairs(repeats: int, sizes: Iterable[int] = SIZES) -> Iterator[PlannedPower]:
    """Yield the power for binary pairs."""
    for n, changed, margin in product(sizes, (0.0, 0.005, 0.02, 0.05, 0.2, 0.4), MARGINS):
        flips = round(n * changed / 2)
        pilot, random = PairedProportions(flips, flips, n), seeded_generator("power of pairs", n, changed, margin)

        def draw(loss: float, items: int) -> Iterator[tuple[Evidence, float]]:
            p = flips / n  # noqa: B023 called before the next setting
            counts = random.multinomial(items, [p, p + loss, max(0.0, 1 - 2 * p - loss)], repeats)[:, :2]  # noqa: B023
            yield from ((PairedProportions(up, down, items), count) for (up, down), count in unique_rows(counts))

        loss = minimum_detectable(pilot, margin, ALPHA)
        detected = _rate(draw(loss, n), margin) if loss is not None and loss + 2 * flips / n <= 1 else None
        needed = items_to_settle(pilot, -margin, n, fail_alpha=ALPHA, pass_alpha=ALPHA) if margin else None
        is_planned = needed is not None and n + 1 < needed <= MOST_TO_SETTLE
        settled = _rate(draw(0.0, needed), margin, passes=True) if needed is not None and is_planned else None
        yield PlannedPower("binary pairs", f"{changed:.1%} change, margin {margin}", n, detected, settled)


def power_of_proportions(repeats: int, sizes: Iterable[int] = SIZES) -> Iterator[PlannedPower]:
    """Yield the power for two proportions."""
    for n, other, rate, margin in product(sizes, (60, 1_319), (0.3, 0.5, 0.85, 0.97), MARGINS):
        baseline = round(other * rate)
        pilot = TwoProportions(Proportion(round(n * rate), n), Proportion(baseline, other))
        loss, p = minimum_detectable(pilot, margin, ALPHA), baseline / other
        detected = None
        if loss is not None:
            random = seeded_generator("power of proportions", n, other, rate, margin)
            counts: Counts = np.stack(
                [random.binomial(n, p - loss, repeats), random.binomial(other, p, repeats)], axis=1
            )
            evidence = (
                (TwoProportions(Proportion(a, n), Proportion(b, other)), count) for (a, b), count in unique_rows(counts)
            )
            detected = _rate(evidence, margin)
        yield PlannedPower("two proportions", f"{n} and {other}, rate {p:.2f}, margin {margin}", n, detected)


def power_of_scores(repeats: int, sizes: Iterable[int] = (10, 19, 20, *SIZES)) -> Iterator[PlannedPower]:
    """Yield the power for other scores; below 20 items, for the mean drop of several pilot runs."""
    for n, sd, margin in product(sizes, (0.05, 0.2, 0.4), (0.02, 0.05)):
        random = seeded_generator("power of scores", n, sd, margin)
        pilots = [mean_of_items(np.clip(random.normal(0, sd, n), -1, 1), -1, 1) for _ in range(20)]

        def draw(mean: float, items: int, count: int) -> Iterator[tuple[Evidence, float]]:
            for _ in range(count):
                yield mean_of_items(np.clip(random.normal(mean, sd, items), -1, 1), -1, 1), 1  # noqa: B023

        losses = [loss for pilot in pilots if (loss := minimum_detectable(pilot, margin, ALPHA)) is not None]
        detected = _rate(draw(-float(np.mean(losses)), n, repeats), margin) if losses else None
        settled = None
        if isinstance(pilots[0], SkewAdjustedMean):
            pilot = replace(pilots[0], estimate=0.0, sample_stderr=sd / n**0.5, skew=0.0)
            needed = items_to_settle(pilot, -margin, n, fail_alpha=ALPHA, pass_alpha=ALPHA)
            if needed is not None and n + 1 < needed <= MOST_TO_SETTLE:
                settled = _rate(draw(0.0, needed, min(repeats, 500)), margin, passes=True)
        yield PlannedPower("other scores", f"sd {sd}, margin {margin}", n, detected, settled)


def power_of_clusters(repeats: int, counts: Iterable[int] = (12, 20, 57, 150)) -> Iterator[PlannedPower]:
    """Yield the power for clustered items of equal size; `n` is the number of clusters."""
    for count, size in product(counts, (5, 20)):
        random = seeded_generator("power of clusters", count, size)
        cluster = np.repeat(np.arange(count), size)

        def draw(loss: float, runs: int) -> Iterator[tuple[Evidence, float]]:
            for _ in range(runs):
                shared = random.normal(0, 0.1, count)[cluster]  # noqa: B023 called before the next setting
                yield mean_of_clusters(shared + random.normal(-loss, 0.2, len(cluster)), cluster, -1, 1), 1  # noqa: B023

        losses = [minimum_detectable(pilot, 0.02, ALPHA) for pilot, _ in draw(0.0, 40)]
        loss = float(np.mean([loss for loss in losses if loss is not None]))
        yield PlannedPower("clusters", f"{size} each", count, _rate(draw(loss, repeats), 0.02))


POWER_FAMILIES: tuple[Callable[[int], Iterator[PlannedPower]], ...] = (
    power_of_pairs,
    power_of_proportions,
    power_of_scores,
    power_of_clusters,
)


def power(repeats: int) -> Iterator[PlannedPower]:
    """Yield the power of all plans."""
    for family in POWER_FAMILIES:
        yield from family(repeats)
