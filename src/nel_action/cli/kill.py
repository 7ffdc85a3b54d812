"""`nel-action kill`."""

from __future__ import annotations

import click

from nel_action.cli.common import select_jobs, session, task_option
from nel_action.errors import ExitCode

__all__ = ["kill"]


@click.command()
@click.argument("invocation")
@task_option
@click.option("--shared", is_flag=True, help="Also cancel jobs of other invocations that INVOCATION joined.")
def kill(*, invocation: str, tasks: tuple[str, ...], shared: bool) -> int:
    """Cancel the jobs of INVOCATION, or of `<invocation>.<n>`, and wait until they have stopped.

    A job of another invocation that INVOCATION joined runs on, and INVOCATION no longer waits for it.
    """
    from nel_action.lifecycle.cancel import DETACHED, cancel
    from nel_action.lifecycle.waiting import refresh

    with session(invocation) as opened:
        refresh(opened)
        indexes = {view.job.index for view in select_jobs(opened, invocation, tasks)}
        views = [view for view in cancel(opened, indexes, shared=shared) if view.job.index in indexes]
    for view in views:
        detached = view.attempt is not None and view.attempt.detail == DETACHED
        state = DETACHED if detached else view.state.value if view.submitted else "not submitted"
        click.echo(f"{view.job.name}: {state}")
    stopped = all(view.state.final or not view.submitted for view in views)
    return ExitCode.PASS if stopped else ExitCode.UNMEASURABLE
