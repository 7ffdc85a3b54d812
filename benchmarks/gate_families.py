"""The gate's methods, each judged at its margin over a grid of settings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from benchmarks.gate_settings import (
    BINARY,
    CLUSTER_MARGIN,
    CLUSTERED,
    RELATIVE,
    SHAPES,
    SIZES,
    blocks,
    clustered,
    flip_chances,
    generator,
)

from nel_action.statistics.aggregate import Aggregate, aggregate_difference
from nel_action.statistics.binary import PairedProportions, Proportion, TwoProportions
from nel_action.statistics.estimates import Evidence
from nel_action.statistics.means import mean_of_clusters, mean_of_items
from nel_action.statistics.multiplicity import holm
from nel_action.statistics.relative import PairedRatio, contrast_factor

ALPHA = 0.05
Grid = Sequence[tuple[float, float, float]]
Counted = Iterator[tuple[Evidence, int]]
"""Evidence, each with the number of repeats that it stands for."""


@dataclass(frozen=True)
class Rates:
    """Shares of repeats in which a setting was judged wrongly, in percent."""

    setting: str
    n: int
    false_fail: float
    false_pass: float


def rates(setting: str, n: int, evidence: Iterable[tuple[Evidence, int]], limit: float) -> Rates:
    """Judge evidence at its limit."""
    fails = passes = total = 0
    for one, count in evidence:
        total += count
        fails += count * (one.p_value_at_least(limit) <= ALPHA)
        passes += count * (one.p_value_at_most(limit) <= ALPHA)
    return Rates(setting, n, 100 * fails / total, 100 * passes / total)


def unique(drawn: np.ndarray[tuple[int, int], np.dtype[np.int64]]) -> Iterator[tuple[list[int], int]]:
    """Yield rows, each once, with how often it was drawn."""
    rows, counts = np.unique(drawn, axis=0, return_counts=True)
    yield from zip(rows.tolist(), counts.tolist(), strict=True)


def of_pairs(sizes: Iterable[int], grid: Grid) -> Iterator[tuple[str, int, tuple[float, float, float, float], float]]:
    """Yield settings with the chances of better, worse, right on both sides, wrong on both, and the margin."""
    for n, (rate, correlation, margin) in product(sizes, grid):
        if chances := flip_chances(rate, correlation, margin):
            up, down = chances
            setting = f"rate {rate}, correlation {correlation}, margin {margin:.3g}"
            yield setting, n, (up, down, rate - down, max(0.0, 1 - rate - up)), margin


def binary(repeats: int, sizes: Iterable[int] = SIZES, grid: Grid = BINARY) -> Iterator[Rates]:
    """Pairs that are right or wrong."""
    for setting, n, chances, margin in of_pairs(sizes, grid):
        drawn = generator("binary", n, setting).multinomial(n, chances, size=repeats)[:, :2]
        yield rates(
            setting, n, ((PairedProportions(up, down, n), count) for (up, down), count in unique(drawn)), -margin
        )


def unpaired(repeats: int, sizes: Iterable[int] = SIZES, grid: Grid = BINARY) -> Iterator[Rates]:
    """The same, of which only the two rates are known."""
    for setting, n, chances, margin in of_pairs(sizes, grid):
        drawn = generator("unpaired", n, setting).multinomial(n, chances, size=repeats)
        right = np.stack([drawn[:, 0] + drawn[:, 2], drawn[:, 1] + drawn[:, 2]], axis=1)
        found = ((TwoProportions(Proportion(a, n), Proportion(b, n)), count) for (a, b), count in unique(right))
        yield rates(setting, n, found, -margin)


def relative(repeats: int, sizes: Iterable[int] = SIZES, grid: Grid = RELATIVE) -> Iterator[Rates]:
    """Pairs that are right or wrong and lost exactly the allowed share of the baseline's rate."""
    for n, (rate, how, share) in product(sizes, grid):
        for setting, _, (up, down, both, neither), _ in of_pairs((n,), [(rate, how, rate * share)]):
            named = f"{setting}, share {share}"
            drawn = generator("relative", n, named).multinomial(n, (up, down, both, neither), size=repeats)[:, :3]
            found = ((PairedRatio(stay, more, less, n), count) for (more, less, stay), count in unique(drawn))
            yield rates(named, n, found, 1 - share)


def relative_unpaired(repeats: int, sizes: Iterable[int] = SIZES, grid: Grid = RELATIVE) -> Iterator[Rates]:
    """The same, of which only the two rates are known."""
    for n, (rate, how, share) in product(sizes, grid):
        for setting, _, (up, down, both, neither), _ in of_pairs((n,), [(rate, how, rate * share)]):
            drawn = generator("relative unpaired", n, setting).multinomial(n, (up, down, both, neither), size=repeats)
            right = np.stack([drawn[:, 0] + drawn[:, 2], drawn[:, 1] + drawn[:, 2]], axis=1)
            yield rates(f"{setting}, share {share}", n, two_scores(right, n, contrast_factor(share, higher=True)), 0.0)


def two_scores(right: np.ndarray[tuple[int, int], np.dtype[np.int64]], n: int, factor: float) -> Counted:
    """Turn two numbers of right items into what their scores say of the one less `factor` times the other."""
    for row, count in unique(right):
        candidate, baseline = (Aggregate(correct / n, (correct * (n - correct) / n**3) ** 0.5, n) for correct in row)
        found = aggregate_difference(candidate, baseline, higher=True, factor=factor)
        assert found is not None  # noqa: S101 - shares have an error
        yield found, count


