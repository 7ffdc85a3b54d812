"""`nel-action ci`: what `action.yml` executes. Everything comes in by environment variables."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nel_action.cli.common import home_dir
from nel_action.errors import ExitCode, NelActionError

if TYPE_CHECKING:
    from nel_action.github.context import ActionContext
    from nel_action.github.outcome import Outcome
    from nel_action.spec.compose import LoadedSpec

__all__ = ["ci"]

EXTRAS = {"slurm": "slurm", "lepton": "lepton", "wandb": "wandb", "mlflow": "mlflow", "gsheets": "gsheets"}
"""Word in a spec (`execution.type`, a key of `export`) → extra that it needs."""


@click.group()
def ci() -> None:
    """Do the steps of a GitHub workflow; `action.yml` calls these, people seldom do."""


@ci.command()
def extras() -> int:
    """Print the extras that the spec of `INPUT_…` needs, one a line; none for a spec that cannot be read."""
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
        return ExitCode.PASS  # told by `ci run`, with check and annotations
    execution = loaded.spec.execution
    exporters = loaded.resolved.get("export") or () if inputs.exporters is None else inputs.exporters
    words = [execution.type, *exporters]
    if getattr(execution, "runtime", None) == "process":
        click.echo("process")
    for extra in sorted({EXTRAS[word] for word in words if word in EXTRAS}):
        click.echo(extra)
    return ExitCode.PASS


@ci.command()
def run() -> int:
    """Evaluate, judge and tell, as `INPUT_MODE` says."""
    from nel_action.github.inputs import Mode

    context = _setting()
    try:
        outcome = _collect(context) if context.inputs.mode is Mode.COLLECT else _evaluate(context)
    except Exception as error:  # noqa: BLE001 - a mistake of ours is neither a verdict nor a cancel; `finish` tells it
        context.state.update(crash=f"{type(error).__name__}: {error}"[:300], concluded=False)
        context.workflow.print_untrusted(traceback.format_exc().splitlines())
        return ExitCode.UNMEASURABLE
    if outcome.state == "finished" and outcome.results:
        _export(context, Path(outcome.results).parent)
    return _step_code(context, outcome)


@ci.command()
def finish() -> int:
    """Finish what a kill left open, set every output, and lay out the artifact."""
    from nel_action.github.finish import finish as finish_it
    from nel_action.github.outcome import Outcome
    from nel_action.github.workflow import Workflow

    try:
        finish_it(_setting(spec_needed=False))
    except NelActionError as error:
        # NOTE: every output is set in every ending, also where the inputs themselves were wrong.
        outcome = Outcome(code=int(error.exit_code), summary=error.problems[0].message)
        Workflow(os.environ, sys.stdout).set_outputs(outcome.outputs())
        raise
    return ExitCode.PASS


def _setting(*, spec_needed: bool = True) -> ActionContext:
    """Read environment and event.

    Raises:
        SpecError: an input means nothing.
        UsageError: this is no workflow.
    """
    from nel_action.github.api import GitHubApi
    from nel_action.github.context import ActionContext, likely_secrets
    from nel_action.github.event import read_event
    from nel_action.github.inputs import read_inputs
    from nel_action.github.outcome import StateFile
    from nel_action.github.workflow import Level, Workflow

    workflow = Workflow(os.environ, sys.stdout)
    workflow.mask(likely_secrets(os.environ))
    event = read_event(os.environ)
    try:
        inputs = read_inputs(os.environ, spec_needed=spec_needed)
    except NelActionError as error:
        for problem in error.problems:
            workflow.annotate(Level.ERROR, str(problem))
        raise
    token = os.environ.get("INPUT_GITHUB_TOKEN", "")
    return ActionContext(
        environ=dict(os.environ),
        event=event,
        inputs=inputs,
        workflow=workflow,
        api=GitHubApi(event.api_url, token) if token else None,
        home=home_dir(),
        root=Path(os.environ.get("GITHUB_WORKSPACE") or Path.cwd()),
        state=StateFile(os.environ, inputs.check_name or "off"),
    )


def _evaluate(context: ActionContext) -> Outcome:
    from nel_action.github.evaluate import evaluate

    return evaluate(context, also=lambda loaded: _check_exports(context, loaded))


def _collect(context: ActionContext) -> Outcome:
    """Conclude what an earlier run left open, or judge a fork's results."""
    from nel_action.github.collect import collect
    from nel_action.github.event import EventKind
    from nel_action.github.fork_stage import judge_fork
    from nel_action.github.outcome import Outcome
    from nel_action.github.workflow import Level

    context.state.clear()
    forks = context.event.kind is EventKind.WORKFLOW_RUN and (context.inputs.spec or context.inputs.config_name)
    try:
        outcome = judge_fork(context) if forks else collect(context)
    except NelActionError as error:
        for problem in error.problems:
            context.workflow.annotate(Level.ERROR, str(problem))
        outcome = Outcome(code=int(error.exit_code), summary=error.problems[0].message)
    context.state.update(outcome=outcome, concluded=True)
    return outcome


