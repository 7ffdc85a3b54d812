"""The step that always runs: finish what a kill left open, set every output, choose what is kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from nel_action.errors import CancelledError, ExitCode, NelActionError
from nel_action.executors.interface import find_attempts
from nel_action.github.artifacts import copy_artifact_files
from nel_action.github.check import Conclusion
from nel_action.github.context import ActionContext
from nel_action.github.inputs import OnCancel
from nel_action.github.outcome import Outcome, State
from nel_action.github.workflow import Level
from nel_action.ledger import now
from nel_action.lifecycle.cancel import cancel
from nel_action.lifecycle.session import Session, open_session

__all__ = ["finish"]


def finish(context: ActionContext) -> Outcome:
    """End what is open; return how the call ended in the end."""
    state = context.state.read()
    if state is None:
        outcome = Outcome(summary="nothing was evaluated")
    elif state.concluded:
        outcome = state.outcome
    else:
        outcome = _after_a_crash(context, state) if state.crash else _after_a_kill(context, state)
        context.state.update(outcome=outcome, concluded=True)
    redact = context.redactor()
    outputs = outcome.outputs() | {"summary": redact(outcome.summary)}
    context.workflow.set_outputs(outputs | _kept(context, state))
    return outcome


def _after_a_kill(context: ActionContext, state: State) -> Outcome:
    """Cancel or keep what runs elsewhere, and leave the check as it is then true."""
    event = replace(context.event, head_sha=state.head_sha or context.event.head_sha)
    publisher = context.publisher(event, check_id=state.check_id)
    outcome = replace(state.outcome, code=int(ExitCode.CANCELLED), state="cancelled", verdict="none")
    keep = state.on_cancel == OnCancel.KEEP and state.outlives and state.run_dir
    if keep and publisher.check_id is not None:
        said = f"cancelled; the jobs of {outcome.invocation} go on, and `mode: collect` concludes the check"
        publisher.leave_open(said)
        return replace(outcome, summary=said)
    said = "cancelled; jobs on other machines go on" if keep else _cancelled(context, state)
    publisher.report_error(CancelledError(said), conclusion=Conclusion.CANCELLED)
    return replace(outcome, summary=said)


def _after_a_crash(context: ActionContext, state: State) -> Outcome:
    """Conclude the check: a mistake of ours is no verdict, and nobody asked to stop."""
    event = replace(context.event, head_sha=state.head_sha or context.event.head_sha)
    keep = state.on_cancel == OnCancel.KEEP and state.outlives
    jobs = "jobs on other machines go on, and a re-run finds them" if keep else _cancelled(context, state)
    said = f"nel-action itself failed ({state.crash}); {jobs}"
    error = NelActionError(said, hint="the step's log has the details; please report them")
    context.publisher(event, check_id=state.check_id).report_error(error)
    return replace(state.outcome, code=int(ExitCode.UNMEASURABLE), state="error", verdict="none", summary=said)


def _cancelled(context: ActionContext, state: State) -> str:
    """Cancel the jobs, and see that they ended."""
    if not state.run_dir:
        return "cancelled before anything was submitted"
    try:
        with open_session(state.run_dir, home=context.home, environ=context.environ) as session:
            _adopt(session)
            cancel(session)
    except NelActionError as error:
        context.workflow.annotate(Level.ERROR, str(error), title="Jobs may still run")
        return "cancelled; jobs may still run, see the log"
    return "cancelled, and every job with it"


def _adopt(session: Session) -> None:
    """Record attempts whose submission was killed between the backend's answer and our note of it."""
    lost = [row for row in session.attempts().values() if row.backend_id is None]
    found = find_attempts(session.executor, [row.key for row in lost]) if lost else {}
    for row in lost:
        there = found.get(row.key)
        if there is not None and there.number == row.number:
            session.ledger.record(replace(row, backend_id=there.backend_id, recorded=now()))


def _kept(context: ActionContext, state: State | None) -> dict[str, str]:
    """Choose what goes into the artifact."""
    run_dir = Path(state.run_dir) if state and state.run_dir else None
    if run_dir is None or not run_dir.is_dir():
        return {"artifact-name": context.artifact_name, "artifact-path": ""}
    # NOTE: a fork's word keeps another name: it is nobody's baseline.
    name = f"{context.artifact_name}-fork" if run_dir == context.temp_dir / "fork" else context.artifact_name
    into = context.temp_dir / "artifact" / name
    redact = context.redactor()
    left = copy_artifact_files(run_dir, into, redact)
    for other in map(Path, state.others if state else ()):
        left += copy_artifact_files(other, into / other.name, redact)
    if left:
        context.workflow.log(f"left out of the artifact: {', '.join(left[:20])}")
    return {"artifact-name": name, "artifact-path": str(into)}
