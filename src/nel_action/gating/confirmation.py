"""A second look before a change is blamed: which tasks to run once more.

A task is blamed only if it fails on the first run and again on both runs taken together, as repeats of the same items.
That can only make false failures rarer, and keeps nearly all of the power, for the second run halves the noise of
sampling.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nel_action.gating.limit_check import Rule
from nel_action.gating.verdict import GateReport, TaskVerdict, Verdict
from nel_action.model.results import Results
from nel_action.spec.policy import Confirm, Tier

__all__ = ["Cell", "ConfirmationRun", "confirmation_notes", "tasks_to_confirm", "why_none"]

Cell = tuple[str, str]
"""A task and a model."""


@dataclass(frozen=True, slots=True)
class ConfirmationRun:
    """A second run."""

    task: str
    model: str
    seed: int
    ended: str | None
    """How it ended where it did not succeed, in words."""


def tasks_to_confirm(report: GateReport, rule: Confirm, results: Results) -> tuple[Cell, ...]:
    """Return the failing tasks that are to be run once more, with another seed.

    None where more failed than chance explains, or where the first runs took longer than the budget.
    """
    failing = _failing(report)
    return () if why_none(report, rule, results) else tuple(dict.fromkeys((one.task, one.model) for one in failing))


def why_none(report: GateReport, rule: Confirm, results: Results) -> str | None:
    """Return why failing tasks are not run once more; None where they are, or where none failed."""
    failing = {(one.task, one.model) for one in _failing(report)}
    if len(failing) > rule.max_tasks:
        return f"{len(failing)} tasks failed, more than the {rule.max_tasks} that `confirm` runs once more"
    spent = sum(one.seconds or 0.0 for one in results.tasks if (one.task, one.model) in failing)
    if rule.max_seconds is not None and spent > rule.max_seconds:
        return f"what failed took {spent:.0f} s, more than the {rule.max_seconds:g} s that `confirm` may take again"
    return None


def confirmation_notes(
    rule: Confirm | None, report: GateReport, results: Results, seconds: Sequence[ConfirmationRun]
) -> tuple[str, ...]:
    """Say which tasks were run once more and what that changed, or why none was."""
    if rule is None:
        return ()
    if not seconds and _failing(report):
        return (f"{why_none(report, rule, results) or 'what failed was not run once more'}; one run decides",)
    both = {(one.task, one.model) for one in results.tasks if one.runs > 1}
    return tuple(_note(one, together=(one.task, one.model) in both) for one in seconds)


def _note(second: ConfirmationRun, *, together: bool) -> str:
    if together:
        return f"{second.task} failed and was run once more, with seed {second.seed}: both runs are judged together"
    ended = second.ended or "did not give the same items and metrics"
    return f"{second.task} failed; its second run, with seed {second.seed}, {ended}: the first run decides"


def _failing(report: GateReport) -> list[TaskVerdict]:
    """Name the failures that another run could change: those of measured scores."""
    return [
        one
        for one in report.tasks
        if one.verdict is Verdict.FAIL and one.tier is not Tier.ADVISORY and set(one.failed) & set(Rule)
    ]