def _check_exports(context: ActionContext, loaded: LoadedSpec) -> None:
    """Tell mistakes in `export:` before anything is spent; what is only missing so far is a warning."""
    from nel_action.exporters.preflight import check_exports
    from nel_action.github.workflow import Level

    listed = [name for name in loaded.resolved.get("export") or () if name != "env_vars"]
    asked = (loaded.resolved.get("execution") or {}).get("auto_export") or {}
    chosen = context.inputs.exporters
    wanted = [*(asked.get("destinations") or ()), *listed] if chosen is None else list(chosen)
    for problem in check_exports(loaded, context.environ, destinations=wanted):
        context.workflow.annotate(Level.WARNING, str(problem))


def _export(context: ActionContext, run_dir: Path) -> None:
    """Send results where the spec says; a destination that does not take them is told and changes no verdict."""
    import yaml

    from nel_action.exporters.service import auto_export_destinations, export_run
    from nel_action.github.workflow import Level

    resolved = run_dir / "spec.yaml"
    listed = (yaml.safe_load(resolved.read_text()) if resolved.is_file() else {}).get("export") or {}
    chosen = context.inputs.exporters
    wanted = dict.fromkeys([*auto_export_destinations(run_dir), *(name for name in listed if name != "env_vars")])
    for name in wanted if chosen is None else chosen:
        with context.workflow.group(f"export to {name}"):
            try:
                outcome = export_run(run_dir, name, context.environ)
            except NelActionError as error:
                context.workflow.annotate(Level.ERROR, str(error), title=f"Nothing went to {name}")
                continue
            for item in outcome.items:
                context.workflow.log(f"{item.what}: {item.change.value} {item.where or ''} {item.problem or ''}")
            if not outcome.complete:
                context.workflow.annotate(Level.ERROR, "see the log", title=f"Not all of it went to {name}")


def _step_code(context: ActionContext, outcome: Outcome) -> int:
    """Return what the step ends with: the outcome's code where the workflow is to fail on it, else 0."""
    from nel_action.gating.verdict import Verdict
    from nel_action.github.inputs import Mode
    from nel_action.github.workflow import Level

    code = ExitCode(outcome.code)
    verdict = Verdict(outcome.verdict) if outcome.verdict in set(Verdict) else None
    if context.inputs.mode is Mode.COLLECT:
        # NOTE: each gate's answer is in its own check; this job fails only where it could not look.
        return ExitCode.PASS if outcome.state in {"finished", "running"} else int(code)
    state = context.state.read()
    if code is ExitCode.RUNNING and not (state and state.check_id):
        said = "jobs still run and no check is open that says so, so this step fails"
        context.workflow.annotate(Level.ERROR, said, title="permissions: checks: write is missing")
        return int(code)
    return int(code) if context.inputs.should_fail(code, verdict) else ExitCode.PASS
