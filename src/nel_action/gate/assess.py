"""One task: what can be said of it, before the whole is judged."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from nel_action.errors import ResultsError
from nel_action.gate.aggregate import score_evidence
from nel_action.gate.claim import Claim, Rule
from nel_action.gate.evidence import Evidence, Negated
from nel_action.gate.measurable import pick_score, what_is_missing
from nel_action.gate.policy import needs_baseline
from nel_action.gate.run import Run
from nel_action.gate.verdict import Comparison, Interval
from nel_action.results import Score, TaskResult
from nel_action.spec.policy import FloorRule, GatePolicy, TaskPolicy

__all__ = ["Assessment", "assess"]


@dataclass(slots=True)
class Assessment:
    """What was found of one task on one model."""

    task: str
    model: str
    rules: TaskPolicy
    score: Score | None = None
    n: int | None = None
    interval: Interval | None = None
    """Of the score."""
    unmeasurable: list[str] = field(default_factory=list)
    """Why something that is asked for cannot be judged."""
    breaches: list[str] = field(default_factory=list)
    """What failed without any statistics."""
    claims: list[Claim] = field(default_factory=list)
    comparison: Comparison | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def alpha(self) -> float:
        """Chance of error of each one-sided bound."""
        return 1 - (self.rules.confidence or GatePolicy().confidence)


def assess(task: str, model: str, rules: TaskPolicy, *, candidate: Run, baseline: Run | None) -> Assessment:
    """Look at one task; never raises for what is wrong with its results.

    Args:
        task: its name in the spec.
        model: the target's name.
        rules: what holds for it, as `policy.task_policy` gives it.
        candidate: the run that is judged.
        baseline: what it is compared with, if there is anything.
    """
    found = Assessment(task, model, rules)
    result = candidate.find(task, model)
    found.unmeasurable += what_is_missing(result, rules)
    if found.unmeasurable or result is None:
        return found
    score = pick_score(result, rules)
    if isinstance(score, Score):
        found.score, found.n = score, score.n if score.n is not None else result.n_items
        for step in (_cost, _floors):
            _guarded(found, lambda step=step: step(found, score, result))  # type: ignore[misc]
        if needs_baseline(rules) and baseline is not None:
            found.unmeasurable.append("comparing with a baseline is not there yet")
    return found


def _guarded(found: Assessment, step: Callable[[], None]) -> None:
    try:
        step()
    except ResultsError as error:
        found.unmeasurable.append(str(error))


def _cost(found: Assessment, _score: Score, result: TaskResult) -> None:
    """Hold what the task cost against the policy's limits."""
    limits = found.rules.limits.model_dump(exclude_none=True) if found.rules.limits else {}
    for name, limit in limits.items():
        spent = result.seconds if name == "seconds" else result.usage.get(name)
        if spent is None or not math.isfinite(spent):
            found.unmeasurable.append(f"{name} is limited, and the harness does not report it")
        elif spent > limit:
            found.breaches.append(f"{name} is {spent:g}, more than the {limit:g} allowed")


def _floors(found: Assessment, score: Score, _result: TaskResult) -> None:
    evidence = score_evidence(score, found.n)
    if not isinstance(evidence, str):
        low, high = evidence.low(found.alpha), evidence.high(found.alpha)
        found.interval = Interval(low=low, high=high, level=1 - 2 * found.alpha, method=evidence.method)
    for rule, limit in ((Rule.MIN, found.rules.min), (Rule.MAX, found.rules.max)):
        if limit is not None:
            _floor(found, rule, limit, score, evidence)


def _floor(found: Assessment, rule: Rule, limit: float, score: Score, evidence: Evidence | str) -> None:
    point = found.rules.floor is FloorRule.POINT
    if point:
        evidence = _Point(score.value)
    if isinstance(evidence, str):
        found.unmeasurable.append(f"{evidence}; its {rule} can be tested with `floor: point` only")
        return
    below = rule is Rule.MIN
    oriented = evidence if below else Negated(evidence)
    found.claims.append(Claim(rule, oriented, limit if below else -limit, limit, found.alpha, point=point))


@dataclass(frozen=True, slots=True)
class _Point:
    """A value that is taken as it is."""

    estimate: float
    stderr: float = math.inf
    method: str = "point"

    def fail_p(self, limit: float) -> float:
        return 1.0 if self.estimate >= limit else 0.0

    def pass_p(self, limit: float) -> float:
        return 1.0 - self.fail_p(limit)

    def high(self, _alpha: float) -> float:
        return self.estimate

    def low(self, _alpha: float) -> float:
        return self.estimate
