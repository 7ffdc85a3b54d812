"""Modes `run` and `submit`: open the check, run the evaluation, publish the verdict; each step on disk first."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from nel_action.driver.evaluation import evaluate as evaluate_plan
from nel_action.driver.evaluation import follow
from nel_action.driver.events import Created, Event, Events, Exported, Extended, Left, Polled, Reported, Submitted
from nel_action.driver.preflight import check_plan, check_spec
from nel_action.driver.surroundings import same_rules
from nel_action.errors import CancelledError, ExitCode, NelActionError, UnreachableError, UsageError
from nel_action.github.checkout import head_commit
from nel_action.github.comment_command import accept_command, narrow
from nel_action.github.context import ActionContext
from nel_action.github.event import EventKind
from nel_action.github.finalize import GatePublication, log_export, policy_locations
from nel_action.github.inputs import Mode
from nel_action.github.outcome import Outcome
from nel_action.github.policy_source import GateSource, dump_rules, load_spec_from_inputs
from nel_action.github.publish import Publisher
from nel_action.github.signals import CancelSignals
from nel_action.github.snapshot import take_snapshot
from nel_action.github.workflow import Level
from nel_action.lifecycle.cancel import cancel
from nel_action.lifecycle.prepare import prepare
from nel_action.lifecycle.session import JobView, Session
from nel_action.redaction import likely_secrets, named_variables
from nel_action.report.progress import ProgressView, job_rows

if TYPE_CHECKING:
    from nel_action.lifecycle.prepare import Prepared

__all__ = ["evaluate", "report_invalid"]


def evaluate(context: ActionContext) -> Outcome:
    """Run the gate of the event that started the workflow, and publish its verdict or its errors."""
    context.state.clear()
    if context.event.kind is EventKind.ISSUE_COMMENT:
        try:
            context = accept_command(context)
        except NelActionError as error:
            context.workflow.annotate(Level.ERROR, str(error))
            outcome = Outcome(code=int(error.exit_code), summary=error.problems[0].message)
            return _save_outcome(context, outcome, concluded=True)
    context.state.update(
        on_cancel=context.inputs.on_cancel.value,
        head_sha=context.event.head_sha or "",
        check_identity=context.identity,
    )
    publisher = context.publisher()
    signals = CancelSignals()
    try:
        with signals.installed():
            with signals.raising():
                _reject_unsafe_events(context)
                _open_check(context, publisher)
                source = GateSource(context, load_spec_from_inputs(context))
                evaluation = _Evaluation(context, publisher, signals, source)
                evaluation.check_spec()
            return evaluation.run()
    except CancelledError as error:
        outcome = Outcome(code=ExitCode.CANCELLED, state="cancelled", summary=str(error))
        return _save_outcome(context, outcome, concluded=False)
    except NelActionError as error:
        publisher.report_error(error)
        verdict = "unmeasurable" if error.exit_code is ExitCode.UNMEASURABLE else "none"
        outcome = Outcome(code=int(error.exit_code), verdict=verdict, summary=error.problems[0].message)
        return _save_outcome(context, outcome, concluded=True)


def report_invalid(context: ActionContext, error: NelActionError) -> Outcome:
    """Conclude check and comment of a call whose inputs are invalid; nothing is evaluated."""
    context.state.clear()
    context.state.update(head_sha=context.event.head_sha or "", check_identity=context.identity)
    # NOTE: `collect` has no check of its own.
    name = "" if context.inputs.mode is Mode.COLLECT else None
    context.publisher(name=name).report_error(error)
    outcome = Outcome(code=int(error.exit_code), summary=error.problems[0].message)
    return _save_outcome(context, outcome, concluded=True)


def _reject_unsafe_events(context: ActionContext) -> None:
    """Reject events that combine a fork's code with the repository's secrets, and a checkout of another commit.

    Raises:
        UsageError: the event is unsafe.
    """
    kind = context.event.kind
    if context.event.checks_out_another_commit and context.event.fork:
        msg = f"{kind} gives a pull request from a fork access to this repository's secrets"
        raise UsageError(msg, hint="use pull_request, and workflows/fork-gate.yml for forks; see docs/security.md")
    # NOTE: the results of a base would otherwise conclude the check of a change into it.
    compared = context.event.checks_out_another_commit or kind in {EventKind.PULL_REQUEST, EventKind.MERGE_GROUP}
    checked_out = head_commit(context.root) if compared else None
    if (checked_out or context.event.checks_out_another_commit) and checked_out not in context.commits:
        msg = f"{checked_out or 'no commit'} is checked out, but the {kind} event is about {context.event.head_sha}"
        raise UsageError(msg, hint=f"give actions/checkout `ref: {context.event.head_sha}`")


def _open_check(context: ActionContext, publisher: Publisher) -> None:
    event = context.event
    if event.fork and context.api:
        context.workflow.log("a pull request from a fork: its token may not write, so check and comment are omitted")
    publisher.open(
        external_id=f"starting:{event.run_id}", url=event.run_url, summary=f"Started by [this run]({event.run_url})."
    )
    context.state.update(check_id=publisher.check_id)
    if conflict := publisher.conflict():
        raise UsageError(conflict)


def _save_outcome(context: ActionContext, outcome: Outcome, *, concluded: bool) -> Outcome:
    """Save the outcome for the final step; one that has been concluded is final."""
    state = context.state.read()
    if state and state.concluded:
        return state.outcome
    known = state.outcome.invocation if state else ""
    outcome = replace(outcome, invocation=outcome.invocation or known)
    context.state.update(outcome=outcome, concluded=concluded)
    return outcome


class _Evaluation:
    """One evaluation: a consumer of the driver's events."""

    def __init__(
        self,
        context: ActionContext,
        publisher: Publisher,
        signals: CancelSignals,
        source: GateSource,
    ) -> None:
        self._context = context
        self._publisher = publisher
        self._signals = signals
        rules, update_rules = source.resolve(), source.update
        loaded = source.spec  # with the values of the base, which `resolve` has read
        if context.command:
            loaded, rules = narrow(loaded, context.command, rules, source.base_tasks())
            update_rules = same_rules
        self._loaded = loaded
        self._rules = rules
        self._locations = policy_locations(context, loaded)
        self._publication = GatePublication(context, publisher, rules=rules, locations=self._locations)
        # NOTE: the pull request's head; GITHUB_SHA is the merge commit.
        environ = context.job_environ | {
            "NEL_ACTION_COMMIT": context.event.head_sha or "",
            "NEL_ACTION_REPOSITORY": context.event.repository,
        }
        self._around = self._publication.surroundings(
            environ,
            loaded.spec,
            stop=signals.event,
            once=context.inputs.mode is Mode.SUBMIT,
            update_rules=update_rules,
        )
        self._session: Session | None = None
        self._views: Sequence[JobView] = ()

    def check_spec(self) -> None:
        """Check policy and exports.

        Raises:
            SpecError: they are invalid.
        """
        for warning in check_spec(self._loaded, self._around):
            self._context.workflow.annotate(Level.WARNING, str(warning))

    def run(self) -> Outcome:
        """Check the plan, then run it."""
        with ExitStack() as stack:
            with self._signals.raising():
                around = self._around
                prepared = stack.enter_context(prepare(self._loaded, home=around.home, environ=around.environ))
                prepared = self._check_plan(prepared)
            self._around = replace(around, deadline=time.monotonic() + self._context.inputs.max_wait)
            return self._consume(stack.enter_context(closing(evaluate_plan(prepared, self._around))))

    def _check_plan(self, prepared: Prepared) -> Prepared:
        context = self._context
        names = sorted(named_variables(self._loaded.resolved))
        context.state.update(secrets=tuple(names))
        context.workflow.mask(likely_secrets(self._around.environ, names))
        local = prepared.plan.spec.execution.type == "local"
        if context.github_hosted and local and context.inputs.mode is Mode.SUBMIT:
            msg = "`mode: submit` would lose the jobs: they run on this machine, which is shut down after this step"
            raise UsageError(msg, hint="use `mode: run`, or an executor on another machine")
        return check_plan(prepared, self._around)

    def _consume(self, events: Events) -> Outcome:
        """Publish the events and return the outcome."""
        from rich.console import Console

        # NOTE: a wrapped line may start anywhere in a name or a message, for example with a workflow command.
        stream = self._context.workflow.stream()
        log = ProgressView(Console(file=stream, width=160, no_color=True, force_terminal=False))
        outcome = Outcome()
        try:
            for event in events:
                if isinstance(event, Polled):
                    self._polled(event.views, log)
                elif isinstance(event, Created | Submitted | Extended):
                    self._submitted(event)
                else:
                    outcome = self._finished(event, outcome)
        finally:
            log.close()
        return outcome

    def _submitted(self, event: Created | Submitted | Extended) -> None:
        """Save the invocation in the check: its ID before anything is submitted, its attempts afterwards."""
        self._session = event.session
        if isinstance(event, Created):
            self._save_state(event.session)
        self._save_snapshot(event.session)
        if isinstance(event, Submitted):
            for row in event.joined:
                self._context.workflow.log(f"{row.name}: the result of an earlier run is reused")
        if isinstance(event, Extended):
            names = ", ".join(job.task.display for job in event.jobs)
            self._context.workflow.log(f"failed tasks are run once more with another seed: {names}")

    def _polled(self, views: Sequence[JobView], log: ProgressView) -> None:
        self._views = views
        if not self._around.once:
            rows = job_rows(views)
            log.update(rows)
            self._publisher.show_progress(rows)

    def _finished(self, event: Event, outcome: Outcome) -> Outcome:
        """Publish a verdict, log an export, or leave; return the outcome so far."""
        match event:
            case Reported(report):
                outcome = self._publication.publish(report, self._require_session(), self._views)
                return _save_outcome(self._context, outcome, concluded=True)
            case Exported():
                log_export(self._context, event)
            case Left(code):
                return self._leave(code)
            case _:
                pass
        return outcome

    def _require_session(self) -> Session:
        assert self._session is not None  # noqa: S101 - set by Created, which comes first
        return self._session

    def _save_state(self, session: Session) -> None:
        """Save the invocation for the final step."""
        context, invocation = self._context, session.invocation
        outlives = not (context.github_hosted and invocation.executor == "local")
        outcome = Outcome(code=ExitCode.RUNNING, invocation=invocation.id, state="running")
        context.state.update(outcome=outcome, run_dir=str(invocation.run_dir), outlives=outlives)
        context.workflow.log(f"{len(invocation.plan.jobs)} jobs · {invocation.executor} · invocation {invocation.id}")

    def _save_snapshot(self, session: Session) -> None:
        """Save in the check what a later process needs to conclude it."""
        event = self._context.event
        facts = {
            "rules": dump_rules(self._rules),
            "places": self._locations,
            "spec": str(self._context.repository_path(self._loaded.source)),
            "event": asdict(replace(event, payload={})),
        }
        snapshot = take_snapshot(session.invocation.run_dir, session.invocation.id, facts)
        summary = f"Invocation `{session.invocation.id}`, started by [this run]({event.run_url})."
        self._publisher.open(external_id=snapshot.external_id, text=snapshot.text, url=event.run_url, summary=summary)

    def _leave(self, code: ExitCode) -> Outcome:
        """Leave while jobs are active: after a cancellation, for a later `collect`, or after cancelling local jobs."""
        session = self._require_session()
        name = session.invocation.id
        if code is ExitCode.CANCELLED:
            # NOTE: a few seconds are left; the final step has minutes, and the ID is on disk.
            outcome = Outcome(code=code, invocation=name, state="cancelled", summary="cancelled")
            return _save_outcome(self._context, outcome, concluded=False)
        state = self._context.state.read()
        if state and not state.outlives and self._around.may_submit:
            cancel(session)
            self._around = replace(self._around, may_submit=False, once=True)
            return self._consume(follow(session, self._around))
        if not self._around.may_submit:
            msg = f"the jobs of invocation {name} were cancelled, but it could not be observed that they have stopped"
            raise UnreachableError(msg, hint="see the log of this step")
        if self._context.command:
            msg = f"the jobs of invocation {name} did not finish within the input `max-wait`"
            raise UnreachableError(msg, hint="comment the command again later; where jobs continue, it finds them")
        message = (
            f"invocation {name} is still running; `mode: collect` or `nel-action wait {name}` publishes the verdict"
        )
        self._publisher.leave_open(message)
        outcome = Outcome(code=code, invocation=name, state="running", summary=message)
        return _save_outcome(self._context, outcome, concluded=True)
