"""`nel-action resume`."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import click

from nel_action.cli.common import deadline_after, env_file_option, home_dir, max_wait_option, session, stopping
from nel_action.cli.env_file import environment

__all__ = ["resume"]


@click.command()
@click.argument("invocation")
@click.option(
    "--wait/--no-wait", default=False, help="Wait for the verdict; by default return after submission (exit code 5)."
)
@max_wait_option
@env_file_option
def resume(*, invocation: str, env_file: Path | None, wait: bool, max_wait: float | None) -> int:
    """Run the failed and cancelled jobs of INVOCATION again; succeeded and active jobs are left alone."""
    from nel_action.cli.follow import follow as show
    from nel_action.cli.follow import follow_quietly, print_deferred
    from nel_action.driver.evaluation import follow
    from nel_action.driver.events import Submitted
    from nel_action.driver.surroundings import Surroundings

    environ = environment(os.environ, env_file)
    once = not wait and max_wait is None
    around = Surroundings(home=home_dir(), environ=environ, once=once, deadline=deadline_after(max_wait))
    with (
        stopping(around.stop),
        session(invocation, environ) as opened,
        closing(follow(opened, around, retry=True)) as events,
    ):
        submitted = next(events)
        if isinstance(submitted, Submitted):
            names = ", ".join(job.name for job in submitted.jobs) or "nothing to run again"
            click.echo(f"invocation {opened.invocation.id}: {names}", err=True)
            print_deferred(submitted)
        return follow_quietly(events) if once else show(events, opened, max_wait=max_wait)
