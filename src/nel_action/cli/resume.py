"""`nel-action resume`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from nel_action.cli.common import env_file_option, session, stopping
from nel_action.cli.env_file import environment
from nel_action.errors import ExitCode

__all__ = ["resume"]


@click.command()
@click.argument("invocation")
@click.option("--wait/--no-wait", default=False, help="Stay until the verdict; otherwise return at once (exit 5).")
@click.option("--max-wait", type=click.FloatRange(min=0), metavar="SECONDS", help="Leave after so long (exit 5).")
@env_file_option
def resume(*, invocation: str, env_file: Path | None, wait: bool, max_wait: float | None) -> int:
    """Run again what did not succeed in INVOCATION; what succeeded or runs is left alone."""
    from nel_action.cli.follow import follow, look_again, told
    from nel_action.lifecycle.submit import resume as place
    from nel_action.lifecycle.waiting import finished, refresh

    with stopping() as stop, session(invocation, environment(os.environ, env_file)) as opened:
        refresh(opened)
        jobs = place(opened)
        names = ", ".join(job.name for job in jobs) or "nothing to run again"
        click.echo(f"invocation {opened.invocation.id}: {names}", err=True)
        views = refresh(opened)
        if finished(views) and not wait:
            return told(opened, views) if look_again(opened, views) is None else ExitCode.RUNNING
        if wait or max_wait is not None:
            return follow(opened, stop=stop, max_wait=max_wait)
    return ExitCode.RUNNING
