"""One task over many nights: what each night leaves for its successors, and what all of them say together.

All nights ask the same items. So what luck there is in the choice of items, and in the baseline's own answers, is the
same every night: it widens the margin once. What differs from night to night is evidence (`sequential`).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Final

from pydantic import Field

from nel_action.gating.policy import task_policy
from nel_action.gating.verdict import GateReport, TaskVerdict, Verdict
from nel_action.model.results import Record, Results, TaskResult
from nel_action.spec.policy import GatePolicy, Tier
from nel_action.statistics.anytime import Night, judge_history

__all__ = ["TrendEntry", "TrendVerdict", "group_by_task", "judge_trend", "trend_entries"]

Finite = Annotated[float, Field(allow_inf_nan=False)]
_LIMITS: Final = ("min", "max", "max_drop", "max_relative_drop", "min_gain")
_ASKED: Final = ("harness", "harness_version", "task_version", "task_hash", "n_shot", "chat_template")
_NIGHTS: Final = 2
"""Nights that must lie beyond a limit: what broke for one night is no regression."""


class TrendEntry(Record):
    """One task on one night."""

    task: str
    model: str
    metric: str | None = None
    value: Finite | None = None
    stderr: Finite | None = None
    n: int | None = None
    verdict: Verdict
    failed: tuple[str, ...] = ()
    """As in `TaskVerdict`."""
    baseline: Finite | None = None
    """Score of the baseline that it was held against."""
    fixed: bool = False
    """Whether the baseline stays where it is: a file, not a branch that moves."""
    noise: Finite | None = None
    """Standard error of the difference from the baseline."""
    higher: bool | None = None
    """Whether more is better."""
    limits: dict[str, Finite] = Field(default_factory=dict)
    """The policy's limits on that night; none for an advisory task."""
    asked: str | None = None
    """Digest of what was asked and how; nights of another one are another history."""


@dataclass(frozen=True, slots=True)
class TrendVerdict:
    """What all nights say of one task."""

    task: str
    model: str
    runs: int
    """Number of runs in the test."""
    regressed: bool
    """A limit was exceeded with the required evidence, and the score has not recovered since."""
    reason: str
    """The limit and the evidence, as a text for people."""


def trend_entries(
    results: Results, gate: GateReport, policy: GatePolicy | None, *, fixed: bool
) -> tuple[TrendEntry, ...]:
    """Return what a run leaves for its successors.

    Args:
        results: what came out.
        gate: how it was judged.
        policy: the limits.
        fixed: whether the baseline stays where it is.
    """
    found = {(one.task, one.model): one for one in results.tasks}
    return tuple(_mark(one, found.get((one.task, one.model)), policy, fixed=fixed) for one in gate.tasks)


def _mark(verdict: TaskVerdict, result: TaskResult | None, policy: GatePolicy | None, *, fixed: bool) -> TrendEntry:
    rules = task_policy(policy, verdict.task) if policy and verdict.tier is not Tier.ADVISORY else None
    limits = {name: value for name in _LIMITS if rules and (value := getattr(rules, name)) is not None}
    compared = verdict.comparison
    return TrendEntry(
        task=verdict.task,
        model=verdict.model,
        metric=verdict.metric,
        value=verdict.score,
        stderr=verdict.stderr,
        n=verdict.n,
        verdict=verdict.verdict,
        failed=verdict.failed,
        baseline=compared.baseline if compared else None,
        fixed=fixed and compared is not None,
        noise=compared.stderr if compared else None,
        higher=verdict.higher_is_better,
        limits=limits,
        asked=_digest(result) if result else None,
    )


def _digest(result: TaskResult) -> str:
    asked = [getattr(result, name) for name in _ASKED] + [result.params.get("limit_samples")]
    return hashlib.sha256(json.dumps(asked, default=str).encode()).hexdigest()[:16]


def judge_trend(marks: Sequence[TrendEntry], *, confidence: float = 0.95) -> TrendVerdict:
    """Say whether a task has fallen, by all of its nights.

    Args:
        marks: of one task on one model, oldest first; at least one. The last one's limits hold.
        confidence: over the whole history; after each recovery it starts anew.
    """
    last = marks[-1]
    limits = dict(last.limits)
    found = [_held(marks, rule, limit, confidence, len(limits)) for rule, limit in limits.items()]
    if _breached(marks):
        found.append(("its costs were beyond their limits on each of the last two nights", _NIGHTS, True))
    worst = max(found, key=lambda one: one[2], default=("nothing that is limited could be judged", 0, False))
    return TrendVerdict(last.task, last.model, worst[1], worst[2], worst[0])


