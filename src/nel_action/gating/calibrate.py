"""How often a policy would have cried wolf: repeated runs of the same model held against each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import permutations
from statistics import mean

from nel_action.errors import UsageError
from nel_action.gating.judge import judge_runs
from nel_action.gating.result_set import ResultSet
from nel_action.gating.verdict import GateReport, TaskVerdict, Verdict
from nel_action.model.results import Record
from nel_action.spec.policy import GatePolicy
from nel_action.statistics.binary import Proportion

__all__ = ["Calibration", "TaskCalibration", "calibrate"]


class TaskCalibration(Record):
    """One task over all pairs of runs."""

    task: str
    verdicts: dict[str, int]
    """Verdict to number of comparisons."""
    spread: float
    """Mean absolute difference between two runs, in the metric's unit."""
    detectable: float | None = None
    """The smallest drop that would be found with 80 % power, on average; None where nothing was compared."""
    margin: float | None = None
    """The drop that the policy allows."""


class Calibration(Record):
    """What a policy does to runs between which nothing changed."""

    runs: int
    comparisons: int
    """Every run against every other, both ways; they are not independent."""
    verdicts: dict[str, int]
    false_fails: float
    """Share of comparisons in which the whole gate failed."""
    at_most: float
    """What that share may be with 95 % confidence, counting each run once: half as many pairs as runs."""
    tasks: tuple[TaskCalibration, ...]


def calibrate(runs: Sequence[ResultSet], policy: GatePolicy) -> Calibration:
    """Judge every run against every other.

    Args:
        runs: at least two, of the same model and tasks.
        policy: as it would stand in the gate.

    Raises:
        UsageError: there are fewer than two runs.
        SpecError: the policy names a task that no run has, or limits nothing.
    """
    if len(runs) < 2:  # noqa: PLR2004 - a pair
        msg = "calibrating takes at least two runs of the same model"
        raise UsageError(msg)
    expected = list(dict.fromkeys(result.task for run in runs for result in run.results.tasks))
    reports = [
        judge_runs(candidate, policy=policy, baseline=baseline, expected=expected)
        for baseline, candidate in permutations(runs, 2)
    ]
    verdicts = Counter(report.verdict.value for report in reports)
    independent, share = len(runs) // 2, verdicts[Verdict.FAIL.value] / len(reports)
    return Calibration(
        runs=len(runs),
        comparisons=len(reports),
        verdicts=dict(verdicts),
        false_fails=share,
        at_most=Proportion(round(share * independent), independent).high(0.05),
        tasks=tuple(_task(task, reports) for task in expected),
    )


def _task(task: str, reports: Sequence[GateReport]) -> TaskCalibration:
    found: list[TaskVerdict] = [one for report in reports for one in report.tasks if one.task == task]
    compared = [one.comparison for one in found if one.comparison is not None]
    detectable = [one.minimum_detectable for one in compared if one.minimum_detectable is not None]
    return TaskCalibration(
        task=task,
        verdicts=dict(Counter(one.verdict.value for one in found)),
        spread=mean(abs(one.difference) for one in compared) if compared else 0.0,
        detectable=mean(detectable) if detectable else None,
        margin=found[0].margin,
    )
