"""The gate's words: amounts in the metric's unit, and reasons that a person can act on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import assert_never

from nel_action.gating.limit_check import Claim, Rule
from nel_action.gating.verdict import Verdict

__all__ = ["Unit", "claim_reason", "items", "number"]


def number(value: float) -> str:
    """Write a score: three decimals, or four digits where it is large."""
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.4g}"  # noqa: PLR2004 - from two digits on


def items(count: int) -> str:
    """Write a number of items that was worked out: rounded up to three digits, for it is no more exact."""
    step = 10 ** max(0, len(str(count)) - 3)
    return f"{math.ceil(count / step) * step:,} items"


@dataclass(frozen=True, slots=True)
class Unit:
    """How amounts of a metric are said."""

    share: bool
    """The metric is a share of 1: amounts are percentage points."""
    higher: bool
    """More is better."""

    def amount(self, value: float) -> str:
        """Write an amount of change, without its sign."""
        return f"{abs(value) * 100:.3g} pp" if self.share else f"{abs(value):.3g}"

    def moved(self, gain: float) -> str:
        """Say how the score moved, where `gain` is positive for better."""
        if abs(gain) < 1e-9:  # noqa: PLR2004 - rounding
            return "did not move"
        if self.higher:
            return f"{'rose' if gain > 0 else 'fell'} {self.amount(gain)}"
        return f"{'improved' if gain > 0 else 'got worse'} by {self.amount(gain)}"


def claim_reason(claim: Claim, verdict: Verdict, unit: Unit, settle: int | None) -> str:
    """Say what a claim came to, in one sentence without a full stop.

    Args:
        claim: the limit and its evidence.
        verdict: what was decided.
        unit: of the metric.
        settle: items that would settle it, where that is known.
    """
    match claim.rule:
        case Rule.MIN | Rule.MAX:
            said = _floor(claim, verdict)
        case Rule.MAX_DROP:
            said = _drop(claim, verdict, unit)
        case Rule.MIN_GAIN:
            said = _gain(claim, verdict, unit)
        case Rule.MAX_RELATIVE_DROP:
            said = _relative(claim, verdict)
        case _:
            assert_never(claim.rule)
    if verdict is not Verdict.INCONCLUSIVE:
        return said
    if settle is None:
        return f"{said}: too near the limit for any number of items" if claim.n else said
    return f"{said}; {items(settle)} would settle it"


def _floor(claim: Claim, verdict: Verdict) -> str:
    floor = claim.rule is Rule.MIN
    score = number(claim.evidence.estimate if floor else -claim.evidence.estimate)
    word, wrong, right = ("floor", "below", "above") if floor else ("ceiling", "above", "below")
    limit = f"the {word} of {number(claim.stated)}"
    sure = "" if claim.point else f" at {1 - claim.alpha:.0%} confidence"
    match verdict:
        case Verdict.FAIL:
            return f"{score} is {wrong} {limit}{sure}"
        case Verdict.PASS:
            return f"{score} is {right} {limit}{sure}" if not claim.point else f"{score} keeps {limit}"
        case _:
            return f"whether {score} is truly {right} {limit} is not settled"


def _drop(claim: Claim, verdict: Verdict, unit: Unit) -> str:
    moved, allowed = unit.moved(claim.evidence.estimate), unit.amount(claim.stated)
    match verdict:
        case Verdict.FAIL:
            return f"{moved}, more than the {allowed} allowed"
        case Verdict.PASS:
            return f"{moved}; a loss of more than {allowed} is ruled out"
        case _:
            return f"{moved}; whether it lost more than {allowed} is not settled"


def _gain(claim: Claim, verdict: Verdict, unit: Unit) -> str:
    moved, asked = unit.moved(claim.evidence.estimate), unit.amount(claim.stated)
    match verdict:
        case Verdict.FAIL:
            return f"{moved}, less than the gain of {asked} asked for"
        case Verdict.PASS:
            return f"{moved}, at least the {asked} asked for"
        case _:
            return f"{moved}; whether it gained {asked} is not settled"


def _relative(claim: Claim, verdict: Verdict) -> str:
    lost, allowed = claim.detail, f"{claim.stated * 100:.3g} %"
    match verdict:
        case Verdict.FAIL:
            return f"{lost}, more than the {allowed} allowed"
        case Verdict.PASS:
            return f"{lost}; a loss of more than {allowed} is ruled out"
        case _:
            return f"{lost}; whether more than {allowed} is not settled"
