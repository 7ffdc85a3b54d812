"""Confirmation: which failing tasks are run a second time before the gate fails.

A task fails only if it fails in the first run and again in both runs together, as repeats of the same items. This makes
false failures rarer and keeps nearly all of the power, since the second run halves the variance of the answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nel_action.gating import messages
from nel_action.gating.limits import RULES
from nel_action.gating.verdict import GateReport, TaskVerdict, Verdict
from nel_action.model.results import Results
from nel_action.spec.limits import LIMITS
from nel_action.spec.policy import Confirm, Tier

__all__ = ["ConfirmationRun", "confirmation_notes", "tasks_to_confirm", "unconfirmed_reason"]


@dataclass(frozen=True, slots=True)
class ConfirmationRun:
    """The second run of one task on one model."""

    task: str
    model: str
    seed: int
    failure: str | None
    """Why it has no result, for people; None if it succeeded."""


def tasks_to_confirm(report: GateReport, rule: Confirm, results: Results) -> tuple[tuple[str, str], ...]:
    """Return the failing tasks that are run a second time, as pairs of task and model.

    Args:
        report: verdict of the first runs.
        rule: the policy's `confirm`.
        results: results of the first runs.

    Returns:
        Empty if more tasks failed than chance explains, or if the first runs exceeded the time budget.
    """
    if unconfirmed_reason(report, rule, results):
        return ()
    return tuple(dict.fromkeys((task.task, task.model) for task in _confirmable(report)))


def unconfirmed_reason(report: GateReport, rule: Confirm, results: Results) -> str | None:
    """Return why failing tasks are not run a second time; None if they are, or if none failed.

    Args:
        report: verdict of the first runs.
        rule: the policy's `confirm`.
        results: results of the first runs.
    """
    failing = {(task.task, task.model) for task in _confirmable(report)}
    if len(failing) > rule.max_tasks:
        return messages.too_many_to_confirm(len(failing), rule)
    seconds = sum(result.seconds or 0.0 for result in results.tasks if (result.task, result.model) in failing)
    if rule.max_seconds is not None and seconds > rule.max_seconds:
        return messages.too_long_to_confirm(seconds, rule)
    return None


def confirmation_notes(
    rule: Confirm | None, report: GateReport, results: Results, runs: Sequence[ConfirmationRun]
) -> tuple[str, ...]:
    """Return the effect of the second runs, or why there are none, as notes.

    Args:
        rule: the policy's `confirm`; None without one.
        report: verdict of all runs.
        results: results of all runs.
        runs: the second runs.
    """
    if rule is None:
        return ()
    if not runs and _confirmable(report):
        return (messages.not_confirmed(unconfirmed_reason(report, rule, results)),)
    merged = {(result.task, result.model) for result in results.tasks if result.runs > 1}
    return tuple(
        messages.confirmation_note(run.task, run.seed, merged=(run.task, run.model) in merged, failure=run.failure)
        for run in runs
    )


def _confirmable(report: GateReport) -> list[TaskVerdict]:
    """Return the failing tasks whose verdict another run can change: those with a violated limit on a score."""
    return [
        task
        for task in report.tasks
        if task.verdict is Verdict.FAIL
        and task.tier is not Tier.ADVISORY
        and any(key in LIMITS and LIMITS[key].rule in RULES for key in task.failed)
    ]
