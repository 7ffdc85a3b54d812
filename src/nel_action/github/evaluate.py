"""Modes `run` and `submit`: check first, then the work, then the answer; each step on disk before the next."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from nel_action.driver.confirmation import second_look
from nel_action.driver.judging import find_baseline
from nel_action.driver.preflight import check_gate
from nel_action.errors import CancelledError, ExitCode, NelActionError, SpecError, UsageError
from nel_action.gating.policy import check_policy
from nel_action.github.context import ActionContext
from nel_action.github.event import EventKind
from nel_action.github.finalize import PolicyLocations, finalize, policy_locations
from nel_action.github.inputs import Mode
from nel_action.github.outcome import Outcome
from nel_action.github.policy_source import dump_rules, load_spec_from_inputs, resolve_rules
from nel_action.github.publish import Publisher
from nel_action.github.signals import CancelSignals
from nel_action.github.snapshot import take_snapshot
from nel_action.ledger import Ledger
from nel_action.lifecycle.cancel import cancel
from nel_action.lifecycle.launch import start
from nel_action.lifecycle.prepare import check, prepare
from nel_action.lifecycle.reruns import second_runs
from nel_action.lifecycle.session import JobView, Session
from nel_action.lifecycle.waiting import finished, refresh, wait
from nel_action.redaction import likely_secrets, named_variables
from nel_action.report.progress import ProgressView, job_rows

if TYPE_CHECKING:
    from nel_action.driver.judging import Rules
    from nel_action.lifecycle.prepare import Prepared
    from nel_action.spec.compose import LoadedSpec

__all__ = ["evaluate"]


def evaluate(context: ActionContext, *, also: Callable[[LoadedSpec], None] | None = None) -> Outcome:
    """Run the gate of this event.

    Args:
        context: the event and its surroundings.
        also: looks for further mistakes in the spec before anything is spent: exporters stand beside this floor.

    Returns:
        How it ended; everything that GitHub should know has been told.
    """
    context.state.clear()
    context.state.update(on_cancel=context.inputs.on_cancel.value, head_sha=context.event.head_sha or "")
    publisher = context.publisher()
    signals = CancelSignals()
    try:
        with signals.installed():
            with signals.raising():
                _refuse_what_is_unsafe(context)
                _open(context, publisher)
                loaded = load_spec_from_inputs(context)
                rules = resolve_rules(context, loaded)
                _check_rules(loaded, rules)
                if also is not None:
                    also(loaded)
            return _Evaluation(context, publisher, signals, loaded, rules).run()
    except CancelledError as error:
        return _ended(context, Outcome(code=ExitCode.CANCELLED, state="cancelled", summary=str(error)), done=False)
    except NelActionError as error:
        publisher.report_error(error)
        verdict = "unmeasurable" if error.exit_code is ExitCode.UNMEASURABLE else "none"
        said = error.problems[0].message
        outcome = Outcome(code=int(error.exit_code), verdict=verdict, summary=said)
        return _ended(context, replace(outcome, invocation=_known(context)), done=True)


def _refuse_what_is_unsafe(context: ActionContext) -> None:
    """Stop where a fork's change would meet this repository's secrets, or where nobody says which commit is meant."""
    kind = context.event.kind
    if kind in {EventKind.PULL_REQUEST_TARGET, EventKind.WORKFLOW_RUN} and context.event.fork:
        msg = f"{kind} hands this repository's secrets to a pull request from a fork"
        raise UsageError(msg, hint="use pull_request, and workflows/fork-gate.yml for forks; see docs/security.md")
    if kind is EventKind.ISSUE_COMMENT:
        msg = "a comment names no commit, so what is checked out may be any"
        raise UsageError(
            msg, hint="start by a label, as workflows/gate.yml does, or by workflow_dispatch on the branch"
        )


def _check_rules(loaded: LoadedSpec, rules: Rules) -> None:
    """Find what is wrong with the policy: in the spec's own lines where it is the spec's own."""
    if rules.policy is None or rules.policy == loaded.spec.gate:
        check_gate(loaded.spec, locate=loaded.locate)
    elif problems := check_policy(rules.policy, rules.expected):
        raise SpecError(problems)


def _open(context: ActionContext, publisher: Publisher) -> None:
    """Show that something is under way, before anything is spent."""
    event = context.event
    if event.fork and context.api:
        context.workflow.log("a pull request from a fork: its token may not write, so check and comment are left out")
    publisher.open(
        external_id=f"starting:{event.run_id}", url=event.run_url, summary=f"Started by [this run]({event.run_url})."
    )
    context.state.update(check_id=publisher.check_id)


def _known(context: ActionContext) -> str:
    state = context.state.read()
    return state.outcome.invocation if state else ""


def _ended(context: ActionContext, outcome: Outcome, *, done: bool) -> Outcome:
    before = context.state.read()
    kept = before.outcome if before else Outcome()
    outcome = replace(outcome, invocation=outcome.invocation or kept.invocation)
    context.state.update(outcome=outcome, concluded=done)
    return outcome


class _Evaluation:
    """One spec under one set of rules."""

    def __init__(
        self, context: ActionContext, publisher: Publisher, signals: CancelSignals, loaded: LoadedSpec, rules: Rules
    ) -> None:
        self.context = context
        self.publisher = publisher
        self.stopper = signals
        self.loaded = loaded
        self.rules = rules
        self.places: PolicyLocations = policy_locations(context, loaded)
        # NOTE: the pull request's head, which is not the merge commit that GITHUB_SHA names.
        self.environ = dict(context.environ) | {
            "NEL_ACTION_COMMIT": context.event.head_sha or "",
            "NEL_ACTION_REPOSITORY": context.event.repository,
        }

    def run(self) -> Outcome:
        """Check, submit, wait, answer."""
        context = self.context
        with self.stopper.raising():
            preparation = prepare(self.loaded, home=context.home, environ=self.environ)
            prepared = preparation.__enter__()
        try:
            with self.stopper.raising():
                self._check(prepared)
            ledger = Ledger(context.home)
            try:
                session = start(prepared, ledger, on_created=self._created)
                self._submitted(session)
                return self._follow(session)
            finally:
                ledger.close()
        finally:
            preparation.__exit__(None, None, None)

    def _check(self, prepared: Prepared) -> None:
        """Find out before anything is spent what would keep the gate from an answer."""
        named = sorted(named_variables(self.loaded.resolved))
        self.context.state.update(secrets=tuple(named))
        self.context.workflow.mask(likely_secrets(self.environ, named))
        if self.context.github_hosted and self._local(prepared) and self.context.inputs.mode is Mode.SUBMIT:
            msg = "jobs on this machine end with it, so `mode: submit` would lose them"
            raise UsageError(msg, hint="use `mode: run`, or an executor on another machine")
        ruled = self.loaded.spec.model_copy(update={"gate": self.rules.policy})
        find_baseline(ruled, folder=self.rules.folder, home=self.context.home, branch=self.context.branch_baselines())
        check(prepared)

    @staticmethod
    def _local(prepared: Prepared) -> bool:
        return prepared.plan.spec.execution.type == "local"

    def _created(self, session: Session) -> None:
        """Write down under which id all can be found again, before anything is submitted."""
        outlives = not (self.context.github_hosted and session.invocation.executor == "local")
        outcome = Outcome(code=ExitCode.RUNNING, invocation=session.invocation.id, state="running")
        self.context.state.update(outcome=outcome, run_dir=str(session.invocation.run_dir), outlives=outlives)
        count = len(session.invocation.plan.jobs)
        self.context.workflow.log(f"{count} jobs · {session.invocation.executor} · invocation {session.invocation.id}")
        self._snapshot(session)

    def _submitted(self, session: Session) -> None:
        self._snapshot(session)
        for row in session.attempts().values():
            if row.reused:
                self.context.workflow.log(f"{row.name}: taken over from an earlier run")

    def _snapshot(self, session: Session) -> None:
        """Put what a later process needs into the check."""
        event = self.context.event
        facts = {
            "rules": dump_rules(self.rules),
            "places": self.places,
            "spec": str(self.context.repository_path(self.loaded.source)),
            "event": asdict(replace(event, payload={})),
        }
        packed = take_snapshot(session.invocation.run_dir, session.invocation.id, facts)
        summary = f"Invocation `{session.invocation.id}`, started by [this run]({event.run_url})."
        self.publisher.open(external_id=packed.external_id, text=packed.text, url=event.run_url, summary=summary)

    def _follow(self, session: Session) -> Outcome:
        """Wait as long as may be, and answer where there is an answer."""
        inputs = self.context.inputs
        deadline = time.monotonic() + inputs.max_wait
        while True:
            views = refresh(session) if inputs.mode is Mode.SUBMIT else self._wait(session, deadline)
            again = self._again(session, views) if finished(views) else None
            if again is None:
                break
            session = again
        if finished(views):
            outcome = finalize(self.context, self.publisher, session, views, rules=self.rules, places=self.places)
            return _ended(self.context, outcome, done=True)
        return self._leave(session)

    def _again(self, session: Session, views: list[JobView]) -> Session | None:
        """Run once more what failed, where the policy asks for it; the check learns of it at once."""
        branch = self.context.branch_baselines()
        again = second_look(session, views, branch=branch, rules=self.rules)
        if again is not None:
            self._snapshot(again)
            names = ", ".join(job.task.display for job in second_runs(again.invocation.plan))
            self.context.workflow.log(f"failed, and run once more with another seed before it is blamed: {names}")
        return again

    def _wait(self, session: Session, deadline: float) -> list[JobView]:
        from rich.console import Console

        log = ProgressView(Console(stderr=False, width=160, no_color=True, force_terminal=False))

        def look(views: Sequence[JobView]) -> None:
            rows = job_rows(views)
            log.update(rows)
            self.publisher.show_progress(rows)

        try:
            return wait(session, on_look=look, stop=self.stopper.event, deadline=deadline)
        finally:
            log.close()

    def _leave(self, session: Session) -> Outcome:
        """Go while jobs still run."""
        name = session.invocation.id
        if self.stopper.event.is_set():
            # NOTE: seconds are left; the step that always runs has minutes, and the ids are on disk.
            outcome = Outcome(code=ExitCode.CANCELLED, invocation=name, state="cancelled", summary="cancelled")
            return _ended(self.context, outcome, done=False)
        state = self.context.state.read()
        if state and not state.outlives:
            cancel(session)
            views = refresh(session)
            outcome = finalize(self.context, self.publisher, session, views, rules=self.rules, places=self.places)
            return _ended(self.context, outcome, done=True)
        said = f"invocation {name} still runs; `mode: collect` or `nel-action wait {name}` brings the verdict"
        self.publisher.leave_open(said)
        outcome = Outcome(code=ExitCode.RUNNING, invocation=name, state="running", summary=said)
        return _ended(self.context, outcome, done=True)
