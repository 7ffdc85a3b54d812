"""`nel-action logs`."""

from __future__ import annotations

import click

from nel_action.cli.common import session
from nel_action.cli.select import select_jobs
from nel_action.errors import NotFoundError

__all__ = ["logs"]


@click.command()
@click.argument("invocations", nargs=-1, required=True)
@click.option("-f", "--follow", is_flag=True, help="Go on until the job has ended.")
@click.option("-t", "--task", "tasks", multiple=True, metavar="NAME", help="Only this task; repeatable.")
@click.option("--supervisor", is_flag=True, help="The log of the process that supervises local jobs.")
def logs(*, invocations: tuple[str, ...], follow: bool, tasks: tuple[str, ...], supervisor: bool) -> int:
    """Show what the jobs of INVOCATIONS print; `<invocation>.<n>` shows one."""
    if supervisor and (follow or tasks):
        msg = "--supervisor cannot be combined with --follow or --task"
        raise click.UsageError(msg)
    for invocation in invocations:
        if supervisor:
            _show_supervisor_log(invocation)
        else:
            _show(invocation, tasks, follow=follow, several=len(invocations) > 1)
    return 0


def _show_supervisor_log(invocation: str) -> None:
    """Print the log of an invocation's supervisor.

    Raises:
        NotFoundError: the invocation has no supervisor on this machine, or it never started.
    """
    from nel_action.executors.interface import Supervising
    from nel_action.report.text_table import single_line

    with session(invocation) as opened:
        identity, executor = opened.invocation.id, opened.executor
        if not isinstance(executor, Supervising):
            msg = f"{identity} has no supervisor: it runs on {opened.invocation.executor}, not on this machine"
            raise NotFoundError(msg, hint="omit --supervisor to show the logs of its jobs")
        path = executor.supervisor_log(identity)
        try:
            with path.open(encoding="utf-8", errors="replace") as lines:
                for line in lines:
                    click.echo(single_line(line.rstrip("\n")))
        except FileNotFoundError:
            msg = f"{identity} has no supervisor log: {path} does not exist"
            raise NotFoundError(msg, hint="the supervisor writes it when jobs are submitted") from None


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
