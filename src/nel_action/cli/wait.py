"""`nel-action wait`."""

from __future__ import annotations

import os
from contextlib import closing

import click

from nel_action.cli.common import deadline_after, home_dir, max_wait_option, session, stopping

__all__ = ["wait"]


@click.command()
@click.argument("invocation")
@max_wait_option
def wait(*, invocation: str, max_wait: float | None) -> int:
    """Wait for INVOCATION (the beginning of its ID, or its run directory), then judge and report it."""
    from nel_action.cli.follow import follow as show
    from nel_action.driver.evaluation import follow
    from nel_action.driver.surroundings import Surroundings

    around = Surroundings(home=home_dir(), environ=os.environ, deadline=deadline_after(max_wait))
    with stopping(around.stop), session(invocation) as opened, closing(follow(opened, around)) as events:
        return show(events, opened, max_wait=max_wait)
