"""Scores without their items: what a value, its standard error and a number of items allow to say."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

from nel_action.model.results import Score
from nel_action.statistics.binary import Proportion, TwoProportions
from nel_action.statistics.estimates import Evidence, Negated, Stricter, TEvidence

__all__ = ["ChernoffMean", "as_proportion", "difference_evidence", "score_evidence", "stderr_of"]

_ALIKE: Final = 0.02
"""Relative difference of two standard errors that are the same but for rounding and n or n - 1."""


@dataclass(frozen=True, slots=True)
class ChernoffMean:
    """A mean of items that each lie in 0..1, of unknown spread (Hoeffding, 1963, theorem 1): valid at any n."""

    estimate: float
    n: int
    method: str = "Chernoff-Hoeffding"
    reach: float = 1.0

    @property
    def stderr(self) -> float:
        """The largest that a mean of such items can have, never zero."""
        share = (self.estimate * self.n + 2) / (self.n + 4)
        return math.sqrt(share * (1 - share) / (self.n + 4))

    def _p(self, limit: float) -> float:
        return math.exp(-self.n * _divergence(self.estimate, limit))

    def fail_p(self, limit: float) -> float:
        """See `Evidence.fail_p`."""
        return self._p(limit) if limit > self.estimate else 1.0

    def pass_p(self, limit: float) -> float:
        """See `Evidence.pass_p`."""
        return self._p(limit) if limit < self.estimate else 1.0

    def high(self, alpha: float) -> float:
        """See `Evidence.high`."""
        return self._bound(alpha, self.estimate, 1.0)

    def low(self, alpha: float) -> float:
        """See `Evidence.low`."""
        return self._bound(alpha, self.estimate, 0.0)

    def _bound(self, alpha: float, inside: float, outside: float) -> float:
        for _ in range(60):
            middle = (inside + outside) / 2
            inside, outside = (middle, outside) if self._p(middle) > alpha else (inside, middle)
        return outside


def _divergence(a: float, b: float) -> float:
    """Kullback-Leibler divergence of two coins."""
    total = 0.0
    for p, q in ((a, b), (1 - a, 1 - b)):
        if p > 0:
            total += p * math.log(p / q) if q > 0 else math.inf
    return total


def as_proportion(score: Score, n: int | None) -> Proportion | None:
    """Read a score as so many right of `n`, where value and standard error are those of right-or-wrong items."""
    if not n or not 0 <= score.value <= 1:
        return None
    right = round(score.value * n)
    if not score.stderr:
        return Proportion(right, n) if abs(score.value * n - right) < 1e-6 * n else None
    spread = math.sqrt(score.value * (1 - score.value) / n)
    return Proportion(right, n) if abs(score.stderr - spread) <= _ALIKE * spread + spread / n else None


def score_evidence(score: Score, n: int | None) -> Evidence | str:
    """Return what is known of a score's true value from the score itself, or why that is nothing.

    Args:
        score: as the harness reports it.
        n: items that it was computed from.
    """
    proportion = as_proportion(score, n)
    if proportion is not None:
        return proportion
    if score.stderr and n != 1:
        return TEvidence(score.value, score.stderr, df=n - 1 if n else math.inf, method="t, from the score")
    if n and 0 <= score.value <= 1:
        return ChernoffMean(score.value, n)
    return f"{score.metric} has no standard error and no items to compute one from"


def stderr_of(score: Score, n: int | None) -> float | None:
    """Return a score's standard error: its own, or the widest that its value allows; None where nothing is known."""
    proportion = as_proportion(score, n)
    if proportion is not None:
        return proportion.stderr
    if score.stderr and n != 1:
        return score.stderr
    return ChernoffMean(score.value, n).stderr if n and 0 <= score.value <= 1 else None


def difference_evidence(
    candidate: tuple[Score, int | None], baseline: tuple[Score, int | None], *, higher: bool, factor: float = 1.0
) -> Evidence | str:
    """Return what two scores without common items say of candidate - factor x baseline, turned so that more is better.

    Args:
        candidate: its score and number of items.
        baseline: the same of the baseline.
        higher: whether more of the metric is better.
        factor: what the baseline is multiplied with.

    Returns:
        The evidence, or why there is none.
    """
    ours, theirs = as_proportion(*candidate), as_proportion(*baseline)
    if ours is not None and theirs is not None and factor == 1:
        return TwoProportions(ours, theirs) if higher else TwoProportions(theirs, ours)
    for side, words in ((candidate, "this run"), (baseline, "the baseline")):
        if stderr_of(*side) is None:
            return f"{side[0].metric} of {words} has no standard error, and there are no items to pair"
    first, second = (_Mean(score.value, stderr_of(score, n) or 0.0, n) for score, n in (candidate, baseline))
    plain: Evidence = _welch(first, second, factor)
    if ours is not None and theirs is not None:
        plain = Stricter(plain, _welch(_moved(ours), _moved(theirs), factor))
    return plain if higher else Negated(plain)


class _Mean(NamedTuple):
    value: float
    stderr: float
    n: int | None


def _moved(side: Proportion) -> _Mean:
    """Return a share with one item more that is right and one that is wrong, as Agresti and Caffo (2000) have it."""
    share = (side.right + 1) / (side.n + 2)
    return _Mean(share, math.sqrt(share * (1 - share) / (side.n + 2)), side.n)


def _welch(candidate: _Mean, baseline: _Mean, factor: float) -> TEvidence:
    """Add the variances of two independent means, and their degrees of freedom as Welch (1947) does."""
    parts = [
        ((weight * side.stderr) ** 2, side.n - 1 if side.n else math.inf)
        for side, weight in ((candidate, 1.0), (baseline, factor))
    ]
    variance = sum(part for part, _ in parts)
    doubt = sum(part * part / df for part, df in parts)
    return TEvidence(
        candidate.value - factor * baseline.value,
        math.sqrt(variance),
        df=variance * variance / doubt if doubt else math.inf,
        method="unpaired t",
    )
