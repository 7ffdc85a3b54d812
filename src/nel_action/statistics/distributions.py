"""Distribution functions: normal, Student's t, beta and binomial.

NOTE: scipy provides all of them, but importing `scipy.special` takes longer than judging 14,000 items, and scipy would
be most of the installed size. The tests compare every function with scipy.
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

_STANDARD_NORMAL: Final = NormalDist()
_SMALLEST_DENOMINATOR: Final = 1e-300
_QUANTILE_PRECISION: Final = 4e-15
_NORMAL_FROM_DF: Final = 1e7
"""Degrees of freedom from which t and normal distribution agree to seven digits."""


def normal_cdf(z: float) -> float:
    """Return P(Z <= z) of a standard normal, with full relative precision in the left tail."""
    return 0.5 * math.erfc(-z / math.sqrt(2))


def normal_sf(z: float) -> float:
    """Return P(Z > z) of a standard normal, with full relative precision in the right tail."""
    return 0.5 * math.erfc(z / math.sqrt(2))


def normal_quantile(p: float) -> float:
    """Return the quantile of a standard normal for 0 < p < 1."""
    return _STANDARD_NORMAL.inv_cdf(p)


def beta_cdf(x: float, a: float, b: float) -> float:
    """Return P(X <= x) of a Beta(a, b) variable, the regularised incomplete beta function.

    Args:
        x: any number; the support is 0 to 1.
        a: first shape parameter, positive.
        b: second shape parameter, positive.
    """
    if x <= 0:
        return 0.0
    if x >= 1:
        return 1.0
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    if x < (a + 1) / (a + b + 2):
        return math.exp(log_front) * _continued_fraction(x, a, b) / a
    return 1 - math.exp(log_front) * _continued_fraction(1 - x, b, a) / b


def _continued_fraction(x: float, a: float, b: float) -> float:
    """Evaluate the continued fraction 26.5.8 of Abramowitz and Stegun (1964) by Lentz's method (1976)."""
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
    return 1 / (value if abs(value) > _SMALLEST_DENOMINATOR else _SMALLEST_DENOMINATOR)


def beta_quantile(p: float, a: float, b: float) -> float:
    """Return the quantile of a Beta(a, b) variable, by Newton's method within a shrinking bracket.

    Args:
        p: probability, 0 < p < 1.
        a: first shape parameter, positive.
        b: second shape parameter, positive.
    """
    log_constant = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    low, high, x = 0.0, 1.0, a / (a + b)
    for _ in range(100):
        excess = beta_cdf(x, a, b) - p
        low, high = (low, x) if excess > 0 else (x, high)
        density = math.exp(log_constant + (a - 1) * math.log(x) + (b - 1) * math.log1p(-x))
        step = x - excess / density if density > 0 else low
        following = step if low < step < high else (low + high) / 2
        if abs(following - x) <= _QUANTILE_PRECISION * following or following >= 1:
            return following
        x = following
    return x


def binomial_at_least(k: int, n: int, p: float) -> float:
    """Return P(K >= k) of a binomial variable.

    Args:
        k: number of successes.
        n: number of trials.
        p: success probability of a trial, 0 <= p <= 1.
    """
    if k <= 0:
        return 1.0
    return 0.0 if k > n else beta_cdf(p, k, n - k + 1)


def binomial_at_most(k: int, n: int, p: float) -> float:
    """Return P(K <= k) of a binomial variable.

    Args:
        k: number of successes.
        n: number of trials.
        p: success probability of a trial, 0 <= p <= 1.
    """
    if k >= n:
        return 1.0
    return 0.0 if k < 0 else beta_cdf(1 - p, n - k, k + 1)


def t_sf(t: float, df: float) -> float:
    """Return P(T > t) of Student's t distribution with `df` degrees of freedom."""
    if math.isinf(t):
        return 0.0 if t > 0 else 1.0
    if df >= _NORMAL_FROM_DF:
        return normal_sf(t)
    tail = 0.5 * beta_cdf(df / (df + t * t), df / 2, 0.5)
    return tail if t >= 0 else 1 - tail


@cache
def t_quantile(p: float, df: float) -> float:
    """Return the quantile of Student's t distribution with `df` degrees of freedom for 0 < p < 1."""
    if p < 0.5:  # noqa: PLR2004 - the median
        return -t_quantile(1 - p, df)
    if df >= _NORMAL_FROM_DF:
        return normal_quantile(p)
    upper = 1.0
    while t_sf(upper, df) > 1 - p:
        upper *= 2
    return _bisect(lambda t: t_sf(t, df) > 1 - p, 0.0, upper)


def _bisect(is_too_low: Callable[[float], bool], low: float, high: float) -> float:
    """Bisect the interval down to the resolution of a float."""
    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if is_too_low(middle) else (low, middle)
    return (low + high) / 2
