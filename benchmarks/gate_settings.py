"""What the simulation draws: items whose true gain is exactly minus the margin."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator, tuple[int, int]], Floats]

SIZES = (30, 60, 198, 400, 1_319, 14_042)
RATES = (0.3, 0.5, 0.7, 0.85, 0.93, 0.97)
CORRELATIONS = (0.0, 0.3, 0.6, 0.8, 0.95)
BINARY = tuple(product(RATES, CORRELATIONS, (0.01, 0.02, 0.05, 0.1)))
"""Rate of the baseline, correlation, margin."""
RELATIVE = tuple(product(RATES, CORRELATIONS, (0.02, 0.05, 0.1, 0.25)))
"""Rate of the baseline, correlation, share of the rate that is lost."""
AT_ONCE = 4_000_000
"""Numbers in memory."""


def generator(*words: object) -> np.random.Generator:
    """Return a generator that depends on the setting alone, so that any one setting can be run again."""
    return np.random.default_rng(list(repr(words).encode()))


def blocks(repeats: int, n: int) -> Iterator[int]:
    """Split repeats so that memory holds them."""
    at_once = max(1, AT_ONCE // n)
    while repeats > 0:
        yield min(at_once, repeats)
        repeats -= at_once


def flip_chances(rate: float, correlation: float, margin: float) -> tuple[float, float] | None:
    """Return the chances of getting better and worse; where no two such rates can correlate so, as near as they can."""
    after = rate - margin
    if after <= 0:
        return None
    both = min(after, rate * after + correlation * (rate * (1 - rate) * after * (1 - after)) ** 0.5)
    return after - both, rate - both


def centred(draw: Draw, margin: float) -> tuple[Draw, float]:
    """Move gains with a mean of zero to the margin."""
    return (lambda random, shape: draw(random, shape) - margin), margin


def rare(chance: float, size: float, *, sign: int = -1, noise: float = 0.005) -> tuple[Draw, float]:
    """A few large changes among items that hardly move; the margin is their mean."""

    def draw(random: np.random.Generator, shape: tuple[int, int]) -> Floats:
        return sign * size * (random.random(shape) < chance) + random.normal(0, noise, shape)

    return draw, -sign * size * chance


def steps(moving: float, margin: float) -> tuple[Draw, float]:
    """A judge's marks in quarters, of which a share moves by one."""
    down = (moving + 4 * margin) / 2

    def draw(random: np.random.Generator, shape: tuple[int, int]) -> Floats:
        return 0.25 * np.asarray(random.choice([-1.0, 0.0, 1.0], shape, p=[down, 1 - moving, moving - down]))

    return draw, margin


def gamma(shape: float, spread: float, sign: int) -> Draw:
    """Skewed gains; the smaller the shape, the more so."""
    scale = spread / shape**0.5
    return lambda random, size: sign * (random.gamma(shape, scale, size) - shape * scale)


def wide(margin: float) -> tuple[Draw, float]:
    """Gains over the whole range, standard deviation 0.4."""
    mean = (1 - margin) / 2
    return (lambda random, shape: 2 * random.beta(5.2 * mean, 5.2 * (1 - mean), shape) - 1), margin


# NOTE: every shape lies within -1..1 but for chances that move its mean by less than a hundredth of a standard error.
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

CLUSTERED = ("normal", "uneven", "right or wrong", "mostly right", "independent", "rare")
CLUSTER_MARGIN = 0.05


def clustered(random: np.random.Generator, count: int, size: int, kind: str) -> tuple[Floats, NDArray[np.int64]]:
    """Draw gains and their clusters: `count` clusters of `size` items on average."""
    sizes = random.integers(size // 2, size + size // 2 + 1, count) if kind == "uneven" else np.full(count, size)
    cluster = np.repeat(np.arange(count), sizes)
    n = len(cluster)
    values: Floats
    match kind:
        case "normal" | "uneven":
            values = random.normal(0, 0.1, count)[cluster] + random.normal(-CLUSTER_MARGIN, 0.2, n)
        case "independent":
            values = random.normal(-CLUSTER_MARGIN, 0.2, n)
        case "rare":
            values = np.where(random.random(n) < 2 * CLUSTER_MARGIN, -0.5, 0.0)
        case _:
            values = flipping(random, cluster, *((0.15, 0.1) if kind == "right or wrong" else (0.06, 0.01)))
    return np.clip(values, -1, 1), cluster.astype(np.int64)


def flipping(random: np.random.Generator, cluster: NDArray[np.int64], worse_rate: float, better_rate: float) -> Floats:
    """Draw flips; the chance of getting worse varies by cluster, with an intraclass correlation of 0.1."""
    count = int(cluster.max()) + 1
    chance = random.beta(9 * worse_rate, 9 * (1 - worse_rate), count)[cluster]
    worse = random.random(len(cluster)) < chance
    better = ~worse & (random.random(len(cluster)) < better_rate / (1 - worse_rate))
    return np.asarray(better * 1.0 - worse, dtype=np.float64)
