"""`nel-action logs`."""

from __future__ import annotations

import click

from nel_action.cli.common import session
from nel_action.cli.select import select_jobs

__all__ = ["logs"]


@click.command()
@click.argument("invocations", nargs=-1, required=True)
@click.option("-f", "--follow", is_flag=True, help="Go on until the job has ended.")
@click.option("-t", "--task", "tasks", multiple=True, metavar="NAME", help="Only this task; repeatable.")
def logs(*, invocations: tuple[str, ...], follow: bool, tasks: tuple[str, ...]) -> int:
    """Show what the jobs of INVOCATIONS print; `<invocation>.<n>` shows one."""
    for invocation in invocations:
        _show(invocation, tasks, follow=follow, several=len(invocations) > 1)
    return 0


def _show(invocation: str, tasks: tuple[str, ...], *, follow: bool, several: bool) -> None:
    from nel_action.report.text_table import single_line

    with session(invocation) as opened:
        views = select_jobs(opened, invocation, tasks)
        for view in views:
            if view.attempt is None or view.attempt.backend_id is None:
                click.echo(f"{view.job.name}: not submitted yet", err=True)
                continue
            for line in opened.executor.logs(view.attempt.backend_attempt, follow=follow):
                # NOTE: what jobs print comes from outside; a terminal must not obey it.
                click.echo(f"{view.job.name} | {single_line(line)}" if several or len(views) > 1 else single_line(line))
