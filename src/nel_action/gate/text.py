"""The gate's words: amounts in the metric's unit, and reasons that a person can act on."""

from __future__ import annotations

from nel_action.gate.claim import Claim, Rule
from nel_action.gate.verdict import Verdict

__all__ = ["claim_reason", "number", "points"]


def number(value: float) -> str:
    """Write a score: three decimals, or four digits where it is large."""
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.4g}"  # noqa: PLR2004 - from two digits on


def points(value: float, *, share: bool) -> str:
    """Write an amount of change: in percentage points where the metric is a share (`3 pp`), else as it is."""
    return f"{round(value * 100, 2):.3g} pp" if share else f"{value:.3g}"


def claim_reason(claim: Claim, verdict: Verdict, *, share: bool) -> str:
    """Say what a claim came to, in one sentence without a full stop."""
    if claim.rule in (Rule.MIN, Rule.MAX):
        return _floor_reason(claim, verdict)
    return points(claim.stated, share=share)


def _floor_reason(claim: Claim, verdict: Verdict) -> str:
    below, bound = (claim.rule is Rule.MIN), number(claim.stated)
    score = number(claim.evidence.estimate if below else -claim.evidence.estimate)
    word = "floor" if below else "ceiling"
    wrong, right = ("below", "above") if below else ("above", "below")
    sure = "" if claim.point else f" at {1 - claim.alpha:.0%} confidence"
    match verdict:
        case Verdict.FAIL:
            return f"{score} is {wrong} the {word} of {bound}{sure}"
        case Verdict.PASS:
            return f"{score} is {right} the {word} of {bound}{sure}"
        case Verdict.INCONCLUSIVE | Verdict.UNMEASURABLE:
            return f"{score} is not surely {right} the {word} of {bound}"
