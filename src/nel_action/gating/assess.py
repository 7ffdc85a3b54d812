"""One task: what can be said of it, before the whole is judged."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from nel_action.errors import ResultsError
from nel_action.gating.comparison import Against, compare, gain_claims
from nel_action.gating.limit_check import Claim
from nel_action.gating.messages import Unit
from nel_action.gating.policy import needs_baseline
from nel_action.gating.result_set import ResultSet
from nel_action.gating.task_samples import Side, load_side
from nel_action.gating.thresholds import floor_claims, side_evidence
from nel_action.gating.validation import pick_score, what_is_missing
from nel_action.model.results import Interval, Score, TaskResult
from nel_action.spec.policy import GatePolicy, TaskPolicy

__all__ = ["Assessment", "assess"]


@dataclass(slots=True, eq=False)
class Assessment:
    """What was found of one task on one model."""

    task: str
    model: str
    rules: TaskPolicy
    side: Side | None = None
    """The candidate's, where it can be measured."""
    score: Score | None = None
    n: int | None = None
    interval: Interval | None = None
    """Of the score."""
    against: Against | None = None
    unmeasurable: list[str] = field(default_factory=list)
    """Why something that is asked for cannot be judged."""
    breaches: list[str] = field(default_factory=list)
    """What failed without any statistics."""
    claims: list[Claim] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def higher(self) -> bool | None:
        """Which way is better, where that is known."""
        if self.against is not None:
            return self.against.higher
        return self.score.higher_is_better if self.score else None

    @property
    def unit(self) -> Unit:
        """How amounts of the metric are said."""
        scores = [side.score.value for side in (self.side, self.against and self.against.baseline) if side]
        return Unit(share=all(0 <= score <= 1 for score in scores), higher=self.higher is not False)

    @property
    def alpha(self) -> float:
        """Chance of error of each one-sided bound."""
        return 1 - (self.rules.confidence or GatePolicy().confidence)


def assess(
    task: str,
    model: str,
    rules: TaskPolicy,
    result: TaskResult | None,
    *,
    candidate: ResultSet,
    baseline: ResultSet | None,
) -> Assessment:
    """Look at one task; never raises for what is wrong with its results.

    Args:
        task: its name in the spec.
        model: the target's name.
        rules: what holds for it, as `policy.task_policy` gives it.
        result: what came out, if anything did.
        candidate: the run that is judged.
        baseline: what it is compared with, if there is anything.
    """
    found = Assessment(task, model, rules)
    found.unmeasurable += what_is_missing(result, rules)
    if found.unmeasurable or result is None:
        return found
    score = pick_score(result, rules)
    if isinstance(score, str):
        found.unmeasurable.append(score)
        return found
    found.score, found.n = score, score.n if score.n is not None else result.n_items
    _cost(found, result)
    try:
        _statistics(found, load_side(candidate, result, score), candidate, baseline)
    except ResultsError as error:
        found.unmeasurable.append(str(error))
    return found


def _statistics(found: Assessment, side: Side, candidate: ResultSet, baseline: ResultSet | None) -> None:
    found.side, found.n = side, side.n
    found.notes += side.notes
    _floors(found, side)
    if baseline is None:
        return
    theirs = baseline.counterpart(side.result, candidate)
    if needs_baseline(found.rules):
        _against(found, side, baseline, theirs)
    else:
        _shown(found, side, baseline, theirs)


def _cost(found: Assessment, result: TaskResult) -> None:
    """Hold what the task cost against the policy's limits."""
    limits = found.rules.limits.model_dump(exclude_none=True) if found.rules.limits else {}
    for name, limit in limits.items():
        spent = result.seconds if name == "seconds" else result.usage.get(name)
        if spent is None or not math.isfinite(spent) or spent < 0:
            found.unmeasurable.append(f"{name} is limited, and the harness does not report it")
        elif spent > limit:
            found.breaches.append(f"{name} is {spent:g}, more than the {limit:g} allowed")


def _floors(found: Assessment, side: Side) -> None:
    evidence = side_evidence(side, found.rules)
    if not isinstance(evidence, str):
        low, high = evidence.low(found.alpha), evidence.high(found.alpha)
        found.interval = Interval(low=low, high=high, level=1 - 2 * found.alpha, method=evidence.method)
    claims, problems = floor_claims(side, found.rules, evidence, found.alpha)
    found.claims += claims
    found.unmeasurable += problems


def _against(found: Assessment, side: Side, baseline: ResultSet, theirs: TaskResult | str) -> None:
    against = [theirs] if isinstance(theirs, str) else compare(side, found.rules, baseline, theirs)
    if isinstance(against, list):
        found.unmeasurable += against
        return
    found.against = against
    found.notes += against.notes
    claims, problems = gain_claims(against, found.rules, found.alpha)
    found.claims += claims
    found.unmeasurable += problems


def _shown(found: Assessment, side: Side, baseline: ResultSet, theirs: TaskResult | str) -> None:
    """Show how far a task moved of which nothing is asked; what cannot be compared is no harm then."""
    if isinstance(theirs, str):
        return
    try:
        against = compare(side, found.rules, baseline, theirs)
    except ResultsError as error:
        against = [error.problems[0].message]
    if isinstance(against, Against):
        found.against = against
        found.notes += against.notes
