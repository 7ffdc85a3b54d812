"""`nel-action ci`: the steps of the GitHub Action; all input comes from environment variables."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from nel_action.cli.common import home_dir
from nel_action.cli.doctor import EXTRAS
from nel_action.errors import ExitCode, NelActionError, Problem, SpecError

if TYPE_CHECKING:
    from nel_action.github.context import ActionContext
    from nel_action.github.event import WorkflowEvent
    from nel_action.github.outcome import Outcome

__all__ = ["ci"]

_WORKFLOW_VARIABLES: Final = ("GITHUB_ACTIONS", "GITHUB_REPOSITORY", "GITHUB_EVENT_NAME")
"""Variables of which at least one is set in every workflow."""
_GITHUB_INPUTS: Final = ("github-token", "comment", "check-name", "history-branch", "on-cancel", "version")
"""Inputs without a meaning outside of a workflow."""
_OUTSIDE: Final = "this is not a GitHub workflow"


@click.group()
def ci() -> None:
    """Run a step of the GitHub Action; called by `action.yml`."""


@ci.command()
def extras() -> int:
    """Print the optional dependencies that the spec requires, one per line; none for an invalid spec."""
    from nel_action.github.inputs import Mode, read_inputs
    from nel_action.spec.compose import load_spec

    try:
        inputs = read_inputs(os.environ)
        if inputs.mode is Mode.COLLECT and not (inputs.spec or inputs.config_name):
            return ExitCode.PASS
        loaded = load_spec(
            inputs.spec, config_dir=inputs.config_dir, config_name=inputs.config_name, overrides=inputs.overrides
        )
    except (NelActionError, OSError):
        return ExitCode.PASS  # reported by `ci run`, with check and annotations
    execution = loaded.spec.execution
    exporters = loaded.resolved.get("export") or () if inputs.exporters is None else inputs.exporters
    names = {execution.type, *exporters}
    if getattr(execution, "runtime", None) == "process":
        click.echo("process")
    for extra in sorted(names & EXTRAS.keys()):
        click.echo(extra)
    return ExitCode.PASS


@ci.command()
def run() -> int:
    """Evaluate, judge and publish, in the mode of `INPUT_MODE`; outside of GitHub, everything but publish."""
    if _is_outside_github():
        return _run_outside_github()
    from nel_action.github.evaluate import evaluate, report_invalid
    from nel_action.github.inputs import Mode
    from nel_action.github.workflow import Level

    context, problems = _create_context()
    try:
        if problems:
            outcome = report_invalid(context, SpecError(problems))
        else:
            outcome = _collect(context) if context.inputs.mode is Mode.COLLECT else evaluate(context)
    except Exception as error:  # noqa: BLE001 - a bug is neither a verdict nor a cancellation; `finish` reports it
        context.workflow.print_untrusted(traceback.format_exc().splitlines())
        state = context.state.read()
        if state and state.concluded:
            message = f"{type(error).__name__} after the verdict was published; see the log"
            context.workflow.annotate(Level.ERROR, message, title="nel-action failed")
            return _step_code(context, state.outcome)
        context.state.update(crash=f"{type(error).__name__}: {error}"[:300], concluded=False)
        return ExitCode.UNMEASURABLE
    return _step_code(context, outcome)


@ci.command()
def finish() -> int:
    """Complete an interrupted step, set all outputs, and prepare the artifact; outside of GitHub, do nothing."""
    if _is_outside_github():
        click.echo(f"{_OUTSIDE}; there is nothing to complete", err=True)
        return ExitCode.PASS
    from nel_action.github.finish import finish as finish_step
    from nel_action.github.outcome import Outcome
    from nel_action.github.workflow import Workflow

    try:
        context, problems = _create_context(spec_needed=False)
        if problems and context.state.read() is None:
            raise SpecError(problems)
        finish_step(context)
    except NelActionError as error:
        # NOTE: all outputs are set in any case, also if the inputs themselves are invalid.
        outcome = Outcome(code=int(error.exit_code), summary=error.problems[0].message)
        Workflow(os.environ, sys.stdout).set_outputs(outcome.outputs())
        raise
    return ExitCode.PASS


def _is_outside_github() -> bool:
    return not any(os.environ.get(name) for name in _WORKFLOW_VARIABLES)


def _run_outside_github() -> int:
    """Run the spec of the inputs as `nel-action run` does, and apply `fail-on` to its exit code.

    Raises:
        SpecError: inputs are invalid, or one that decides the verdict has no meaning here.
    """
    from nel_action.cli.run import run as run_command
    from nel_action.github.inputs import Mode, read_inputs

    inputs = read_inputs(os.environ)
    if inputs.mode is Mode.COLLECT or inputs.gate is not True:
        name, fix = ("mode: collect", "nel-action wait") if inputs.mode is Mode.COLLECT else ("gate", "nel-action gate")
        raise SpecError([Problem(f"the input `{name}` works in a GitHub workflow only", hint=f"use `{fix}` here")])
    ignored = [name for name in _GITHUB_INPUTS if os.environ.get(f"INPUT_{name.upper().replace('-', '_')}")]
    listed = f"; ignored: {', '.join(ignored)}" if ignored else ""
    click.echo(f"{_OUTSIDE}: no check, no comment, no outputs and no artifact are written{listed}", err=True)
    arguments = [str(inputs.spec)] if inputs.spec else ["--config-name", str(inputs.config_name)]
    arguments += ["--config-dir", str(inputs.config_dir)] if inputs.config_dir else []
    overrides = [*inputs.overrides, *([f"++gate.baseline={inputs.baseline}"] if inputs.baseline else [])]
    if inputs.exporters is not None:
        overrides.append(f"++execution.auto_export.destinations=[{','.join(inputs.exporters)}]")
    arguments += [part for override in overrides for part in ("-o", override)]
    arguments += ["--no-wait"] if inputs.mode is Mode.SUBMIT else ["--wait", "--max-wait", str(inputs.max_wait)]
    code = ExitCode(run_command.main(arguments, prog_name="nel-action run", standalone_mode=False))
    return code if inputs.should_fail(code, None) else ExitCode.PASS


def _create_context(*, spec_needed: bool = True) -> tuple[ActionContext, list[Problem]]:
    """Read environment, inputs and event; return the context and the problems of the inputs.

    Raises:
        UsageError: the process does not run in a workflow.
    """
    from nel_action.github.api import GitHubApi
    from nel_action.github.context import ActionContext
    from nel_action.github.event import read_event
    from nel_action.github.inputs import parse_inputs
    from nel_action.github.outcome import StateFile
    from nel_action.github.workflow import Level, Workflow
    from nel_action.redaction import likely_secrets

    workflow = Workflow(os.environ, sys.stdout)
    workflow.mask(likely_secrets(os.environ))
    try:
        event = read_event(os.environ)
    except NelActionError as error:
        for problem in error.problems:
            workflow.annotate(Level.ERROR, str(problem))
        raise
    inputs, problems = parse_inputs(os.environ, spec_needed=spec_needed)
    token = os.environ.get("INPUT_GITHUB_TOKEN", "").strip()
    if not token and spec_needed:
        message = "the input `github-token` is empty, so neither check nor comment is written"
        workflow.annotate(Level.WARNING, message)
    context = ActionContext(
        environ=dict(os.environ),
        event=event,
        inputs=inputs,
        workflow=workflow,
        api=GitHubApi(event.api_url, token) if token else None,
        home=home_dir(),
        root=_top_level(event),
        state=StateFile(os.environ, inputs.check_name or "off"),
    )
    _configure_logging(context)
    return context, problems


def _top_level(event: WorkflowEvent) -> Path:
    """Return the top level of the checkout; the workspace itself unless `actions/checkout` was given a `path`."""
    from nel_action.github.checkout import find_top_level

    workspace = Path(os.environ.get("GITHUB_WORKSPACE") or Path.cwd())
    name = os.environ.get("INPUT_WORKING_DIRECTORY")
    commits = [sha for sha in (os.environ.get("GITHUB_SHA"), event.head_sha) if sha]
    return find_top_level(workspace, workspace / name if name else Path.cwd(), commits)


def _configure_logging(context: ActionContext) -> None:
    """Log details if the workflow was started with debug logging enabled."""
    if context.environ.get("RUNNER_DEBUG") != "1":
        return
    from nel_action.github.workflow import escape_line
    from nel_action.log import configure_logging

    def redact(text: str) -> str:
        # NOTE: the runner also executes commands that are printed on standard error.
        return "\n".join(map(escape_line, context.redact(text).splitlines()))

    configure_logging(2, redact=redact)


def _collect(context: ActionContext) -> Outcome:
    """Conclude the open checks of earlier runs, or judge a fork's results."""
    from nel_action.github.collect import collect
    from nel_action.github.event import EventKind
    from nel_action.github.fork_results import judge_fork
    from nel_action.github.outcome import Outcome
    from nel_action.github.workflow import Level

    context.state.clear()
    second_stage = context.event.kind is EventKind.WORKFLOW_RUN and (context.inputs.spec or context.inputs.config_name)
    try:
        outcome = judge_fork(context) if second_stage else collect(context)
    except NelActionError as error:
        for problem in error.problems:
            context.workflow.annotate(Level.ERROR, str(problem))
        outcome = Outcome(code=int(error.exit_code), summary=error.problems[0].message)
    context.state.update(outcome=outcome, concluded=True)
    return outcome


def _step_code(context: ActionContext, outcome: Outcome) -> int:
    """Return the step's exit status: the outcome's code if `fail-on` includes it, else 0."""
    from nel_action.gating.verdict import Verdict
    from nel_action.github.inputs import Mode
    from nel_action.github.workflow import Level

    code = ExitCode(outcome.code)
    verdict = Verdict(outcome.verdict) if outcome.verdict in set(Verdict) else None
    if context.inputs.mode is Mode.COLLECT:
        # NOTE: the verdict of each gate is in its own check; this step fails only if a check could not be processed.
        return ExitCode.PASS if outcome.state in {"finished", "running"} else int(code)
    state = context.state.read()
    if code is ExitCode.RUNNING and not (state and state.check_id):
        message = "jobs are still running, but no check is open that a later run could conclude; this step fails"
        context.workflow.annotate(Level.ERROR, message, title="permissions: checks: write is missing")
        return int(code)
    return int(code) if context.inputs.should_fail(code, verdict) else ExitCode.PASS
