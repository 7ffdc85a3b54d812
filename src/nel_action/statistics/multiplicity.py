"""Control of the family-wise error rate over several tests."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["holm"]


def holm(p_values: Sequence[float], alphas: Sequence[float]) -> list[bool]:
    """Return which hypotheses Holm's step-down procedure rejects (Holm, 1979).

    Tests with different error rates are ordered by p / alpha, the fraction of its error rate that each test uses
    (a weighted Holm procedure with weights alpha).

    Args:
        p_values: one p-value for each hypothesis.
        alphas: error rate of each test on its own, of the same length.

    Returns:
        Whether each hypothesis is rejected, in the order of `p_values`.
    """
    ratios = sorted((p / alpha, index) for index, (p, alpha) in enumerate(zip(p_values, alphas, strict=True)))
    rejected = [False] * len(ratios)
    for step, (ratio, index) in enumerate(ratios):
        if ratio * (len(ratios) - step) > 1:
            break
        rejected[index] = True
    return rejected
