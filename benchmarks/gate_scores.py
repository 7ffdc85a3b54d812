"""Families of the gate simulation: reported scores, unequal samples and repeats, and scores without bounds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product

import numpy as np
from benchmarks.gate_rates import ErrorRates, WeightedEvidence, error_rates, unique_rows
from benchmarks.gate_settings import POSITIVE, UNIT_SHAPES, Floats, blocks, seeded_generator

from nel_action.statistics.aggregate import Aggregate, aggregate_difference, aggregate_mean
from nel_action.statistics.binary import Proportion, TwoProportions
from nel_action.statistics.estimates import Evidence, Negated
from nel_action.statistics.gains import score_of_items
from nel_action.statistics.items import Items, item_range, mean_by_item
from nel_action.statistics.means import mean_of_items

SCORE_SIZES = (3, 5, 10, 19, 20, 25, 30, 60, 198, 400, 1_319)
RANGES = ((0.0, 1.0), (0.0, 100.0), (1.0, 5.0), (-1.0, 1.0))
"""Possible scores of an item: proportion, percentage, grade, gain."""
UNEQUAL = ((2, 40), (5, 5), (5, 200), (10, 30), (15, 1_000), (20, 20), (30, 400), (60, 14_042), (400, 1_319))
"""Items of the smaller and the larger sample."""


def draw_scores(random: np.random.Generator, name: str, n: int, repeats: int) -> Iterator[Floats]:
    """Yield blocks of scores in 0..1, shape (block, n)."""
    values, probabilities = UNIT_SHAPES[name]
    for block in blocks(repeats, n):
        if probabilities is None:
            first, second = values
            yield random.beta(first, second, (block, n))
        else:
            yield np.asarray(random.choice(values, (block, n), p=probabilities), dtype=float)


def true_mean(name: str) -> float:
    """Return the true mean of a shape of scores."""
    values, probabilities = UNIT_SHAPES[name]
    return values[0] / sum(values) if probabilities is None else float(np.dot(values, probabilities))


def _reported(rows: Floats, low: float, high: float) -> Iterator[Aggregate]:
    """Yield the score that a harness reports for each row of items in 0..1, shape (repeats, n), in another range."""
    n = rows.shape[1]
    stderrs = rows.std(axis=1, ddof=1) / np.sqrt(n) * (high - low)
    for value, stderr in zip((low + (high - low) * rows.mean(axis=1)).tolist(), stderrs.tolist(), strict=True):
        yield Aggregate(value, stderr, n)


def reported_means(
    repeats: int, sizes: Iterable[int] = SCORE_SIZES, shapes: Iterable[str] = tuple(UNIT_SHAPES)
) -> Iterator[ErrorRates]:
    """Yield the error rates of a minimum on a reported score, in each range."""
    for n, (index, name) in product(sizes, enumerate(shapes)):
        low, high = RANGES[index % len(RANGES)]
        random = seeded_generator("reported means", n, name)
        evidence = (
            (mean, 1)
            for rows in draw_scores(random, name, n, repeats)
            for score in _reported(rows, low, high)
            if (mean := aggregate_mean(score, (low, high))) is not None
        )
        yield error_rates(f"{name}, {low:g} to {high:g}", n, evidence, low + (high - low) * true_mean(name))


def reported_differences(
    repeats: int, sizes: Iterable[tuple[int, int]] = UNEQUAL, shapes: Iterable[str] = tuple(UNIT_SHAPES)
) -> Iterator[ErrorRates]:
    """Yield the error rates of a limit on the difference of two reported scores of unequal samples."""
    names = tuple(shapes)
    for (small, large), (index, name), swapped in product(sizes, enumerate(names), (False, True)):
        other = names[(index + 3) % len(names)]
        low, high = RANGES[index % len(RANGES)]
        random = seeded_generator("reported differences", small, large, name, swapped)
        n, m = (large, small) if swapped else (small, large)
        evidence = _draw_differences(random, (name, n), (other, m), repeats, (low, high))
        limit = (high - low) * (true_mean(name) - true_mean(other))
        yield error_rates(f"{name} ({n:,}) - {other} ({m:,})", small, evidence, limit)


def _draw_differences(
    random: np.random.Generator,
    candidate: tuple[str, int],
    baseline: tuple[str, int],
    repeats: int,
    bounds: tuple[float, float],
) -> WeightedEvidence:
    """Draw the difference of two reported scores, each given by its shape and its number of items."""
    sides = (draw_scores(random, *side, repeats) for side in (candidate, baseline))
    first, second = ([score for rows in side for score in _reported(rows, *bounds)] for side in sides)
    for after, before in zip(first, second, strict=True):
        difference = aggregate_difference(after, before, higher=True, bounds=bounds)
        if difference is not None:
            yield difference, 1


def unequal_proportions(
    repeats: int, sizes: Iterable[tuple[int, int]] = UNEQUAL, rates: Iterable[float] = (0.05, 0.3, 0.5, 0.85, 0.97)
) -> Iterator[ErrorRates]:
    """Yield the error rates of two proportions of samples of unequal size."""
    for (small, large), rate, margin, swapped in product(sizes, rates, (0.0, 0.02, 0.1), (False, True)):
        if rate <= margin:
            continue
        n, m = (large, small) if swapped else (small, large)
        random = seeded_generator("unequal proportions", small, large, rate, margin, swapped)
        counts = np.stack([random.binomial(n, rate - margin, repeats), random.binomial(m, rate, repeats)], axis=1)
        evidence = (
            (TwoProportions(Proportion(a, n), Proportion(b, m)), count) for (a, b), count in unique_rows(counts)
        )
        yield error_rates(f"rate {rate}, margin {margin}, {n:,} and {m:,}", small, evidence, -margin)


def unequal_repeats(repeats: int, sizes: Iterable[int] = (20, 60, 200)) -> Iterator[ErrorRates]:
    """Yield the error rates of right/wrong items with unequal numbers of repeats, judged by the means of the items."""
    for n, (most, rate) in product(sizes, product((3, 8, 32), (0.5, 0.85))):
        random = seeded_generator("unequal repeats", n, most, rate)
        evidence = ((_draw_repeated(random, n, most, rate), 1) for _ in range(repeats))
        yield error_rates(f"1 to {most} repeats, rate {rate}", n, evidence, -0.05)


def _draw_repeated(random: np.random.Generator, n: int, most: int, rate: float) -> Evidence:
    """Draw the gain of items of which the probability of success varies, each with its own number of repeats."""
    chance = 0.05 + 0.95 * random.beta(8 * rate, 8 * (1 - rate), n)
    means = []
    for chances in (chance, chance - 0.05):
        rows = np.repeat(np.arange(n), random.integers(1, most + 1, n))
        means.append(mean_by_item(rows, (random.random(len(rows)) < chances[rows]).astype(float)))
    return mean_of_items(means[1] - means[0], -1, 1)


def _score_of_observed(values: Floats) -> Evidence:
    """Return the estimate of a score of which the range of an item is only that of its items."""
    low, high = float(values.min()), float(values.max())
    items = Items({str(row): row for row in range(len(values))}, values, None, None, low, high, len(values))
    return score_of_items(items, item_range(low, high, scale=1.0, is_proportion=False), scale=1.0)


def ceilings(
    repeats: int, sizes: Iterable[int] = (5, 10, 20, 30, 60, 198, 1_319), shapes: Iterable[str] = tuple(POSITIVE)
) -> Iterator[ErrorRates]:
    """Yield the error rates of a maximum on positive scores without known bounds, such as latencies."""
    for n, name in product(sizes, tuple(shapes)):
        draw, mean = POSITIVE[name]
        random = seeded_generator("ceilings", n, name)
        evidence = (
            (Negated(_score_of_observed(row)), 1) for block in blocks(repeats, n) for row in draw(random, (block, n))
        )
        yield error_rates(name, n, evidence, -mean)