def _breached(marks: Sequence[TrendEntry]) -> bool:
    """Tell of costs, which are no sample: beyond their limit on the last nights that measured them."""
    seen = ["limits" in mark.failed for mark in marks if mark.verdict is not Verdict.UNMEASURABLE]
    return len(seen) >= _NIGHTS and all(seen[-_NIGHTS:])


def _held(marks: Sequence[TrendEntry], rule: str, limit: float, confidence: float, tests: int) -> tuple[str, int, bool]:
    """Hold one task against one limit: what is said, of how many nights, and whether it has fallen."""
    nights, shared = _losses(_same(marks), rule, limit)
    if not nights:
        return f"{rule}: no night could be judged", 0, False
    alpha = (1 - confidence) / tests
    start, fallen, said = 0, False, ""
    while start < len(nights):
        history = judge_history(nights[start:], margin=0.0, baseline_stderr=shared, confidence=1 - alpha)
        said = (
            f"{rule} {limit:g}: evidence {min(history.evidence, 1e6):.3g}, of which {history.threshold:.3g} is enough"
        )
        alarm = _alarm(nights[start:], history.course, history.threshold)
        if alarm is None:
            fallen = False
            break
        fallen = True
        back = next((place for place in range(start + alarm + 1, len(nights)) if nights[place].drop <= 0), None)
        if back is None:
            break
        start, fallen = back + 1, False
    return said, len(nights), fallen


def _alarm(nights: Sequence[Night], course: Sequence[float], threshold: float) -> int | None:
    beyond = 0
    for place, (night, evidence) in enumerate(zip(nights, course, strict=True)):
        beyond += night.drop > 0
        if evidence >= threshold and beyond >= _NIGHTS:
            return place
    return None


def _same(marks: Sequence[TrendEntry]) -> list[TrendEntry]:
    """Return the nights since the last one that asked something else, or was held against another fixed baseline."""
    measured = [mark for mark in marks if mark.value is not None]
    kept: list[TrendEntry] = []
    for mark in reversed(measured):
        last = measured[-1]
        if (mark.metric, mark.n, mark.asked) != (last.metric, last.n, last.asked):
            break
        if last.fixed and mark.fixed and mark.baseline != last.baseline:
            break
        kept.append(mark)
    return kept[::-1]


def _losses(marks: Sequence[TrendEntry], rule: str, limit: float) -> tuple[list[Night], float]:
    """Return how far each night lies beyond the limit (worse is positive), and the noise that all nights share."""
    rows = [(mark, _spread(mark, rule)) for mark in marks]
    known = [(mark, spread) for mark, spread in rows if spread is not None]
    if not known:
        return [], 0.0
    anchor = known[0][0].baseline
    if rule in {"min", "max"}:
        losses = [Night((limit - _value(mark)) * (1 if rule == "min" else -1), spread) for mark, spread in known]
    else:
        first = anchor if anchor is not None else _value(known[0][0])
        known = known if anchor is not None else known[1:]
        allowed = {"max_drop": limit, "max_relative_drop": limit * abs(first), "min_gain": -limit}[rule]
        losses = [
            Night((first - _value(mark)) * (-1 if mark.higher is False else 1) - allowed, spread)
            for mark, spread in known
        ]
    return losses, max((spread for _, spread in known), default=0.0)


def _value(mark: TrendEntry) -> float:
    return mark.value if mark.value is not None else math.nan


def _spread(mark: TrendEntry, rule: str) -> float | None:
    """Return a night's standard error: of the paired difference where there is one; never zero."""
    if mark.noise and rule not in {"min", "max"}:
        return mark.noise
    if mark.stderr:
        return mark.stderr
    if mark.n and mark.value is not None and 0 <= mark.value <= 1:
        share = (mark.value * mark.n + 2) / (mark.n + 4)
        return math.sqrt(share * (1 - share) / (mark.n + 4))
    return None


def group_by_task(nights: Sequence[Sequence[TrendEntry]]) -> Mapping[tuple[str, str], list[TrendEntry]]:
    """Sort nights' marks by task and model; only what the last night has."""
    rows: dict[tuple[str, str], list[TrendEntry]] = (
        {(mark.task, mark.model): [] for mark in nights[-1]} if nights else {}
    )
    for night in nights:
        for mark in night:
            if (mark.task, mark.model) in rows:
                rows[mark.task, mark.model].append(mark)
    return rows
