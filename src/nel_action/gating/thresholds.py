"""Limits on the score itself."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from nel_action.gating.differences import one_mean
from nel_action.gating.limit_check import Claim, Rule
from nel_action.gating.pairs import bounds_of, is_binary
from nel_action.gating.task_samples import Side
from nel_action.spec.policy import FloorRule, TaskPolicy
from nel_action.statistics.aggregate import score_evidence
from nel_action.statistics.binary import Proportion
from nel_action.statistics.clustered import codes
from nel_action.statistics.estimates import Evidence, Negated

__all__ = ["PointValue", "floor_claims", "side_evidence"]


@dataclass(frozen=True, slots=True)
class PointValue:
    """A value that is taken as it is."""

    estimate: float
    stderr: ClassVar[float] = math.inf
    reach: ClassVar[float] = 0.0
    method: ClassVar[str] = "point"

    def fail_p(self, limit: float) -> float:
        """See `Evidence.fail_p`."""
        return 1.0 if self.estimate >= limit else 0.0

    def pass_p(self, limit: float) -> float:
        """See `Evidence.pass_p`."""
        return 1.0 - self.fail_p(limit)

    def high(self, _alpha: float) -> float:
        """See `Evidence.high`."""
        return self.estimate

    def low(self, _alpha: float) -> float:
        """See `Evidence.low`."""
        return self.estimate


def side_evidence(side: Side, rules: TaskPolicy) -> Evidence | str:
    """Return what one side says of its true score, or why it says nothing.

    Raises:
        ResultsError: an item lies outside the policy's bounds, or all lie in one cluster.
    """
    items = side.items
    if items is None:
        return score_evidence(*side.measured)
    low, high, _ = bounds_of(rules.bounds, items.low, items.high, scale=side.scale)
    cluster = codes(items.clusters) if items.clusters else None
    if cluster is None and side.scale == 1 and is_binary(items.values):
        return Proportion(int(items.values.sum()), len(items))
    return one_mean(items.values * side.scale, cluster, low, high)


def floor_claims(
    side: Side, rules: TaskPolicy, evidence: Evidence | str, alpha: float
) -> tuple[list[Claim], list[str]]:
    """Return the claims that floor and ceiling make, and why one cannot be tested.

    Args:
        side: the candidate.
        rules: what holds for the task.
        evidence: of its score, as `side_evidence` gives it.
        alpha: chance of error of each bound.
    """
    point = rules.floor is FloorRule.POINT
    known = PointValue(side.score.value) if point else evidence
    claims, problems = [], []
    for rule, limit in ((Rule.MIN, rules.min), (Rule.MAX, rules.max)):
        if limit is None:
            continue
        if isinstance(known, str):
            problems.append(f"{known}; its {rule} can be tested with `floor: point` only")
        elif rule is Rule.MIN:
            claims.append(Claim(rule, known, limit, limit, alpha, side.n, point=point))
        else:
            claims.append(Claim(rule, Negated(known), -limit, limit, alpha, side.n, point=point))
    return claims, problems
