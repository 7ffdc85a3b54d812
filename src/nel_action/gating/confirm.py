"""A second look before a change is blamed: which tasks to run once more, and what both runs say together.

A task is blamed only if it fails on the first run and again on both runs taken together, as repeats of the same items.
That can only make false failures rarer, and keeps nearly all of the power, for the second run halves the noise of
sampling.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from nel_action.errors import ResultsError
from nel_action.gating.items import Items
from nel_action.gating.run import Run
from nel_action.gating.verdict import GateReport, Verdict
from nel_action.results import Results, Score, TaskResult
from nel_action.spec.policy import Confirm, Tier

__all__ = ["pooled", "tasks_to_confirm"]


def tasks_to_confirm(report: GateReport, rule: Confirm, results: Results) -> tuple[str, ...]:
    """Return the failing tasks that are to be run once more, with another seed.

    None where more failed than chance explains, or where the first runs took longer than the budget.
    """
    failing = {one.task for one in report.tasks if one.verdict is Verdict.FAIL and one.tier is not Tier.ADVISORY}
    spent: Sequence[float] = [one.seconds or 0.0 for one in results.tasks if one.task in failing]
    if len(failing) > rule.max_tasks or (rule.max_seconds is not None and sum(spent) > rule.max_seconds):
        return ()
    return tuple(dict.fromkeys(one.task for one in report.tasks if one.task in failing))


def pooled(first: Run, second: Run, tasks: Collection[str]) -> Run:
    """Return the first run with both runs' repeats of these tasks, for `judge_runs`.

    A task that the second run did not finish stays as it was.
    """
    merged = tuple(_together(one, second.find(one.task, one.model), tasks) for one in first.results.tasks)
    both = {(one.task, one.model) for one, old in zip(merged, first.results.tasks, strict=True) if one is not old}

    def items(result: TaskResult, metric: str) -> Items | None:
        ours = first.items(result, metric)
        again = second.find(result.task, result.model) if (result.task, result.model) in both else None
        theirs = second.items(again, metric) if again is not None else None
        return ours if ours is None or theirs is None else _average(ours, theirs, result.task)

    return Run(results=first.results.model_copy(update={"tasks": merged}), items=items, name=first.name)


def _together(one: TaskResult, again: TaskResult | None, tasks: Collection[str]) -> TaskResult:
    if one.task not in tasks or again is None or again.outcome is not one.outcome or again.n_items != one.n_items:
        return one
    scores = tuple(_mean(score, other) if (other := again.score(score.metric)) else score for score in one.scores)
    return one.model_copy(update={"scores": scores})


def _mean(score: Score, other: Score) -> Score:
    """Average two scores of the same items; their errors are alike, and what the items share does not average out."""
    known = score.stderr is not None and other.stderr is not None
    stderr = ((score.stderr or 0.0) + (other.stderr or 0.0)) / 2 if known else None
    return score.model_copy(update={"value": (score.value + other.value) / 2, "stderr": stderr})


def _average(ours: Items, theirs: Items, task: str) -> Items:
    import numpy as np

    if ours.index.keys() != theirs.index.keys():
        msg = f"the second run of {task} has other items than the first"
        raise ResultsError(msg)
    there = np.fromiter((theirs.index[name] for name in ours.index), dtype=np.int64, count=len(ours))
    return Items(
        index=ours.index,
        values=(ours.values + theirs.values[there]) / 2,
        clusters=ours.clusters,
        inputs=ours.inputs,
        low=min(ours.low, theirs.low),
        high=max(ours.high, theirs.high),
        samples=ours.samples + theirs.samples,
    )
