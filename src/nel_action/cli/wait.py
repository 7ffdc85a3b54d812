"""`nel-action wait`."""

from __future__ import annotations

import click

from nel_action.cli.common import session, stopping

__all__ = ["wait"]


@click.command()
@click.argument("invocation")
@click.option("--max-wait", type=click.FloatRange(min=0), metavar="SECONDS", help="Leave after so long (exit 5).")
def wait(*, invocation: str, max_wait: float | None) -> int:
    """Wait for INVOCATION (the beginning of its id, or its run directory), then judge and report it."""
    from nel_action.cli.follow import follow
    from nel_action.lifecycle.submit import submit

    with stopping() as stop, session(invocation) as opened:
        # NOTE: what died between intent and record is settled first; where nothing did, this changes nothing.
        submit(opened)
        return follow(opened, stop=stop, max_wait=max_wait)
