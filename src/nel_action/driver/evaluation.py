"""The evaluation: submit, wait, confirm, judge, report, export; as an iterator of events."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from nel_action.driver.confirmation import confirm
from nel_action.driver.events import Created, Events, Left, Polled, Submitted
from nel_action.driver.judging import conclude, measure, pin_new_baselines
from nel_action.driver.preflight import resolve_baselines
from nel_action.driver.surroundings import Surroundings
from nel_action.errors import ExitCode, ResultsError
from nel_action.ledger import Ledger
from nel_action.lifecycle.prepare import Prepared
from nel_action.lifecycle.session import Session, create_session, write_scripts
from nel_action.lifecycle.submit import Submission, resume, submit
from nel_action.lifecycle.waiting import poll_until_settled, refresh, settled

__all__ = ["evaluate", "follow"]


def evaluate(prepared: Prepared, around: Surroundings) -> Events:
    """Run a new invocation of a plan.

    Args:
        prepared: the plan and its executor; checked by `driver.preflight`.
        around: how this caller differs from others.

    Yields:
        The events of `driver.events`, from Created on.

    Raises:
        UnreachableError: the backend did not answer while jobs were submitted; `follow` submits the rest.
        NelActionError: the results cannot be judged.
    """
    prepared = resolve_baselines(prepared, around)
    with Ledger(around.home) as ledger:
        session = create_session(prepared, ledger)
        yield Created(session)
        write_scripts(session)
        yield _submitted(session, submit(session))
        yield from _wait_and_judge(session, around)


def follow(session: Session, around: Surroundings, *, retry: bool = False) -> Events:
    """Continue an invocation, whichever process started it and however it exited.

    Args:
        session: the invocation.
        around: how this caller differs from others.
        retry: submit a new attempt of every failed or cancelled job first.

    Yields:
        The events of `driver.events`, from Submitted on; from Polled on if `around` forbids submissions.

    Raises:
        UnreachableError: the backend did not answer while jobs were submitted.
        ResultsError: jobs were never submitted and `around` forbids it.
        NelActionError: the results cannot be judged.
    """
    if not around.may_submit:
        session = _without_unsubmitted(session)
    elif retry:
        refresh(session)
        yield _submitted(session, resume(session))
    else:
        # NOTE: a process may have died between the intent to submit and the record of the answer.
        yield _submitted(session, submit(session))
    yield from _wait_and_judge(session, around)


def _submitted(session: Session, submission: Submission) -> Submitted:
    return Submitted(
        session=session,
        jobs=submission.jobs,
        joined=submission.joined,
        rejected=submission.rejected,
        deferred=submission.deferred,
    )


def _wait_and_judge(session: Session, around: Surroundings) -> Events:
    """Poll until all jobs are final, confirm failures, and conclude; or leave while jobs are active."""
    while True:
        views = session.views()
        for views in poll_until_settled(
            session,
            stop=around.stop,
            deadline=around.deadline,
            once=around.once,
            submit_deferred=partial(submit, session) if around.may_submit else None,
        ):
            yield Polled(views, settled(views))
        if not settled(views):
            yield Left(ExitCode.CANCELLED if around.stop.is_set() else ExitCode.RUNNING)
            return
        session, rules = pin_new_baselines(session, around)
        measurement = measure(session, views, around, rules)
        extended = confirm(session, views, measurement, measurement.rules) if around.may_submit else None
        if extended is None:
            yield from conclude(session, views, measurement, around)
            return
        session = extended.session
        yield extended


def _without_unsubmitted(session: Session) -> Session:
    """Leave confirmation runs that were never submitted out of the plan in memory; the original runs then decide.

    Raises:
        ResultsError: other jobs were never submitted.
    """
    attempts = session.attempts()
    plan = session.invocation.plan
    submitted = {index for index, row in attempts.items() if row.submitted}
    missing = [job.name for job in plan.jobs if job.repeats is None and job.index not in submitted]
    if missing:
        msg = f"{', '.join(missing)}: never submitted, or the submission was not recorded"
        raise ResultsError(msg, hint="run the workflow again: jobs that were submitted are found by their keys")
    jobs = tuple(job for job in plan.jobs if job.index in submitted)
    return replace(session, invocation=replace(session.invocation, plan=replace(plan, jobs=jobs)))
