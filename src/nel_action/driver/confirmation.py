"""Confirmation: a failing task is run once more with another seed before the change is blamed (`gate.confirm`)."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

from nel_action.driver.events import Extended, ExtensionReason
from nel_action.driver.judging import Measurement
from nel_action.driver.surroundings import Rules
from nel_action.errors import ExecutorError, UnreachableError
from nel_action.gating.confirmation import tasks_to_confirm
from nel_action.lifecycle.reruns import add_confirmation_jobs, confirmation_jobs
from nel_action.lifecycle.session import JobView, Session
from nel_action.lifecycle.submit import submit
from nel_action.model.results import JobOutcome, TaskResult
from nel_action.planning.jobs import Job

__all__ = ["confirm", "remaining_budget"]

logger = logging.getLogger(__name__)


def confirm(session: Session, views: Sequence[JobView], measurement: Measurement, rules: Rules) -> Extended | None:
    """Add and submit the confirmation runs that the policy requires.

    `plan.json` is rewritten before anything is submitted, and the keys of the new jobs are derived from those of the
    original ones. Any process can therefore repeat this after an interruption. A task is confirmed at most once.

    Args:
        session: an invocation whose jobs are final.
        views: its jobs, as last observed.
        measurement: their results.
        rules: the rules to judge by.

    Returns:
        The extension; None if the invocation is to be judged as it is.
    """
    policy = rules.policy.confirm if rules.policy else None
    if policy is None or confirmation_jobs(session.invocation.plan):
        return None
    results = measurement.results
    cells = set(tasks_to_confirm(measurement.gate, policy, results))
    jobs = [view.job for view in views if view.job.repeats is None and (view.job.task.display, view.job.model) in cells]
    succeeded = {task.job_id: task for task in results.tasks if task.outcome is JobOutcome.SUCCEEDED}
    if not jobs or any(session.invocation.job_id(job) not in succeeded for job in jobs):
        return None
    budgets = {job.index: remaining_budget(job, succeeded[session.invocation.job_id(job)]) for job in jobs}
    for job in jobs:
        if budgets[job.index] is None:
            logger.warning("%s is not confirmed: nothing is left of its budget", job.name)
    affordable = {index: budget for index, budget in budgets.items() if budget is not None}
    if not affordable:
        return None
    extended = add_confirmation_jobs(session, affordable)
    try:
        submit(extended)
    except (UnreachableError, ExecutorError) as error:
        # NOTE: the original runs decide for now; a later process submits what the plan contains.
        logger.warning("confirmation runs could not be submitted: %s", error)
        return None
    added = confirmation_jobs(extended.invocation.plan)
    return Extended(session=extended, reason=ExtensionReason.CONFIRMATION, jobs=added)


def remaining_budget(job: Job, result: TaskResult) -> dict[str, float] | None:
    """Return what the first run of a job left of its budget; None if that is nothing, or unknown."""
    budget, paid = job.limits.budget, result.paid
    if not budget:
        return {}
    if paid is None:
        return None
    spent = {
        "requests": paid.requests,
        "tokens": paid.prompt_tokens + paid.completion_tokens,
        "cost": paid.cost_usd if paid.cost_usd is not None else math.inf,
    }
    left = {name: limit - spent[name] for name, limit in budget.items()}
    return left if all(value > 0 for value in left.values()) else None
