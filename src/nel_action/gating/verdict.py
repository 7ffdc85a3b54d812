"""What a gate says: a verdict for each task and one for the whole, with reasons a person can act on."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from nel_action.model.results import Interval, Record
from nel_action.spec.policy import Tier

__all__ = ["Comparison", "Flip", "GateReport", "TaskVerdict", "Verdict"]

Finite = Annotated[float, Field(allow_inf_nan=False)]


class Verdict(StrEnum):
    """The four answers."""

    PASS = "pass"  # noqa: S105 - an answer, no secret
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    UNMEASURABLE = "unmeasurable"


class Flip(Record):
    """An item that was right on one side and wrong on the other."""

    id: str
    baseline: Finite
    candidate: Finite


class Comparison(Record):
    """One task against its baseline."""

    baseline: Finite
    """The baseline's score."""
    difference: Finite
    """Candidate minus baseline, in the metric's unit, whichever way is better."""
    interval: Interval | None = None
    """Of `difference`."""
    stderr: Finite | None = None
    """Of `difference`; never zero."""
    n_paired: Annotated[int, Field(ge=0)] | None = None
    """Items on both sides; None where only aggregates could be compared."""
    worse: tuple[Flip, ...] = ()
    """Items that got worse, at most 1,000."""
    better: tuple[Flip, ...] = ()
    """Items that got better, at most 1,000."""
    n_worse: int = 0
    n_better: int = 0
    minimum_detectable: Finite | None = None
    """The smallest drop that would be found with 80 % power, in the metric's unit."""
    items_to_settle: int | None = None
    """How many items would settle an inconclusive comparison."""


class TaskVerdict(Record):
    """One task's verdict."""

    task: str
    model: str
    metric: str | None = None
    tier: Tier = Tier.SUPPORTING
    verdict: Verdict
    reasons: tuple[str, ...] = ()
    """Sentences without a full stop: what fell, by how much, how sure, what would settle it."""
    failed: tuple[str, ...] = ()
    """Lines of the policy that failed: `min`, `max_drop`, …, `limits` for costs, `baseline` where one must be there."""
    score: Finite | None = None
    stderr: Finite | None = None
    n: int | None = None
    interval: Interval | None = None
    """Of the score itself."""
    floor: Finite | None = None
    """The limit that `score` was held against, if any."""
    margin: Finite | None = None
    """The largest allowed drop, in the metric's unit, if any."""
    higher_is_better: bool | None = None
    comparison: Comparison | None = None


class GateReport(Record):
    """What the gate found, and what it means for the caller."""

    verdict: Verdict
    exit_code: int
    """As in `errors.ExitCode`; `on_inconclusive` has been applied."""
    reasons: tuple[str, ...] = ()
    tasks: tuple[TaskVerdict, ...] = ()
    baseline: str | None = None
    """What was compared with, in words (`main a1b2c3d`); None where there was nothing."""
    confidence: float = 0.95
    correction: str = "holm"
    notes: tuple[str, ...] = ()
    """What should be known besides: no baseline, policy changed, power lost."""
