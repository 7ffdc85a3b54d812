"""`nel-action run`: plan, check, submit, and wait where asked."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nel_action.cli.common import env_file_option, home_dir, load, spec_options, stopping
from nel_action.cli.env_file import environment
from nel_action.errors import ExitCode
from nel_action.files import write_atomically

if TYPE_CHECKING:
    from nel_action.lifecycle.prepare import Prepared
    from nel_action.lifecycle.session import Session
    from nel_action.spec.compose import LoadedSpec

__all__ = ["run"]


@click.command()
@spec_options
@click.option(
    "--wait/--no-wait",
    default=False,
    envvar="NEL_ACTION_WAIT",
    help="Stay until the verdict; otherwise return at once (exit 5).",
)
@click.option("--max-wait", type=click.FloatRange(min=0), metavar="SECONDS", help="Leave after so long (exit 5).")
@click.option("-n", "--dry-run", is_flag=True, help="Show the plan and the exact scripts; write and start nothing.")
@click.option("--fresh", is_flag=True, help="Run everything again, whatever was evaluated before.")
@env_file_option
@click.option(
    "--config-output", type=click.Path(path_type=Path), metavar="DIR", help="Keep the resolved spec here too."
)
@click.option("--config-mode", type=click.Choice(["hydra", "raw"]), default="hydra", help="`raw`: no -o changes it.")
@click.option("--skip-endpoint-check", is_flag=True, help="Do not send the target one tiny request first.")
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

    What has been evaluated before under the same key (same task, parameters, model and commit) is not evaluated
    again; what runs already is joined.
    """
    from nel_action.driver.preflight import check_gate
    from nel_action.lifecycle.prepare import check, prepare

    if config_mode == "raw" and spec["overrides"]:
        msg = "--config-mode raw takes the file as it is, so -o has nothing to change"
        raise click.UsageError(msg)
    environ = environment(os.environ, env_file)
    loaded = load(spec.pop("spec"), environ=environ, **spec)
    check_gate(loaded.spec, locate=loaded.locate)
    _check_exports(loaded, environ)
    with prepare(loaded, home=home_dir(), environ=environ, fresh=fresh, resolve=not dry_run) as prepared:
        if dry_run:
            from nel_action.cli.dry_run import show

            show(prepared)
            return ExitCode.PASS
        from nel_action.driver.judging import find_baseline

        find_baseline(loaded.spec, folder=loaded.base_dir, home=home_dir())
        check(prepared, endpoint=not skip_endpoint_check)
        copies = config_output or home_dir() / "run_configs"
        return _go(prepared, wait=wait or max_wait is not None, max_wait=max_wait, copies=copies)


def _check_exports(loaded: LoadedSpec, environ: Mapping[str, str]) -> None:
    """Tell mistakes in `export:` now; what is only missing so far is a warning."""
    if not loaded.resolved.get("export") and not (loaded.resolved.get("execution") or {}).get("auto_export"):
        return
    from nel_action.exporters.preflight import check_exports

    for problem in check_exports(loaded, environ):
        click.echo(f"warning: {problem}", err=True)


def _go(prepared: Prepared, *, wait: bool, max_wait: float | None, copies: Path) -> int:
    """Submit, say under which name, and wait where asked."""
    from nel_action.cli.follow import follow
    from nel_action.ledger import Ledger
    from nel_action.lifecycle.launch import start

    with stopping() as stop:
        session = start(prepared, Ledger(home_dir()), on_created=_say_created)
        _keep_spec(session, copies)
        _say_reused(session)
        if wait or stop.is_set():
            return follow(session, stop=stop, max_wait=max_wait)
    click.echo(f"submitted; nel-action wait {session.invocation.id} brings the verdict", err=True)
    return ExitCode.RUNNING


def _say_created(session: Session) -> None:
    """Name the invocation before anything is submitted, so that whatever happens it can be taken up."""
    count = len(session.invocation.plan.jobs)
    jobs = f"{count} job{'s' if count != 1 else ''}"
    click.echo(f"{jobs} · {session.invocation.executor} · invocation {session.invocation.id}", err=True)


def _keep_spec(session: Session, folder: Path) -> None:
    """Copy the resolved spec, which holds no secret, where it outlives the run directory: it runs the same again."""
    text = (session.invocation.run_dir / "spec.yaml").read_text(encoding="utf-8")
    file = folder / f"{session.invocation.id}.yaml"
    head = f"# again: nel-action run {file} --base-dir {session.invocation.base_dir}\n"
    write_atomically(file, (head + text).encode())


def _say_reused(session: Session) -> None:
    """Say which results were there already."""
    for row in session.attempts().values():
        if row.reused:
            click.echo(
                f"{row.name}: taken over from {row.started or 'an earlier run'} (--fresh runs it again)", err=True
            )
