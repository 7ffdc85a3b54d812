"""`nel-action kill`."""

from __future__ import annotations

import click

from nel_action.cli.common import select_jobs, session, task_option
from nel_action.errors import ExitCode

__all__ = ["kill"]


@click.command()
@click.argument("invocation")
@task_option
def kill(*, invocation: str, tasks: tuple[str, ...]) -> int:
    """Cancel the jobs of INVOCATION, or of `<invocation>.<n>`, and wait until they have stopped."""
    from nel_action.lifecycle.cancel import cancel
    from nel_action.lifecycle.waiting import refresh

    with session(invocation) as opened:
        refresh(opened)
        indexes = {view.job.index for view in select_jobs(opened, invocation, tasks)}
        views = [view for view in cancel(opened, indexes) if view.job.index in indexes]
    for view in views:
        click.echo(f"{view.job.name}: {view.state.value if view.submitted else 'not submitted'}")
    stopped = all(view.state.final or not view.submitted for view in views)
    return ExitCode.PASS if stopped else ExitCode.UNMEASURABLE
