"""Second runs: the same jobs with another seed, added to an invocation that has ended.

They are jobs of the same invocation: every step of the lifecycle finds them in its plan, so they are submitted exactly
once, waited for, cancelled and collected like any other, by whichever process comes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace

from nel_action.lifecycle.invocation import write_plan
from nel_action.lifecycle.scripts import write_scripts
from nel_action.lifecycle.session import Session
from nel_action.planning.jobs import Job, Plan
from nel_action.planning.keys import digest_key

__all__ = ["extend", "repeated", "second_runs"]


def second_runs(plan: Plan) -> tuple[Job, ...]:
    """Return the jobs that do another job once more."""
    return tuple(job for job in plan.jobs if job.repeats is not None)


def repeated(job: Job, index: int, taken: Collection[str]) -> Job:
    """Return the job once more: another seed, and so another key, which follows from the first one's alone.

    Args:
        job: the first.
        index: place of the second in the plan.
        taken: names that other jobs of the plan have.
    """
    seed = job.task.params.seed + 1
    name = f"{job.name}.again"
    while name in taken:
        name += ".again"
    return replace(
        job,
        key=digest_key({"again": job.key, "seed": seed}),
        index=index,
        name=name,
        task=replace(job.task, params=replace(job.task.params, seed=seed)),
        repeats=job.index,
    )


def extend(session: Session, indexes: Collection[int]) -> Session:
    """Add second runs of these jobs to the plan; on disk before anything is submitted.

    Args:
        session: an invocation without second runs.
        indexes: of the jobs in its plan.

    Returns:
        The same invocation with the longer plan; whoever does this again gets the same one.
    """
    plan = session.invocation.plan
    jobs = tuple(_added(plan, indexes))
    invocation = replace(session.invocation, plan=replace(plan, jobs=plan.jobs + jobs))
    write_plan(invocation)
    longer = replace(session, invocation=invocation)
    write_scripts(longer)
    return longer


def _added(plan: Plan, indexes: Collection[int]) -> Iterator[Job]:
    taken = {job.name for job in plan.jobs}
    wanted = [job for job in plan.jobs if job.index in indexes]
    for index, job in enumerate(wanted, len(plan.jobs)):
        again = repeated(job, index, taken)
        taken.add(again.name)
        yield again
