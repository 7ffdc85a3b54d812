"""The false alarm rate of a policy, from repeated runs of the same model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import permutations
from statistics import mean
from typing import Annotated

from pydantic import Field

from nel_action.errors import UsageError
from nel_action.formatting import Unit
from nel_action.gating.judge import judge_result_set
from nel_action.gating.result_set import ResultSet
from nel_action.gating.verdict import GateReport, Verdict
from nel_action.model.results import Record
from nel_action.spec.policy import GatePolicy
from nel_action.statistics.binary import Proportion

__all__ = ["Calibration", "TaskCalibration", "calibrate"]


class TaskCalibration(Record):
    """One task in all comparisons."""

    task: str
    verdicts: dict[str, int]
    """Number of comparisons by verdict."""
    spread: float
    """Mean absolute difference of two runs, in the unit of the metric."""
    detectable: float | None = None
    """Mean of the smallest drops that would be detected with 80 % power; None without a comparison."""
    margin: float | None = None
    """The allowed drop."""
    unit: Annotated[Unit, Field(exclude=True)] = Unit.PLAIN
    """Unit of the metric in texts for people."""


class Calibration(Record):
    """Verdicts of a policy on runs between which nothing changed."""

    runs: int
    comparisons: int
    """Every run against every other one in both directions; they are not independent."""
    verdicts: dict[str, int]
    false_fails: float
    """Fraction of the comparisons in which the gate failed."""
    at_most: float
    """Upper confidence bound (95 %) of that fraction, for runs / 2 independent comparisons."""
    tasks: tuple[TaskCalibration, ...]
    unjudged: tuple[str, ...] = ()
    """Tasks of which no comparison could be judged, or that some runs lack; the rate does not cover them."""


def calibrate(runs: Sequence[ResultSet], policy: GatePolicy) -> Calibration:
    """Judge every run against every other one.

    Args:
        runs: at least two, of the same model and tasks.
        policy: the policy to calibrate.

    Raises:
        UsageError: there are fewer than two runs.
        SpecError: the policy names a task that no run has, or states no limit.
    """
    if len(runs) < 2:  # noqa: PLR2004 - a comparison
        msg = f"calibrate needs at least two runs of the same model, got {len(runs)}"
        raise UsageError(msg)
    expected = list(dict.fromkeys(result.task for run in runs for result in run.results.tasks))
    reports = [
        judge_result_set(candidate, policy=policy, baseline=baseline, expected=expected)
        for baseline, candidate in permutations(runs, 2)
    ]
    verdicts = Counter(report.verdict.value for report in reports)
    independent, false_fails = len(runs) // 2, verdicts[Verdict.FAIL.value] / len(reports)
    return Calibration(
        runs=len(runs),
        comparisons=len(reports),
        verdicts=dict(verdicts),
        false_fails=false_fails,
        at_most=Proportion(round(false_fails * independent), independent).upper_bound(0.05),
        tasks=tuple(_calibrate_task(task, reports) for task in expected),
        unjudged=tuple(task for task in expected if _is_unjudged(task, reports)),
    )


def _is_unjudged(task: str, reports: Sequence[GateReport]) -> bool:
    """Return whether a comparison of a task is missing or unmeasurable, or none tested a limit."""
    verdicts = [verdict for report in reports for verdict in report.tasks if verdict.task == task]
    return any(verdict.verdict is Verdict.UNMEASURABLE for verdict in verdicts) or not verdicts


def _calibrate_task(task: str, reports: Sequence[GateReport]) -> TaskCalibration:
    verdicts = [verdict for report in reports for verdict in report.tasks if verdict.task == task]
    comparisons = [verdict.comparison for verdict in verdicts if verdict.comparison is not None]
    drops = [comparison.minimum_detectable for comparison in comparisons]
    detectable = [drop for drop in drops if drop is not None]
    return TaskCalibration(
        task=task,
        verdicts=dict(Counter(verdict.verdict.value for verdict in verdicts)),
        spread=mean(abs(comparison.difference) for comparison in comparisons) if comparisons else 0.0,
        detectable=mean(detectable) if detectable else None,
        margin=verdicts[0].margin,
        unit=Unit.of(*(verdict.score for verdict in verdicts), higher_is_better=verdicts[0].higher_is_better),
    )
