"""The outcome of a gate: the test of each limit, a verdict for each task, and the report of all."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from nel_action.model.results import Interval, Record
from nel_action.spec.limits import Limit
from nel_action.spec.policy import Tier
from nel_action.statistics.estimates import Evidence
from nel_action.statistics.relative import RelativeLoss

__all__ = ["BaselineFacts", "Comparison", "Flip", "GateReport", "LimitTest", "TaskVerdict", "Verdict"]

Finite = Annotated[float, Field(allow_inf_nan=False)]


class Verdict(StrEnum):
    """Verdict of a limit, a task or the gate."""

    PASS = "pass"  # noqa: S105 - a verdict, no secret
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    UNMEASURABLE = "unmeasurable"


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitTest:
    """A stated limit with the evidence it is tested on; met if the true mean is at least `threshold`."""

    limit: Limit
    stated: float
    """Value of the limit in the policy."""
    evidence: Evidence
    threshold: float
    """The limit in the orientation of the evidence, in which larger is better."""
    alpha: float
    """Error rate of each one-sided test before correction for multiplicity."""
    value: float
    """The score or the gain, as the messages show it."""
    n: int | None = None
    """Number of items behind the evidence; None if unknown."""
    relative_loss: RelativeLoss | None = None
    """For messages, if the limit is relative to the baseline."""
    point: bool = False
    """Decide by the estimate alone."""

    @property
    def fail_p_value(self) -> float:
        """p-value of the hypothesis that the limit is met; a small one is a failure."""
        return self.evidence.p_value_at_least(self.threshold)

    @property
    def pass_p_value(self) -> float:
        """p-value of the hypothesis that the limit is violated; a small one is a pass."""
        return self.evidence.p_value_at_most(self.threshold)

    def verdict(self, *, rejected: bool) -> Verdict:
        """Return the verdict of the limit.

        Args:
            rejected: whether the hypothesis that the limit is met is rejected after correction for multiplicity.
        """
        if self.point:
            return Verdict.PASS if self.evidence.estimate >= self.threshold else Verdict.FAIL
        if rejected:
            return Verdict.FAIL
        return Verdict.PASS if self.pass_p_value <= self.alpha else Verdict.INCONCLUSIVE


class Flip(Record):
    """An item whose score changed."""

    id: str
    baseline: Finite
    candidate: Finite


class Comparison(Record):
    """One task compared with its baseline."""

    baseline: Finite
    """The baseline's score."""
    difference: Finite
    """Candidate minus baseline in the unit of the metric, for either direction of the metric."""
    interval: Interval | None = None
    """Confidence interval of `difference`."""
    stderr: Finite | None = None
    """Standard error of `difference`; never zero."""
    n_paired: Annotated[int, Field(ge=0)] | None = None
    """Number of items in both runs; None if only the scores could be compared."""
    worse: tuple[Flip, ...] = ()
    """Items that got worse, at most 1,000, the largest change first."""
    better: tuple[Flip, ...] = ()
    """Items that got better, at most 1,000, the largest change first."""
    n_worse: int = 0
    n_better: int = 0
    minimum_detectable: Finite | None = None
    """The smallest drop that would be detected with 80 % power, in the unit of the metric."""
    items_to_settle: int | None = None
    """Number of items that would decide an inconclusive comparison."""


class TaskVerdict(Record):
    """Verdict of one task on one model."""

    task: str
    model: str
    metric: str | None = None
    tier: Tier = Tier.SUPPORTING
    verdict: Verdict
    reasons: tuple[str, ...] = ()
    """For people, without a full stop: the change, the limit, the confidence, the items that a decision needs."""
    failed: tuple[str, ...] = ()
    """Violated limits by key (`spec.limits`), `limits` for usage, `baseline` if a required one is missing."""
    score: Finite | None = None
    stderr: Finite | None = None
    n: int | None = None
    interval: Interval | None = None
    """Confidence interval of the score."""
    floor: Finite | None = None
    """The stated minimum, else the stated maximum of the score."""
    margin: Finite | None = None
    """The largest allowed drop, in the unit of the metric."""
    higher_is_better: bool | None = None
    comparison: Comparison | None = None


class BaselineFacts(Record):
    """Provenance of the baseline, as resolved at submission."""

    commit: str | None = None
    created: str | None = None
    """RFC 3339, UTC."""
    digest: str | None = None
    """Digest of the results with their samples."""
    age_seconds: Finite | None = None
    """Age when the baseline was resolved; None if it is unknown."""


class GateReport(Record):
    """Verdict of the gate with those of its tasks; the content of `gate.json`."""

    verdict: Verdict
    exit_code: int
    """One of `errors.ExitCode`, after `on_inconclusive`."""
    reasons: tuple[str, ...] = ()
    tasks: tuple[TaskVerdict, ...] = ()
    baseline: str | None = None
    """Name of the baseline for people (`main a1b2c3d`); None without one."""
    baseline_facts: BaselineFacts | None = None
    """None without a baseline, and in reports of older versions."""
    confidence: float = 0.95
    correction: str = "holm"
    notes: tuple[str, ...] = ()
    """Circumstances that affect the interpretation: no baseline, a changed policy, a loss of power."""
