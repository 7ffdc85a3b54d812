"""The final step, which always runs: complete an interrupted main step, set all outputs, and prepare the artifact."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from nel_action.errors import CancelledError, ExitCode, NelActionError
from nel_action.github.artifacts import copy_artifact_files
from nel_action.github.check import Conclusion
from nel_action.github.comment_command import restore_command
from nel_action.github.context import ActionContext
from nel_action.github.inputs import OnCancel
from nel_action.github.outcome import Outcome, State
from nel_action.github.workflow import Level
from nel_action.lifecycle.cancel import cancel
from nel_action.lifecycle.session import open_session

__all__ = ["finish"]


def finish(context: ActionContext) -> Outcome:
    """Complete what the main step left open; return the outcome of the call."""
    context = restore_command(context)
    state = context.state.read()
    if state is None:
        outcome = Outcome(summary="nothing was evaluated")
    elif state.concluded:
        outcome = state.outcome
    else:
        outcome = _finish_after_crash(context, state) if state.crash else _finish_after_kill(context, state)
        context.state.update(outcome=outcome, concluded=True)
    outputs = outcome.outputs() | {"summary": context.redact(outcome.summary)}
    context.workflow.set_outputs(outputs | _prepare_artifact(context, state))
    return outcome


def _finish_after_kill(context: ActionContext, state: State) -> Outcome:
    """Cancel or keep the jobs on other machines, and conclude the check or leave it open accordingly."""
    event = replace(context.event, head_sha=state.head_sha or context.event.head_sha)
    publisher = context.publisher(event, check_id=state.check_id, identity=state.check_identity)
    outcome = replace(state.outcome, code=int(ExitCode.CANCELLED), state="cancelled", verdict="none")
    keep = state.on_cancel == OnCancel.KEEP and state.outlives and state.run_dir
    if keep and publisher.check_id is not None:
        message = (
            f"cancelled; the jobs of invocation {outcome.invocation} continue, and `mode: collect` concludes the check"
        )
        publisher.leave_open(message)
        return replace(outcome, summary=message)
    message = "cancelled; jobs on other machines continue" if keep else _cancel_jobs(context, state)
    publisher.report_error(CancelledError(message), conclusion=Conclusion.CANCELLED)
    return replace(outcome, summary=message)


def _finish_after_crash(context: ActionContext, state: State) -> Outcome:
    """Conclude the check as a failure: an unexpected exception is neither a verdict nor a cancellation."""
    event = replace(context.event, head_sha=state.head_sha or context.event.head_sha)
    keep = state.on_cancel == OnCancel.KEEP and state.outlives
    jobs = "jobs on other machines continue, and a re-run finds them" if keep else _cancel_jobs(context, state)
    message = f"nel-action itself failed ({state.crash}); {jobs}"
    error = NelActionError(message, hint="please report this error with the details in the step's log")
    context.publisher(event, check_id=state.check_id, identity=state.check_identity).report_error(error)
    return replace(state.outcome, code=int(ExitCode.UNMEASURABLE), state="error", verdict="none", summary=message)


def _cancel_jobs(context: ActionContext, state: State) -> str:
    """Cancel all jobs, wait until they have stopped, and return a summary."""
    if not state.run_dir:
        return "cancelled before anything was submitted"
    try:
        with open_session(state.run_dir, home=context.home, environ=context.environ) as session:
            cancel(session)
    except NelActionError as error:
        context.workflow.annotate(Level.ERROR, str(error), title="Jobs may still run")
        return "cancelled; jobs may still run, see the log"
    return "cancelled, including all jobs"


def _prepare_artifact(context: ActionContext, state: State | None) -> dict[str, str]:
    """Copy the files of the artifact; return its name and path."""
    run_dir = Path(state.run_dir) if state and state.run_dir else None
    if run_dir is None or not run_dir.is_dir():
        return {"artifact-name": context.artifact_name, "artifact-path": ""}
    # NOTE: results of a fork have another name, so that they never become a baseline.
    name = f"{context.artifact_name}-fork" if run_dir == context.temp_dir / "fork" else context.artifact_name
    into = context.temp_dir / "artifact" / name
    redact = context.redactor()
    omitted = copy_artifact_files(run_dir, into, redact)
    for other in map(Path, state.others if state else ()):
        omitted += copy_artifact_files(other, into / other.name, redact)
    if omitted:
        context.workflow.log(f"omitted from the artifact: {', '.join(omitted[:20])}")
    return {"artifact-name": name, "artifact-path": str(into)}
