"""Families of the gate simulation: each method of `nel_action.statistics` at its margin, over a grid of settings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import product

import numpy as np
from benchmarks.gate_exact import few_pairs, few_proportions, few_ratios
from benchmarks.gate_rates import ALPHA, Counts, ErrorRates, WeightedEvidence, error_rates, unique_rows
from benchmarks.gate_scores import ceilings, reported_differences, reported_means, unequal_proportions, unequal_repeats
from benchmarks.gate_settings import (
    ALL_SHAPES,
    BINARY,
    CLUSTER_MARGIN,
    CLUSTERED,
    FEW_SHAPES,
    RELATIVE,
    SHAPES,
    SIZES,
    blocks,
    draw_clustered,
    flip_probabilities,
    seeded_generator,
)
from benchmarks.gate_trend import trend, trend_delay

from nel_action.statistics.aggregate import Aggregate, aggregate_difference
from nel_action.statistics.binary import PairedProportions, Proportion, TwoProportions
from nel_action.statistics.estimates import Evidence
from nel_action.statistics.means import mean_of_clusters, mean_of_items
from nel_action.statistics.multiplicity import holm
from nel_action.statistics.relative import PairedRatio, contrast_factor

Grid = Sequence[tuple[float, float, float]]


def paired_settings(
    sizes: Iterable[int], grid: Grid
) -> Iterator[tuple[str, int, tuple[float, float, float, float], float]]:
    """Yield settings of binary pairs: name, n, probabilities of better, worse, both, neither, and the margin."""
    for n, (rate, correlation, margin) in product(sizes, grid):
        if probabilities := flip_probabilities(rate, correlation, margin):
            better, worse = probabilities
            setting = f"rate {rate}, correlation {correlation}, margin {margin:.3g}"
            yield setting, n, (better, worse, rate - worse, max(0.0, 1 - rate - better)), margin


def binary(repeats: int, sizes: Iterable[int] = SIZES, grid: Grid = BINARY) -> Iterator[ErrorRates]:
    """Yield the error rates of binary pairs."""
    for setting, n, probabilities, margin in paired_settings(sizes, grid):
        counts = seeded_generator("binary", n, setting).multinomial(n, probabilities, size=repeats)[:, :2]
        evidence = ((PairedProportions(better, worse, n), count) for (better, worse), count in unique_rows(counts))
        yield error_rates(setting, n, evidence, -margin)


def unpaired(repeats: int, sizes: Iterable[int] = SIZES, grid: Grid = BINARY) -> Iterator[ErrorRates]:
    """Yield the error rates of binary pairs of which only the two rates are known."""
    for setting, n, probabilities, margin in paired_settings(sizes, grid):
        counts = seeded_generator("unpaired", n, setting).multinomial(n, probabilities, size=repeats)
        rows = unique_rows(_solved(counts))
        evidence = ((TwoProportions(Proportion(a, n), Proportion(b, n)), count) for (a, b), count in rows)
        yield error_rates(setting, n, evidence, -margin)


def _solved(counts: Counts) -> Counts:
    """Return the items that each run solves, from the counts of better, worse and both."""
    return np.stack([counts[:, 0] + counts[:, 2], counts[:, 1] + counts[:, 2]], axis=1)


def relative(repeats: int, sizes: Iterable[int] = SIZES, grid: Grid = RELATIVE) -> Iterator[ErrorRates]:
    """Yield the error rates of binary pairs that lost exactly the allowed fraction of the baseline's rate."""
    for n, (rate, correlation, loss) in product(sizes, grid):
        for pair_setting, _, probabilities, _ in paired_settings((n,), [(rate, correlation, rate * loss)]):
            setting = f"{pair_setting}, share {loss}"
            counts = seeded_generator("relative", n, setting).multinomial(n, probabilities, size=repeats)[:, :3]
            rows = unique_rows(counts)
            evidence = ((PairedRatio(both, better, worse, n), count) for (better, worse, both), count in rows)
            yield error_rates(setting, n, evidence, 1 - loss)