def relative_scores(repeats: int, sizes: Iterable[int] = SIZES) -> Iterator[Rates]:
    """Graded pairs that lost exactly the allowed share of the baseline's mean."""
    for n, (share, how) in product(sizes, product((0.02, 0.1, 0.25), (0.3, 0.9))):
        random, factor = generator("relative scores", n, share, how), contrast_factor(share, higher=True)
        yield rates(f"share {share}, noise {1 - how:.1g}", n, graded(random, n, repeats, factor, how), 0.0)


def graded(random: np.random.Generator, n: int, repeats: int, factor: float, how: float) -> Counted:
    """Draw marks between 0 and 1 whose candidate's mean is `factor` times the baseline's."""
    for block in blocks(repeats, n):
        before = random.beta(2, 1, (block, n))
        after = factor * (how * before + (1 - how) * random.beta(2, 1, (block, n)))
        for row in after - factor * before:
            yield mean_of_items(row, -factor, 1), 1


def floors(repeats: int, sizes: Iterable[int] = SIZES) -> Iterator[Rates]:
    """One proportion whose true rate is the floor."""
    for n, rate in product(sizes, (0.05, 0.3, 0.5, 0.7, 0.85, 0.93, 0.97)):
        drawn = generator("floors", n, rate).binomial(n, rate, size=(repeats, 1))
        yield rates(f"rate {rate}", n, ((Proportion(right, n), count) for (right,), count in unique(drawn)), rate)


def drawn_means(n: int, name: str, repeats: int) -> Counted:
    """Draw items of a shape, again and again."""
    draw, random = SHAPES[name][0], generator("continuous", n, name)
    for block in blocks(repeats, n):
        for row in draw(random, (block, n)):
            yield mean_of_items(np.clip(row, -1, 1), -1, 1), 1


def continuous(repeats: int, sizes: Iterable[int] = SIZES, shapes: Iterable[str] = tuple(SHAPES)) -> Iterator[Rates]:
    """Items that are more than right or wrong."""
    for n, name in product(sizes, tuple(shapes)):
        yield rates(name, n, drawn_means(n, name, repeats), -SHAPES[name][1])


def few(repeats: int) -> Iterator[Rates]:
    """Fewer items than any interval but the betting one is meant for."""
    yield from continuous(repeats, (5, 10, 15, 19))


def lognormals(n: int, noise: float, margin: float, repeats: int) -> Counted:
    """Draw scores of which no bounds are known; those that were seen take their place."""
    random = generator("unbounded", n, noise)
    for block in blocks(repeats, n):
        before = random.lognormal(0, 0.7, (block, n))
        after = before - margin - noise * (random.exponential(1, (block, n)) - 1)
        for ours, theirs in zip(after, before, strict=True):
            width = max(ours.max(), theirs.max()) - min(ours.min(), theirs.min())
            yield mean_of_items(ours - theirs, -width, width), 1


def unbounded(repeats: int, sizes: Iterable[int] = SIZES) -> Iterator[Rates]:
    """Scores without known bounds."""
    for n, (noise, margin) in product(sizes, ((0.3, 0.1), (0.8, 0.3))):
        yield rates(f"lognormal, noise {noise}", n, lognormals(n, noise, margin, repeats), -margin)


def drawn_clusters(count: int, size: int, kind: str, repeats: int) -> Counted:
    """Draw clustered items, again and again."""
    random = generator("clusters", count, size, kind)
    for _ in range(repeats):
        yield mean_of_clusters(*clustered(random, count, size, kind), -1, 1), 1


def clusters(repeats: int, counts: Iterable[int] = (8, 12, 20, 50, 200)) -> Iterator[Rates]:
    """Items that share clusters; `n` is the number of clusters."""
    for count, size, kind in product(counts, (5, 20), CLUSTERED):
        yield rates(f"{kind}, {size} each", count, drawn_clusters(count, size, kind, repeats), -CLUSTER_MARGIN)


def several(repeats: int, counts: Iterable[int] = (1, 2, 5, 10)) -> Iterator[Rates]:
    """Tasks at their margins: how often any fails after Holm, and one of them passes."""
    for tasks, n, kind in product(counts, (60, 198, 1_319), ("right or wrong", "skewed")):
        random = generator("several", tasks, n, kind)
        families = [[one_task(random, n, kind) for _ in range(tasks)] for _ in range(repeats)]
        fails = sum(any(holm([one.p_value_at_least(-0.05) for one in family], [ALPHA] * tasks)) for family in families)
        passes = sum(family[0].p_value_at_most(-0.05) <= ALPHA for family in families)
        yield Rates(f"{tasks} tasks, {kind}", n, 100 * fails / repeats, 100 * passes / repeats)


def one_task(random: np.random.Generator, n: int, kind: str) -> Evidence:
    """Draw one task that lost 0.05."""
    if kind == "right or wrong":
        up, down, _ = random.multinomial(n, [0.05, 0.1, 0.85]).tolist()
        return PairedProportions(up, down, n)
    return mean_of_items(np.clip(-0.05 - 0.15 * (random.exponential(1, n) - 1), -1, 1), -1, 1)


def coverage(repeats: int, sizes: Iterable[int] = SIZES) -> Iterator[Rates]:
    """How often each bound of the interval that is shown lies on the wrong side of the truth; 5 % each is nominal."""
    for n, name in product(sizes, ("normal, sd 0.2", "beta, sd 0.4", "quarters, 60 % move")):
        truth = -SHAPES[name][1]
        ends = [(one.lower_bound(ALPHA), one.upper_bound(ALPHA)) for one, _ in drawn_means(n, name, repeats)]
        under, over = sum(high < truth for _, high in ends), sum(low > truth for low, _ in ends)
        yield Rates(name, n, 100 * under / repeats, 100 * over / repeats)


FAMILIES: dict[str, Callable[[int], Iterator[Rates]]] = {
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
}
