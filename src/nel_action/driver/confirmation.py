"""A second look at what failed: the runs that a policy's `confirm` asks for, before the change is blamed."""

from __future__ import annotations

from collections.abc import Sequence

from nel_action.driver.judging import Resolver, Rules, measure, own_rules
from nel_action.errors import ExecutorError, UnreachableError
from nel_action.gating.confirmation import tasks_to_confirm
from nel_action.lifecycle.reruns import extend, second_runs
from nel_action.lifecycle.session import JobView, Session
from nel_action.lifecycle.submit import submit
from nel_action.model.results import JobOutcome

__all__ = ["second_look"]


def second_look(
    session: Session,
    views: Sequence[JobView],
    *,
    branch: Resolver | None = None,
    rules: Rules | None = None,
) -> Session | None:
    """Run once more what failed, with another seed, where the policy asks for it.

    Safe to call again, from any process: the second runs are in the plan on disk before any is submitted, and their
    keys follow from the first ones'. There is one second look, never a third.

    Args:
        session: an invocation whose jobs have ended.
        views: its jobs, as last seen.
        branch: as for `conclude`.
        rules: as for `conclude`.

    Returns:
        The invocation with its second runs under way, to be waited for; None where it is to be concluded as it is.
    """
    rules = rules or own_rules(session)
    confirm = rules.policy.confirm if rules.policy else None
    if confirm is None or second_runs(session.invocation.plan):
        return None
    results, _, gate = measure(session, list(views), branch=branch, rules=rules)
    cells = set(tasks_to_confirm(gate, confirm, results))
    jobs = [view.job for view in views if (view.job.task.display, view.job.model) in cells]
    whole = {one.job_id for one in results.tasks if one.outcome is JobOutcome.SUCCEEDED}
    if not jobs or any(f"{session.invocation.id}.{job.index}" not in whole for job in jobs):
        return None
    longer = extend(session, {job.index for job in jobs})
    try:
        submit(longer)
    except (UnreachableError, ExecutorError):
        # NOTE: the first runs have been measured; whoever waits next submits what is in the plan.
        return None
    return longer
