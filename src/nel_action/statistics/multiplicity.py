"""Keeping the chance of one false failure over several tests."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["holm"]


def holm(p_values: Sequence[float], alphas: Sequence[float]) -> list[bool]:
    """Say which tests fail when any failure fails the whole (Holm, 1979).

    Args:
        p_values: one for each test, against "it is within its limit".
        alphas: the chance of error that each test may have on its own; tests of unlike confidence are
            compared by the share of it that they use.

    Returns:
        Whether each test fails, in the order given.
    """
    shares = sorted((p / alpha, place) for place, (p, alpha) in enumerate(zip(p_values, alphas, strict=True)))
    fails = [False] * len(shares)
    for step, (share, place) in enumerate(shares):
        if share * (len(shares) - step) > 1:
            break
        fails[place] = True
    return fails
