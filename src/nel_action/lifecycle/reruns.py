"""Confirmation runs: jobs of an invocation that are run once more with another seed.

They are added to the plan as jobs of the same invocation. Every step of the lifecycle therefore finds them there, and
any process submits each of them once, polls, cancels and collects it like the other jobs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

from nel_action.lifecycle.invocation import write_plan
from nel_action.lifecycle.session import Session, write_scripts
from nel_action.planning.jobs import Job, Plan
from nel_action.planning.keys import digest_key

__all__ = ["add_confirmation_jobs", "confirmation_jobs"]


def confirmation_jobs(plan: Plan) -> tuple[Job, ...]:
    """Return the jobs of a plan that repeat another one."""
    return tuple(job for job in plan.jobs if job.repeats is not None)


def add_confirmation_jobs(session: Session, budgets: Mapping[int, Mapping[str, float]]) -> Session:
    """Add a confirmation run of each given job to the plan and write `plan.json`; submit nothing.

    The result depends on the arguments alone, so that any process that repeats the call adds the same jobs.

    Args:
        session: an invocation without confirmation runs.
        budgets: indexes of the jobs to repeat, with what is left of their budgets.

    Returns:
        The same invocation with the extended plan.
    """
    plan = session.invocation.plan
    jobs = tuple(_repeat(plan, budgets))
    invocation = replace(session.invocation, plan=replace(plan, jobs=plan.jobs + jobs))
    write_plan(invocation)
    extended = replace(session, invocation=invocation)
    write_scripts(extended)
    return extended


def _repeat(plan: Plan, budgets: Mapping[int, Mapping[str, float]]) -> Iterator[Job]:
    names = {job.name for job in plan.jobs}
    originals = [job for job in plan.jobs if job.index in budgets]
    for index, original in enumerate(originals, start=len(plan.jobs)):
        limits = replace(original.limits, budget=dict(budgets[original.index]))
        job = _confirmation_job(replace(original, limits=limits), index, names)
        names.add(job.name)
        yield job


def _confirmation_job(original: Job, index: int, names: Collection[str]) -> Job:
    """Return a repetition of a job with the next seed; its key is derived from the original's.

    Args:
        original: the job to repeat.
        index: index of the new job in the plan.
        names: names that other jobs of the plan have.
    """
    seed = original.task.params.seed + 1
    name = f"{original.name}.again"
    while name in names:
        name += ".again"
    return replace(
        original,
        key=digest_key({"again": original.key, "seed": seed}),
        index=index,
        name=name,
        task=replace(original.task, params=replace(original.task.params, seed=seed)),
        repeats=original.index,
    )
