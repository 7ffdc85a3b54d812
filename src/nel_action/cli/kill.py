"""`nel-action kill`."""

from __future__ import annotations

import click

from nel_action.cli.common import session
from nel_action.cli.select import select_jobs
from nel_action.errors import ExitCode

__all__ = ["kill"]


@click.command()
@click.argument("invocation")
@click.option("-t", "--task", "tasks", multiple=True, metavar="NAME", help="Only this task; repeatable.")
def kill(*, invocation: str, tasks: tuple[str, ...]) -> int:
    """End the jobs of INVOCATION, or `<invocation>.<n>`, and see that they ended."""
    from nel_action.lifecycle.cancel import cancel
    from nel_action.lifecycle.waiting import refresh

    with session(invocation) as opened:
        refresh(opened)
        wanted = {view.job.index for view in select_jobs(opened, invocation, tasks)}
        views = [view for view in cancel(opened, wanted) if view.job.index in wanted]
    never = [view.attempt is None or view.attempt.backend_id is None for view in views]
    for view, absent in zip(views, never, strict=True):
        click.echo(f"{view.job.name}: {'not submitted' if absent else view.state.value}")
    ended = all(view.state.final or absent for view, absent in zip(views, never, strict=True))
    return ExitCode.PASS if ended else ExitCode.UNMEASURABLE
