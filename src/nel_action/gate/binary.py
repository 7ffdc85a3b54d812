"""Right or wrong: one proportion, exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nel_action.gate.special import beta_quantile, binomial_at_least, binomial_at_most

__all__ = ["Proportion"]


@dataclass(frozen=True, slots=True)
class Proportion:
    """So many right of so many, by the binomial distribution itself (Clopper and Pearson, 1934).

    It never errs more often than it says, at any number of items and at any rate.
    """

    right: int
    n: int
    method: str = "exact binomial"

    @property
    def estimate(self) -> float:
        """Share of items that are right."""
        return self.right / self.n

    @property
    def stderr(self) -> float:
        """Standard error with two right and two wrong added, so that it is never zero (Agresti and Coull, 1998)."""
        share = (self.right + 2) / (self.n + 4)
        return math.sqrt(share * (1 - share) / (self.n + 4))

    def fail_p(self, limit: float) -> float:
        """See `Evidence.fail_p`."""
        if limit <= 0:
            return 1.0
        return binomial_at_most(self.right, self.n, limit) if limit <= 1 else 0.0

    def pass_p(self, limit: float) -> float:
        """See `Evidence.pass_p`."""
        if limit >= 1:
            return 1.0
        return binomial_at_least(self.right, self.n, limit) if limit >= 0 else 0.0

    def high(self, alpha: float) -> float:
        """See `Evidence.high`."""
        return 1.0 if self.right >= self.n else beta_quantile(1 - alpha, self.right + 1, self.n - self.right)

    def low(self, alpha: float) -> float:
        """See `Evidence.low`."""
        return 0.0 if self.right <= 0 else beta_quantile(alpha, self.right, self.n - self.right + 1)
