"""The trend of one task over a series of scheduled runs.

All runs evaluate the same items. The error of their choice and of the baseline's answers is therefore the same in every
run: it widens the limit once. What differs from run to run is evidence (`statistics.anytime`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Final

from pydantic import Field

from nel_action.formatting import Unit
from nel_action.gating import messages, trend_messages
from nel_action.gating.limits import RULES, RunScore
from nel_action.gating.policy import task_policy
from nel_action.gating.verdict import GateReport, TaskVerdict, Verdict
from nel_action.model.results import Record, Results, TaskResult
from nel_action.spec.limits import LIMITS, Limit
from nel_action.spec.policy import GatePolicy, Tier
from nel_action.statistics.anytime import Observation, detect_regression, split_errors
from nel_action.statistics.binary import agresti_coull_stderr

__all__ = ["TrendEntry", "TrendVerdict", "group_by_task", "judge_trend", "trend_entries", "vanished_tasks"]

Finite = Annotated[float, Field(allow_inf_nan=False)]
_IDENTITY_FIELDS: Final = ("harness", "harness_version", "task_version", "task_hash", "n_shot", "chat_template")
_MIN_EXCEEDING: Final = 2
"""Runs that must exceed a limit before an alarm: a single failed run is not a regression."""


class TrendEntry(Record):
    """One task in one run of a series; a part of the history file, whose keys are these names."""

    task: str
    model: str
    metric: str | None = None
    value: Finite | None = None
    """The score."""
    stderr: Finite | None = None
    """Standard error of the score."""
    n: int | None = None
    """Number of items."""
    verdict: Verdict
    failed: tuple[str, ...] = ()
    """As in `TaskVerdict`."""
    baseline: Finite | None = None
    """Score of the baseline of this run."""
    fixed: bool = False
    """The baseline is fixed (a file), not a branch whose latest run changes."""
    noise: Finite | None = None
    """Standard error of the difference from the baseline."""
    higher: bool | None = None
    """Whether larger values of the metric are better."""
    limits: dict[str, Finite] = Field(default_factory=dict)
    """Stated limits that are tested statistically, by key; empty for an advisory task."""
    asked: str | None = None
    """Digest of the harness, the prompt and the parameters; runs with another one form another series."""


@dataclass(frozen=True, slots=True)
class TrendVerdict:
    """Verdict of a series of runs of one task."""

    task: str
    model: str
    runs: int
    """Number of runs in the test."""
    regressed: bool
    """A limit was exceeded with the required evidence, and the score has not recovered since."""
    reason: str
    """The limit and the evidence, as a text for people."""
    judged: bool = True
    """A limit was tested; otherwise the series is unmeasurable."""
    left_out: tuple[str, ...] = ()
    """What was not judged: runs without a score, and limits that could not be tested."""


def trend_entries(
    results: Results, gate: GateReport, policy: GatePolicy | None, *, fixed: bool
) -> tuple[TrendEntry, ...]:
    """Return the entries of a run for the history.

    Args:
        results: results of the run.
        gate: verdict of the run.
        policy: the limits, if there are any.
        fixed: whether the baseline is fixed (a file), not a branch whose latest run changes.
    """
    by_task = {(result.task, result.model): result for result in results.tasks}
    return tuple(_entry(task, by_task.get((task.task, task.model)), policy, fixed=fixed) for task in gate.tasks)


def _entry(verdict: TaskVerdict, result: TaskResult | None, policy: GatePolicy | None, *, fixed: bool) -> TrendEntry:
    has_limits = policy is not None and verdict.tier is not Tier.ADVISORY
    stated = task_policy(policy, verdict.task).stated_limits(*RULES) if policy and has_limits else ()
    comparison = verdict.comparison
    return TrendEntry(
        task=verdict.task,
        model=verdict.model,
        metric=verdict.metric,
        value=verdict.score,
        stderr=verdict.stderr,
        n=verdict.n,
        verdict=verdict.verdict,
        failed=verdict.failed,
        baseline=comparison.baseline if comparison else None,
        fixed=fixed and comparison is not None,
        noise=comparison.stderr if comparison else None,
        higher=verdict.higher_is_better,
        limits={limit.key: value for limit, value in stated},
        asked=_identity(result) if result else None,
    )


def _identity(result: TaskResult) -> str:
    """Return the digest of what makes two runs of a task comparable."""
    values = [getattr(result, name) for name in _IDENTITY_FIELDS] + [result.params.get("limit_samples")]
    return hashlib.sha256(json.dumps(values, default=str).encode()).hexdigest()[:16]


def group_by_task(runs: Sequence[Sequence[TrendEntry]]) -> Mapping[tuple[str, str], list[TrendEntry]]:
    """Group the entries of several runs by task and model, for those of the last run only."""
    last = runs[-1] if runs else ()
    groups: dict[tuple[str, str], list[TrendEntry]] = {(entry.task, entry.model): [] for entry in last}
    for entries in runs:
        for entry in entries:
            if (entry.task, entry.model) in groups:
                groups[entry.task, entry.model].append(entry)
    return groups


def vanished_tasks(runs: Sequence[Sequence[TrendEntry]]) -> tuple[str, ...]:
    """Return the tasks of earlier runs that the last run does not have, with their models."""
    last = {(entry.task, entry.model) for entry in (runs[-1] if runs else ())}
    earlier = dict.fromkeys((entry.task, entry.model) for entries in runs for entry in entries)
    # NOTE: an entry without a model is the placeholder of a task without a result.
    return tuple(
        f"{task} on {model}" if model else task
        for task, model in earlier
        if (task, model) not in last and not (model == "" and any(task == name for name, _ in last))
    )


def judge_trend(entries: Sequence[TrendEntry], *, confidence: float = 0.95) -> TrendVerdict:
    """Test a series of runs of one task for a regression.

    Args:
        entries: of one task on one model, oldest first, at least one; the limits of the last one apply.
        confidence: of the series between two recoveries, over all limits together.
    """
    last = entries[-1]
    alpha = (1 - confidence) / max(1, len(last.limits))
    # NOTE: another version may have stored limits that this one does not know.
    known = [
        (LIMITS[key], stated) for key, stated in last.limits.items() if key in LIMITS and LIMITS[key].rule in RULES
    ]
    tests = [_test(entries, limit, stated, alpha) for limit, stated in known]
    if _exceeds_usage(entries):
        tests.append(
            _LimitTrend(regressed=True, runs=_MIN_EXCEEDING, reason=trend_messages.usage_trend(_MIN_EXCEEDING))
        )
    untested = [test.reason for test in tests if not test.runs]
    without_score = sum(entry.value is None for entry in entries)
    left_out = [trend_messages.runs_without_score(without_score, len(entries))] if without_score else []
    # NOTE: the last run is what the series is about; if it has no score, an earlier one does not replace it.
    is_measured = last.value is not None
    worst = max(
        tests,
        key=lambda test: (test.regressed, not test.runs),
        default=_LimitTrend(regressed=False, runs=0, reason=trend_messages.NOT_TESTED),
    )
    judged = worst.regressed or bool(tests and is_measured and not untested)
    reason = worst.reason if is_measured or worst.regressed else trend_messages.LAST_RUN_UNMEASURED
    return TrendVerdict(
        last.task, last.model, worst.runs, worst.regressed, reason, judged=judged, left_out=(*left_out, *untested)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _LimitTrend:
    """The test of a series against one limit."""

    regressed: bool
    runs: int
    reason: str


def _exceeds_usage(entries: Sequence[TrendEntry]) -> bool:
    """Return whether usage, which has no sampling error, exceeded its limits in the last measured runs."""
    measured = ["limits" in entry.failed for entry in entries if entry.verdict is not Verdict.UNMEASURABLE]
    return len(measured) >= _MIN_EXCEEDING and all(measured[-_MIN_EXCEEDING:])


def _test(entries: Sequence[TrendEntry], limit: Limit, stated: float, alpha: float) -> _LimitTrend:
    """Test a series against one limit.

    Args:
        entries: oldest first.
        limit: row of the limit.
        stated: value of the limit.
        alpha: error rate of the series.
    """
    series = _same_series(entries)
    directions = {entry.higher for entry in series}
    if limit.needs_baseline and directions and (None in directions or len(directions) > 1):
        return _LimitTrend(regressed=False, runs=0, reason=trend_messages.trend_without_direction(limit))
    observations, shared_stderr = _observe(series, limit, stated)
    if not observations:
        return _LimitTrend(regressed=False, runs=0, reason=trend_messages.untested_trend(limit))
    state = detect_regression(
        observations, shared_stderr=shared_stderr, confidence=1 - alpha, min_exceeding=_MIN_EXCEEDING
    )
    unit = Unit.of(*(entry.value for entry in series), higher_is_better=series[-1].higher)
    value = messages.limit_value(limit, stated, unit)
    reason = trend_messages.trend_reason(limit, value, e_value=state.e_value, threshold=state.threshold)
    return _LimitTrend(regressed=state.regressed, runs=len(observations), reason=reason)


def _same_series(entries: Sequence[TrendEntry]) -> list[TrendEntry]:
    """Return the measured runs since the last change of the metric, the items, the prompt or a fixed baseline."""
    measured = [entry for entry in entries if entry.value is not None]
    series: list[TrendEntry] = []
    for entry in reversed(measured):
        last = measured[-1]
        if (entry.metric, entry.n, entry.asked) != (last.metric, last.n, last.asked):
            break
        if last.fixed and entry.fixed and entry.baseline != last.baseline:
            break
        series.append(entry)
    return series[::-1]


def _observe(series: Sequence[TrendEntry], limit: Limit, stated: float) -> tuple[list[Observation], float]:
    """Return the excess of each run over a limit, and the standard error that all runs share.

    The first baseline is the reference of the series; one that follows a slow decline would hide it. If the
    first run has no baseline, it is the reference itself.
    """
    known = [
        (entry.value, stderr, entry)
        for entry in series
        if entry.value is not None and (stderr := _stderr(entry, limit)) is not None
    ]
    if not known:
        return [], 0.0
    value, _, first = known[0]
    reference = value
    if limit.needs_baseline and first.baseline is not None:
        reference = first.baseline
    elif limit.needs_baseline:
        known = known[1:]
    rule = RULES[limit.rule]
    observations = [
        Observation(
            rule.excess(limit, stated, RunScore(value=value, reference=reference, higher=entry.higher is not False)),
            stderr,
        )
        for value, stderr, entry in known
    ]
    largest = max((stderr for _, stderr, _ in known), default=0.0)
    if not observations:
        return [], largest
    own, shared = split_errors([observation.loss for observation in observations], largest)
    scaled = [Observation(observation.loss, observation.stderr * own / largest) for observation in observations]
    return scaled, shared


def _stderr(entry: TrendEntry, limit: Limit) -> float | None:
    """Return the standard error of a run: of the difference for a limit on the change; never zero, None if unknown."""
    if entry.noise and limit.needs_baseline:
        return entry.noise
    if entry.stderr:
        return entry.stderr
    if entry.n and entry.value is not None and 0 <= entry.value <= 1:
        return agresti_coull_stderr(entry.value * entry.n, entry.n)
    return None
