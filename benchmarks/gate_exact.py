"""Families of the gate simulation that are computed exactly: right/wrong items, every number of items from 2 to 40."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import product

from benchmarks.gate_rates import ErrorRates, error_rates
from benchmarks.gate_settings import flip_probabilities

from nel_action.statistics.binary import PairedProportions, Proportion, TwoProportions
from nel_action.statistics.relative import PairedRatio

FEW = range(2, 41)
NEGLIGIBLE = 1e-9
"""Probability of a sample that is not evaluated."""
LOSSES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3)
FLIPS = (0.0, 0.005, 0.01, 0.03, 0.1, 0.3, 0.6)
"""Probability of a change that is no loss on average."""


def _multinomial(n: int, probabilities: Sequence[float]) -> Iterator[tuple[list[int], float]]:
    """Yield each sample of `n` items with its probability; the last category is the rest."""
    *others, rest = probabilities
    for counts in _compositions(n, len(others)):
        left = n - sum(counts)
        log = math.lgamma(n + 1) - math.lgamma(left + 1) - sum(math.lgamma(k + 1) for k in counts)
        for k, p in zip((*counts, left), (*others, rest), strict=True):
            if k and p <= 0:
                break
            log += k * math.log(p) if k else 0.0
        else:
            if (probability := math.exp(log)) > NEGLIGIBLE:
                yield counts, probability


def _compositions(n: int, parts: int) -> Iterator[list[int]]:
    """Yield all lists of `parts` counts with a sum of at most `n`."""
    if not parts:
        yield []
        return
    for first in range(n + 1):
        yield from ([first, *others] for others in _compositions(n - first, parts - 1))


def few_pairs(_repeats: int, sizes: Iterable[int] = FEW) -> Iterator[ErrorRates]:
    """Yield the error rates of few binary pairs."""
    for n, margin, flips in product(sizes, LOSSES, FLIPS):
        worse, better = margin + flips / 2, flips / 2
        if 0 < worse + better <= 1:
            samples = _multinomial(n, (better, worse, max(0.0, 1 - worse - better)))
            evidence = ((PairedProportions(up, down, n), probability) for (up, down), probability in samples)
            yield error_rates(f"margin {margin}, {flips:.1%} others", n, evidence, -margin)


def few_ratios(_repeats: int, sizes: Iterable[int] = (2, 3, 4, 5, 7, 10, 15, 20, 25, 30)) -> Iterator[ErrorRates]:
    """Yield the error rates of a relative limit on few binary pairs."""
    for n, rate, correlation, loss in product(
        sizes, (0.1, 0.3, 0.5, 0.7, 0.85, 0.97), (0.0, 0.6, 0.95), (0.02, 0.1, 0.25, 0.5)
    ):
        if flips := flip_probabilities(rate, correlation, rate * loss):
            better, worse = flips
            samples = _multinomial(n, (better, worse, rate - worse, max(0.0, 1 - rate - better)))
            evidence = ((PairedRatio(both, up, down, n), weight) for (up, down, both), weight in samples)
            yield error_rates(f"rate {rate}, correlation {correlation}, share {loss}", n, evidence, 1 - loss)


def few_proportions(
    _repeats: int, sizes: Iterable[tuple[int, int]] = ((2, 40), (3, 3), (5, 5), (5, 200), (8, 8), (10, 30), (20, 20))
) -> Iterator[ErrorRates]:
    """Yield the error rates of two proportions of few items."""
    for (n, m), rate, margin in product(sizes, (0.05, 0.1, 0.3, 0.5, 0.7, 0.85, 0.97), LOSSES):
        for first, second in {(n, m), (m, n)}:
            if rate - margin > 0:
                candidates, baselines = (
                    list(_multinomial(items, (p, 1 - p))) for items, p in ((first, rate - margin), (second, rate))
                )
                evidence = (
                    (TwoProportions(Proportion(a, first), Proportion(b, second)), p * q)
                    for (((a,), p), ((b,), q)) in product(candidates, baselines)
                )
                yield error_rates(f"rate {rate}, margin {margin}, {first} and {second}", min(n, m), evidence, -margin)
