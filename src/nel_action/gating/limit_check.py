"""One limit held against one piece of evidence."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from nel_action.gating.verdict import Verdict
from nel_action.statistics.estimates import Evidence

__all__ = ["Claim", "Rule"]


class Rule(StrEnum):
    """Which line of the policy a claim stands for."""

    MIN = "min"
    MAX = "max"
    MAX_DROP = "max_drop"
    MAX_RELATIVE_DROP = "max_relative_drop"
    MIN_GAIN = "min_gain"


@dataclass(frozen=True, slots=True)
class Claim:
    """That a true mean is at least `limit`; more is better, as in `Evidence`."""

    rule: Rule
    evidence: Evidence
    limit: float
    """In the evidence's own orientation."""
    stated: float
    """The limit as the policy states it."""
    alpha: float
    """Chance of error allowed to each one-sided bound, before any correction."""
    n: int | None = None
    """Items that the evidence has, where that is known."""
    detail: str = ""
    """What was measured, in words, where evidence and limit do not say it."""
    point: bool = False
    """Decide by the estimate alone."""

    @property
    def fail_p(self) -> float:
        """p-value against the claim; a failure needs a small one."""
        return self.evidence.fail_p(self.limit)

    @property
    def pass_p(self) -> float:
        """p-value against the contrary; a pass needs a small one."""
        return self.evidence.pass_p(self.limit)

    def judge(self, *, fails: bool) -> Verdict:
        """Say what follows, where `fails` is what the correction over all claims left of `fail_p`."""
        if self.point:
            return Verdict.PASS if self.evidence.estimate >= self.limit else Verdict.FAIL
        if fails:
            return Verdict.FAIL
        return Verdict.PASS if self.pass_p <= self.alpha else Verdict.INCONCLUSIVE
