"""Settings of the gate simulation: distributions of item gains whose true mean is exactly minus the margin."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator, tuple[int, int]], Floats]
"""Draw gains of the given shape (repeats, items)."""

SIZES = (30, 60, 198, 400, 1_319, 14_042)
RATES = (0.3, 0.5, 0.7, 0.85, 0.93, 0.97)
CORRELATIONS = (0.0, 0.3, 0.6, 0.8, 0.95)
BINARY = tuple(product(RATES, CORRELATIONS, (0.01, 0.02, 0.05, 0.1)))
"""Rate of the baseline, correlation, margin."""
RELATIVE = tuple(product(RATES, CORRELATIONS, (0.02, 0.05, 0.1, 0.25)))
"""Rate of the baseline, correlation, lost fraction of the rate."""
BLOCK_SIZE = 4_000_000
"""Numbers that are drawn at once."""


def seeded_generator(*setting: object) -> np.random.Generator:
    """Return a generator seeded by the setting, so that a single setting can be reproduced.

    NOTE: the published figures depend on the texts of the settings, which are their seeds.
    """
    return np.random.default_rng(list(repr(setting).encode()))


def blocks(repeats: int, n: int) -> Iterator[int]:
    """Split repeats into blocks that fit into memory."""
    block = max(1, BLOCK_SIZE // n)
    while repeats > 0:
        yield min(block, repeats)
        repeats -= block


def flip_probabilities(rate: float, correlation: float, margin: float) -> tuple[float, float] | None:
    """Return the probabilities of "better" and "worse"; None if the candidate's rate would not be positive.

    If no two such rates have the correlation, the nearest possible one is used.

    Args:
        rate: success rate of the baseline.
        correlation: of the outcomes of an item in both runs.
        margin: loss of the candidate.
    """
    after = rate - margin
    if after <= 0:
        return None
    both = min(after, rate * after + correlation * (rate * (1 - rate) * after * (1 - after)) ** 0.5)
    return after - both, rate - both


def centred(draw: Draw, margin: float) -> tuple[Draw, float]:
    """Shift gains with mean zero to minus the margin."""
    return (lambda random, shape: draw(random, shape) - margin), margin


def rare(probability: float, size: float, *, sign: int = -1, noise: float = 0.005) -> tuple[Draw, float]:
    """Return a few large changes among nearly constant items; the margin is their mean.

    Args:
        probability: of a large change.
        size: of a large change.
        sign: its direction.
        noise: standard deviation of all items.
    """

    def draw(random: np.random.Generator, shape: tuple[int, int]) -> Floats:
        return sign * size * (random.random(shape) < probability) + random.normal(0, noise, shape)

    return draw, -sign * size * probability


def steps(moving: float, margin: float) -> tuple[Draw, float]:
    """Return judge scores in quarters, of which a fraction `moving` changes by one step."""
    down = (moving + 4 * margin) / 2

    def draw(random: np.random.Generator, shape: tuple[int, int]) -> Floats:
        return 0.25 * np.asarray(random.choice([-1.0, 0.0, 1.0], shape, p=[down, 1 - moving, moving - down]))

    return draw, margin


def gamma(shape: float, sd: float, sign: int) -> Draw:
    """Return skewed gains with mean zero; the skewness is 2 / sqrt(shape)."""
    scale = sd / shape**0.5
    return lambda random, size: sign * (random.gamma(shape, scale, size) - shape * scale)


def wide(margin: float) -> tuple[Draw, float]:
    """Return gains over the full range, with standard deviation 0.4."""
    mean = (1 - margin) / 2
    return (lambda random, shape: 2 * random.beta(5.2 * mean, 5.2 * (1 - mean), shape) - 1), margin


# NOTE: values outside -1..1, which are clipped, shift the mean by less than a hundredth of its standard error.
SHAPES: dict[str, tuple[Draw, float]] = {
    "normal, sd 0.05": centred(lambda random, shape: random.normal(0, 0.05, shape), 0.05),
    "normal, sd 0.2": centred(lambda random, shape: random.normal(0, 0.2, shape), 0.05),
    "beta, sd 0.4": wide(0.05),
    "exponential drops": centred(gamma(1, 0.1, -1), 0.05),
    "exponential gains": centred(gamma(1, 0.1, 1), 0.05),
    "gamma(1/4) drops": centred(gamma(0.25, 0.06, -1), 0.05),
    "gamma(1/4) gains": centred(gamma(0.25, 0.06, 1), 0.05),
    "2 % drop by 0.8": rare(0.02, 0.8),
    "2 % gain by 0.8": rare(0.02, 0.8, sign=1),
    "5 % drop by 0.6, noisy": rare(0.05, 0.6, noise=0.09),
    "10 % drop by 0.5": rare(0.1, 0.5),
    "0.5 % drop by 0.95": rare(0.005, 0.95),
    "quarters, 10 % move": steps(0.1, 0.02),
    "quarters, 60 % move": steps(0.6, 0.02),
}
"""Each distribution of gains with its margin."""


def masses(values: tuple[float, ...], probabilities: tuple[float, ...]) -> tuple[Draw, float]:
    """Return gains with a few possible values; the margin is minus their mean."""
    mean = float(np.dot(values, probabilities))
    return (lambda random, shape: np.asarray(random.choice(values, shape, p=probabilities), dtype=float)), -mean


FEW_SHAPES: dict[str, tuple[Draw, float]] = {
    "-1, 0.8, 1": masses((-1.0, 0.8, 1.0), (0.05, 0.25, 0.7)),
    "-1, -0.5, 0.5, 1": masses((-1.0, -0.5, 0.5, 1.0), (0.5, 0.1, 0.1, 0.3)),
    "mostly 1, 6 % -1": masses((-1.0, 0.9, 1.0), (0.06, 0.02, 0.92)),
    "mostly -1, 20 % 1": masses((-1.0, -0.9, 1.0), (0.7, 0.1, 0.2)),
}
"""Gains with masses at the ends of the range, for small samples."""
ALL_SHAPES = {**SHAPES, **FEW_SHAPES}

UNIT_SHAPES: dict[str, tuple[tuple[float, ...], tuple[float, ...] | None]] = {
    "0, 0.9, 1": ((0.0, 0.9, 1.0), (0.05, 0.25, 0.7)),
    "mostly 1, 2 % 0": ((0.0, 0.99, 1.0), (0.02, 0.08, 0.9)),
    "mostly 0, 5 % 1": ((0.0, 0.1, 1.0), (0.85, 0.1, 0.05)),
    "half 0, half 0.9": ((0.0, 0.9, 0.95), (0.5, 0.4, 0.1)),
    "quarters": ((0.0, 0.25, 0.5, 0.75, 1.0), (0.1, 0.1, 0.2, 0.3, 0.3)),
    "0.45 to 0.55, 3 % 0": ((0.0, 0.45, 0.55), (0.03, 0.485, 0.485)),
    "masses at both ends": ((0.0, 0.5, 1.0), (0.3, 0.1, 0.6)),
    "1 % 0, rest 0.8": ((0.0, 0.79, 0.81), (0.01, 0.495, 0.495)),
    "beta(4, 2)": ((4.0, 2.0), None),
    "beta(0.3, 0.3)": ((0.3, 0.3), None),
    "beta(20, 0.5)": ((20.0, 0.5), None),
    "beta(0.2, 3)": ((0.2, 3.0), None),
}
"""Scores of an item in 0..1: values with their probabilities, or the parameters of a beta distribution."""


def _lognormal(sd: float) -> tuple[Draw, float]:
    return (lambda random, shape: random.lognormal(0, sd, shape)), float(np.exp(sd * sd / 2))


def _time_outs(random: np.random.Generator, shape: tuple[int, int]) -> Floats:
    is_time_out = random.choice([True, False], shape, p=[0.05, 0.95])
    return np.where(is_time_out, 30.0, random.gamma(9, 0.1, shape))


POSITIVE: dict[str, tuple[Draw, float]] = {
    "lognormal, sd 0.3": _lognormal(0.3),
    "lognormal, sd 0.7": _lognormal(0.7),
    "lognormal, sd 1": _lognormal(1.0),
    "lognormal, sd 1.5": _lognormal(1.5),
    "lognormal, sd 2": _lognormal(2.0),
    "exponential": ((lambda random, shape: random.exponential(1, shape)), 1.0),
    "gamma(1/4)": ((lambda random, shape: random.gamma(0.25, 1, shape)), 0.25),
    "gamma(4)": ((lambda random, shape: random.gamma(4, 1, shape)), 4.0),
    "normal": ((lambda random, shape: np.abs(random.normal(10, 1, shape))), 10.0),
    "Pareto, exponent 3": ((lambda random, shape: 1 + random.pareto(3, shape)), 1.5),
    "5 % time out at 30": (_time_outs, 0.05 * 30 + 0.95 * 0.9),
}
"""Positive scores without known bounds, with their true mean."""

CLUSTERED = (
    "normal",
    "uneven",
    "lognormal sizes",
    "one with half",
    "right or wrong",
    "mostly right",
    "independent",
    "rare",
)
CLUSTER_MARGIN = 0.05


def draw_clustered(random: np.random.Generator, count: int, size: int, kind: str) -> tuple[Floats, NDArray[np.int64]]:
    """Draw the gains of clustered items.

    Args:
        random: the generator.
        count: number of clusters.
        size: items in each cluster, on average.
        kind: one of `CLUSTERED`.

    Returns:
        Gains and cluster codes of the items, shape (n,) each.
    """
    sizes = _cluster_sizes(random, count, size, kind)
    cluster = np.repeat(np.arange(count), sizes)
    n = len(cluster)
    values: Floats
    match kind:
        case "normal" | "uneven" | "lognormal sizes" | "one with half":
            values = random.normal(0, 0.1, count)[cluster] + random.normal(-CLUSTER_MARGIN, 0.2, n)
        case "independent":
            values = random.normal(-CLUSTER_MARGIN, 0.2, n)
        case "rare":
            values = np.where(random.random(n) < 2 * CLUSTER_MARGIN, -0.5, 0.0)
        case _:
            values = _draw_flips(random, cluster, *((0.15, 0.1) if kind == "right or wrong" else (0.06, 0.01)))
    return np.clip(values, -1, 1), cluster.astype(np.int64)


def _cluster_sizes(random: np.random.Generator, count: int, size: int, kind: str) -> NDArray[np.int64]:
    """Return the number of items of each cluster, from equal ones to one cluster with half of all items."""
    sizes = np.full(count, size)
    if kind == "uneven":
        sizes = random.integers(size // 2, size + size // 2 + 1, count)
    elif kind == "lognormal sizes":
        sizes = np.maximum(1, np.round(size * random.lognormal(-1.125, 1.5, count))).astype(np.int64)
    elif kind == "one with half":
        sizes[0] = size * (count - 1)
    return sizes


def _draw_flips(
    random: np.random.Generator, cluster: NDArray[np.int64], worse_rate: float, better_rate: float
) -> Floats:
    """Draw binary changes whose probability of "worse" varies by cluster, with an intraclass correlation of 0.1."""
    count = int(cluster.max()) + 1
    probability = random.beta(9 * worse_rate, 9 * (1 - worse_rate), count)[cluster]
    worse = random.random(len(cluster)) < probability
    better = ~worse & (random.random(len(cluster)) < better_rate / (1 - worse_rate))
    return np.asarray(better * 1.0 - worse, dtype=np.float64)
