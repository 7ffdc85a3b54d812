"""The few distribution functions that the gate needs: normal, Student's t, beta and binomial.

NOTE: scipy has them all, but importing `scipy.special` takes longer than judging fourteen thousand items may
take altogether, and it would be most of what this program weighs. The tests hold these against scipy.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from statistics import NormalDist
from typing import Final

__all__ = [
    "beta_cdf",
    "beta_quantile",
    "binomial_at_least",
    "binomial_at_most",
    "normal_cdf",
    "normal_quantile",
    "normal_sf",
    "t_quantile",
    "t_sf",
]

_STANDARD: Final = NormalDist()
_TINY: Final = 1e-300
_LIKE_NORMAL: Final = 1e7
"""Degrees of freedom from which t and normal agree to seven digits."""


def normal_cdf(z: float) -> float:
    """Chance that a standard normal is at most `z`; keeps its relative precision far out on the left."""
    return 0.5 * math.erfc(-z / math.sqrt(2))


def normal_sf(z: float) -> float:
    """Chance that a standard normal is above `z`; keeps its relative precision far out on the right."""
    return 0.5 * math.erfc(z / math.sqrt(2))


def normal_quantile(p: float) -> float:
    """Value that a standard normal stays below with chance `p`, 0 < p < 1."""
    return _STANDARD.inv_cdf(p)


def beta_cdf(x: float, a: float, b: float) -> float:
    """Regularised incomplete beta function: chance that a Beta(a, b) is at most `x`."""
    if x <= 0:
        return 0.0
    if x >= 1:
        return 1.0
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    if x < (a + 1) / (a + b + 2):
        return math.exp(log_front) * _continued_fraction(x, a, b) / a
    return 1 - math.exp(log_front) * _continued_fraction(1 - x, b, a) / b


def _continued_fraction(x: float, a: float, b: float) -> float:
    """Lentz's method on the continued fraction 26.5.8 of Abramowitz and Stegun."""
    c, d = 1.0, _inverse(1 - (a + b) * x / (a + 1))
    result = d
    for m in range(1, 100_000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d, c = _inverse(1 + even * d), 1 + even / c
        result *= d * c
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d, c = _inverse(1 + odd * d), 1 + odd / c
        result *= d * c
        if abs(d * c - 1) < 1e-15:  # noqa: PLR2004 - the precision of a float
            break
    return result


def _inverse(value: float) -> float:
    return 1 / (value if abs(value) > _TINY else _TINY)


def beta_quantile(p: float, a: float, b: float) -> float:
    """Value that a Beta(a, b) stays below with chance `p`."""
    return _bisect(lambda x: beta_cdf(x, a, b) < p, 0.0, 1.0)


def binomial_at_least(k: int, n: int, p: float) -> float:
    """Chance of `k` or more successes in `n` tries of chance `p`."""
    if k <= 0:
        return 1.0
    return 0.0 if k > n else beta_cdf(p, k, n - k + 1)


def binomial_at_most(k: int, n: int, p: float) -> float:
    """Chance of `k` or fewer successes in `n` tries of chance `p`."""
    if k >= n:
        return 1.0
    return 0.0 if k < 0 else beta_cdf(1 - p, n - k, k + 1)


def t_sf(t: float, df: float) -> float:
    """Chance that Student's t with `df` degrees of freedom is above `t`."""
    if math.isinf(t):
        return 0.0 if t > 0 else 1.0
    if df >= _LIKE_NORMAL:
        return normal_sf(t)
    tail = 0.5 * beta_cdf(df / (df + t * t), df / 2, 0.5)
    return tail if t >= 0 else 1 - tail


@cache
def t_quantile(p: float, df: float) -> float:
    """Value that Student's t with `df` degrees of freedom stays below with chance `p`, 0 < p < 1."""
    if p < 0.5:  # noqa: PLR2004 - the middle
        return -t_quantile(1 - p, df)
    if df >= _LIKE_NORMAL:
        return normal_quantile(p)
    top = 1.0
    while t_sf(top, df) > 1 - p:
        top *= 2
    return _bisect(lambda t: t_sf(t, df) > 1 - p, 0.0, top)


def _bisect(too_low: Callable[[float], bool], low: float, high: float) -> float:
    """Halve the interval until floats end."""
    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if too_low(middle) else (low, middle)
    return (low + high) / 2
