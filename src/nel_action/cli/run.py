"""`nel-action run`: plan, check, submit, and wait where asked."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from nel_action.cli.common import home_dir, load, spec_options, stopping
from nel_action.errors import ExitCode

if TYPE_CHECKING:
    from nel_action.lifecycle.prepare import Prepared
    from nel_action.lifecycle.session import Session
    from nel_action.spec.compose import LoadedSpec

__all__ = ["run"]


@click.command()
@spec_options
@click.option("--wait/--no-wait", default=False, help="Stay until the verdict; otherwise return at once (exit 5).")
@click.option("--max-wait", type=click.FloatRange(min=0), metavar="SECONDS", help="Leave after so long (exit 5).")
@click.option("-n", "--dry-run", is_flag=True, help="Show the plan and the exact scripts; write and start nothing.")
@click.option("--fresh", is_flag=True, help="Run everything again, whatever was evaluated before.")
@click.option("--skip-endpoint-check", is_flag=True, help="Do not send the target one tiny request first.")
def run(
    *,
    wait: bool,
    max_wait: float | None,
    dry_run: bool,
    fresh: bool,
    skip_endpoint_check: bool,
    **spec: Any,  # noqa: ANN401 - the options of spec_options
) -> int:
    """Run the benchmarks of SPEC.

    What has been evaluated before under the same key (same task, parameters, model and commit) is not evaluated
    again; what runs already is joined.
    """
    from nel_action.lifecycle.prepare import check, prepare
    from nel_action.preflight import check_gate

    loaded = load(spec.pop("spec"), **spec)
    check_gate(loaded.spec, locate=loaded.locate)
    _check_exports(loaded)
    with prepare(loaded, home=home_dir(), environ=os.environ, fresh=fresh, resolve=not dry_run) as prepared:
        if dry_run:
            from nel_action.cli.dry_run import show

            show(prepared)
            return ExitCode.PASS
        from nel_action.conclude import find_baseline

        find_baseline(loaded.spec, folder=loaded.base_dir, home=home_dir())
        check(prepared, endpoint=not skip_endpoint_check)
        return _go(prepared, wait=wait or max_wait is not None, max_wait=max_wait)


def _check_exports(loaded: LoadedSpec) -> None:
    """Tell mistakes in `export:` now; what is only missing so far is a warning."""
    if not loaded.resolved.get("export") and not (loaded.resolved.get("execution") or {}).get("auto_export"):
        return
    from nel_action.exporters.preflight import check_exports

    for problem in check_exports(loaded, os.environ):
        click.echo(f"warning: {problem}", err=True)


def _go(prepared: Prepared, *, wait: bool, max_wait: float | None) -> int:
    """Submit, say under which name, and wait where asked."""
    from nel_action.cli.follow import follow
    from nel_action.ledger import Ledger
    from nel_action.lifecycle.start import start

    with stopping() as stop:
        session = start(prepared, Ledger(home_dir()), on_created=_say_created)
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


def _say_reused(session: Session) -> None:
    """Say which results were there already."""
    for row in session.attempts().values():
        if row.reused:
            click.echo(
                f"{row.name}: taken over from {row.started or 'an earlier run'} (--fresh runs it again)", err=True
            )
