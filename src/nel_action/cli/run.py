"""`nel-action run`: plan, check, submit, and wait if requested."""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from nel_action.cli.common import (
    deadline_after,
    env_file_option,
    home_dir,
    load,
    max_wait_option,
    spec_options,
    stopping,
)
from nel_action.cli.env_file import environment
from nel_action.errors import ExitCode
from nel_action.files import write_atomically

if TYPE_CHECKING:
    from nel_action.driver.events import Events
    from nel_action.driver.surroundings import Surroundings
    from nel_action.lifecycle.prepare import Prepared
    from nel_action.lifecycle.session import Session

__all__ = ["run"]


@click.command()
@spec_options
@click.option(
    "--wait/--no-wait",
    default=False,
    envvar="NEL_ACTION_WAIT",
    help="Wait for the verdict; by default return after submission (exit code 5).",
)
@max_wait_option
@click.option("-n", "--dry-run", is_flag=True, help="Print the plan and the exact scripts; write and submit nothing.")
@click.option("--fresh", is_flag=True, help="Run every job, even if it was evaluated before.")
@env_file_option
@click.option(
    "--config-output", type=click.Path(path_type=Path), metavar="DIR", help="Copy the resolved spec to DIR as well."
)
@click.option("--config-mode", type=click.Choice(["hydra", "raw"]), default="hydra", help="`raw`: -o is not allowed.")
@click.option("--skip-endpoint-check", is_flag=True, help="Do not send the target a test request first.")
def run(
    *,
    wait: bool,
    max_wait: float | None,
    dry_run: bool,
    fresh: bool,
    skip_endpoint_check: bool,
    env_file: Path | None,
    config_output: Path | None,
    config_mode: str,
    **spec: Any,  # noqa: ANN401 - the options of spec_options
) -> int:
    """Run the benchmarks of SPEC.

    A job that was evaluated before under the same key (same task, parameters, model and commit) is not evaluated
    again; one that is active is joined.
    """
    from nel_action.driver.preflight import check_plan, check_spec
    from nel_action.driver.surroundings import Surroundings
    from nel_action.lifecycle.prepare import prepare

    if config_mode == "raw" and spec["overrides"]:
        msg = "--config-mode raw takes the file as it is; it cannot be combined with -o"
        raise click.UsageError(msg)
    given = click.get_current_context().get_parameter_source("wait") is ParameterSource.COMMANDLINE
    if given and not wait and max_wait is not None:
        msg = "--no-wait contradicts --max-wait, which waits that long"
        raise click.UsageError(msg)
    environ = environment(os.environ, env_file)
    loaded = load(spec.pop("spec"), environ=environ, **spec)
    around = Surroundings(home=home_dir(), environ=environ)
    for warning in check_spec(loaded, around):
        click.echo(f"warning: {warning}", err=True)
    with prepare(loaded, home=around.home, environ=environ, fresh=fresh, resolve=not dry_run) as planned:
        if dry_run:
            from nel_action.cli.dry_run import show

            show(planned, around.home)
            return ExitCode.PASS
        prepared = check_plan(planned, around, endpoint=not skip_endpoint_check)
        around = replace(around, deadline=deadline_after(max_wait))
        copies = config_output or around.home / "run_configs"
        return _evaluate(prepared, around, wait=wait or max_wait is not None, max_wait=max_wait, copies=copies)


def _evaluate(prepared: Prepared, around: Surroundings, *, wait: bool, max_wait: float | None, copies: Path) -> int:
    """Submit the plan, and wait for the verdict if requested."""
    from nel_action.cli.follow import follow
    from nel_action.driver.evaluation import evaluate

    with stopping(around.stop), closing(evaluate(prepared, around)) as events:
        session = _submit(events, copies)
        if wait or around.stop.is_set():
            return follow(events, session, max_wait=max_wait)
        waiting = " and submits the remaining jobs" if any(not view.submitted for view in session.views()) else ""
    click.echo(f"submitted; nel-action wait {session.invocation.id} brings the verdict{waiting}", err=True)
    return ExitCode.RUNNING


def _submit(events: Events, copies: Path) -> Session:
    """Consume the events up to the submission."""
    from nel_action.cli.follow import print_deferred
    from nel_action.driver.events import Created, Submitted

    for event in events:
        match event:
            case Created(session):
                # NOTE: before anything is submitted, so that the invocation can be continued after any failure.
                _print_created(session)
            case Submitted():
                _copy_spec(event.session, copies)
                for row in event.joined:
                    when = row.started or "an earlier run"
                    click.echo(f"{row.name}: result of {when} is reused (--fresh runs it again)", err=True)
                print_deferred(event)
                return event.session
            case _:
                pass
    raise AssertionError  # pragma: no cover - every evaluation submits


def _print_created(session: Session) -> None:
    count = len(session.invocation.plan.jobs)
    jobs = f"{count} job{'s' if count != 1 else ''}"
    click.echo(f"{jobs} · {session.invocation.executor} · invocation {session.invocation.id}", err=True)


def _copy_spec(session: Session, directory: Path) -> None:
    """Copy the resolved spec, which contains no secret, to where it outlives the run directory."""
    text = session.invocation.files.spec.read_text(encoding="utf-8")
    path = directory / f"{session.invocation.id}.yaml"
    header = f"# again: nel-action run {path} --base-dir {session.invocation.base_dir}\n"
    write_atomically(path, (header + text).encode())