def relative_unpaired(repeats: int, sizes: Iterable[int] = SIZES, grid: Grid = RELATIVE) -> Iterator[ErrorRates]:
    """Yield the error rates of the same pairs if only the two rates are known."""
    for n, (rate, correlation, loss) in product(sizes, grid):
        for setting, _, probabilities, _ in paired_settings((n,), [(rate, correlation, rate * loss)]):
            counts = seeded_generator("relative unpaired", n, setting).multinomial(n, probabilities, size=repeats)
            evidence = _score_contrasts(_solved(counts), n, contrast_factor(loss, higher=True))
            yield error_rates(f"{setting}, share {loss}", n, evidence, 0.0)


def _score_contrasts(solved: Counts, n: int, factor: float) -> WeightedEvidence:
    """Yield the estimate of candidate - factor x baseline from the two scores.

    Args:
        solved: items that candidate and baseline solve, shape (repeats, 2).
        n: number of items.
        factor: multiplier of the baseline.
    """
    for row, count in unique_rows(solved):
        candidate, baseline = (Aggregate(k / n, (k * (n - k) / n**3) ** 0.5, n) for k in row)
        evidence = aggregate_difference(candidate, baseline, higher=True, factor=factor)
        assert evidence is not None  # noqa: S101 - proportions have a standard error
        yield evidence, count


def relative_scores(repeats: int, sizes: Iterable[int] = SIZES) -> Iterator[ErrorRates]:
    """Yield the error rates of graded pairs that lost exactly the allowed fraction of the baseline's mean."""
    for n, (loss, correlation) in product(sizes, product((0.02, 0.1, 0.25), (0.3, 0.9))):
        random, factor = seeded_generator("relative scores", n, loss, correlation), contrast_factor(loss, higher=True)
        evidence = _draw_graded_contrasts(random, n, repeats, factor, correlation)
        yield error_rates(f"share {loss}, noise {1 - correlation:.1g}", n, evidence, 0.0)


def _draw_graded_contrasts(
    random: np.random.Generator, n: int, repeats: int, factor: float, correlation: float
) -> WeightedEvidence:
    """Draw scores in 0..1 of which the candidate's mean is `factor` times the baseline's."""
    for block in blocks(repeats, n):
        before = random.beta(2, 1, (block, n))
        after = factor * (correlation * before + (1 - correlation) * random.beta(2, 1, (block, n)))
        for row in after - factor * before:
            yield mean_of_items(row, -factor, 1), 1


def floors(repeats: int, sizes: Iterable[int] = SIZES) -> Iterator[ErrorRates]:
    """Yield the error rates of a proportion whose true rate is the minimum."""
    for n, rate in product(sizes, (0.05, 0.3, 0.5, 0.7, 0.85, 0.93, 0.97)):
        counts = seeded_generator("floors", n, rate).binomial(n, rate, size=(repeats, 1))
        evidence = ((Proportion(successes, n), count) for (successes,), count in unique_rows(counts))
        yield error_rates(f"rate {rate}", n, evidence, rate)


def _draw_means(n: int, name: str, repeats: int) -> WeightedEvidence:
    """Draw the means of `n` items of a named distribution."""
    draw, random = ALL_SHAPES[name][0], seeded_generator("continuous", n, name)
    for block in blocks(repeats, n):
        for row in draw(random, (block, n)):
            yield mean_of_items(np.clip(row, -1, 1), -1, 1), 1


def continuous(
    repeats: int, sizes: Iterable[int] = SIZES, shapes: Iterable[str] = tuple(SHAPES)
) -> Iterator[ErrorRates]:
    """Yield the error rates of graded items."""
    for n, name in product(sizes, tuple(shapes)):
        yield error_rates(name, n, _draw_means(n, name, repeats), -ALL_SHAPES[name][1])


def few(repeats: int, sizes: Iterable[int] = range(2, 41)) -> Iterator[ErrorRates]:
    """Yield the error rates of every number of items from 2 to 40; fewer than 20 use the betting bound."""
    yield from continuous(repeats, sizes, (*SHAPES, *FEW_SHAPES))


def _draw_lognormals(n: int, noise: float, margin: float, repeats: int) -> WeightedEvidence:
    """Draw scores without known bounds, which the observed range replaces."""
    random = seeded_generator("unbounded", n, noise)
    for block in blocks(repeats, n):
        before = random.lognormal(0, 0.7, (block, n))
        after = before - margin - noise * (random.exponential(1, (block, n)) - 1)
        for candidate, baseline in zip(after, before, strict=True):
            width = max(candidate.max(), baseline.max()) - min(candidate.min(), baseline.min())
            yield mean_of_items(candidate - baseline, -width, width), 1


def unbounded(repeats: int, sizes: Iterable[int] = SIZES) -> Iterator[ErrorRates]:
    """Yield the error rates of scores without known bounds."""
    for n, (noise, margin) in product(sizes, ((0.3, 0.1), (0.8, 0.3))):
        yield error_rates(f"lognormal, noise {noise}", n, _draw_lognormals(n, noise, margin, repeats), -margin)


def _draw_cluster_means(count: int, size: int, kind: str, repeats: int) -> WeightedEvidence:
    """Draw the means of clustered items."""
    random = seeded_generator("clusters", count, size, kind)
    for _ in range(repeats):
        yield mean_of_clusters(*draw_clustered(random, count, size, kind), -1, 1), 1


def clusters(
    repeats: int, counts: Iterable[int] = (5, 8, 12, 20, 57, 150, 200), kinds: Iterable[str] = CLUSTERED
) -> Iterator[ErrorRates]:
    """Yield the error rates of clustered items; `n` is the number of clusters."""
    for count, size, kind in product(counts, (5, 20), tuple(kinds)):
        evidence = _draw_cluster_means(count, size, kind, repeats)
        yield error_rates(f"{kind}, {size} each", count, evidence, -CLUSTER_MARGIN)


def several(repeats: int, counts: Iterable[int] = (1, 2, 5, 10)) -> Iterator[ErrorRates]:
    """Yield the rates of any failure among several tasks at their margins under Holm, and of a pass of one of them."""
    for tasks, n, kind in product(counts, (60, 198, 1_319), ("right or wrong", "skewed")):
        random = seeded_generator("several", tasks, n, kind)
        families = [[_draw_task(random, n, kind) for _ in range(tasks)] for _ in range(repeats)]
        fails = sum(
            any(holm([task.p_value_at_least(-0.05) for task in family], [ALPHA] * tasks)) for family in families
        )
        passes = sum(family[0].p_value_at_most(-0.05) <= ALPHA for family in families)
        yield ErrorRates(f"{tasks} tasks, {kind}", n, 100 * fails / repeats, 100 * passes / repeats)


def _draw_task(random: np.random.Generator, n: int, kind: str) -> Evidence:
    """Draw a task with a true loss of 0.05."""
    if kind == "right or wrong":
        better, worse, _ = random.multinomial(n, [0.05, 0.1, 0.85]).tolist()
        return PairedProportions(better, worse, n)
    return mean_of_items(np.clip(-0.05 - 0.15 * (random.exponential(1, n) - 1), -1, 1), -1, 1)


def coverage(repeats: int, sizes: Iterable[int] = SIZES) -> Iterator[ErrorRates]:
    """Yield how often each bound of the reported interval is on the wrong side of the true mean; nominal: 5 % each."""
    for n, name in product(sizes, ("normal, sd 0.2", "beta, sd 0.4", "quarters, 60 % move")):
        true_mean = -SHAPES[name][1]
        intervals = [(mean.lower_bound(ALPHA), mean.upper_bound(ALPHA)) for mean, _ in _draw_means(n, name, repeats)]
        below, above = sum(high < true_mean for _, high in intervals), sum(low > true_mean for low, _ in intervals)
        yield ErrorRates(name, n, 100 * below / repeats, 100 * above / repeats)


FAMILIES: dict[str, Callable[[int], Iterator[ErrorRates]]] = {
    "binary": binary,
    "unpaired": unpaired,
    "relative": relative,
    "relative unpaired": relative_unpaired,
    "relative scores": relative_scores,
    "floors": floors,
    "continuous": continuous,
    "few": few,
    "unbounded": unbounded,
    "clusters": clusters,
    "several": several,
    "coverage": coverage,
    "few pairs": few_pairs,
    "few ratios": few_ratios,
    "few proportions": few_proportions,
    "reported means": reported_means,
    "reported differences": reported_differences,
    "unequal proportions": unequal_proportions,
    "unequal repeats": unequal_repeats,
    "ceilings": ceilings,
    "trend": trend,
    "trend delay": trend_delay,
}
"""From the name of a family to its simulation, which takes the number of repeats."""
