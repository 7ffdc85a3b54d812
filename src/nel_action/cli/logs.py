"""`nel-action logs`."""

from __future__ import annotations

import click

from nel_action.cli.common import select_jobs, session, task_option
from nel_action.errors import NotFoundError

__all__ = ["logs"]


@click.command()
@click.argument("invocations", nargs=-1, required=True)
@click.option("-f", "--follow", is_flag=True, help="Continue until the job has finished.")
@task_option
@click.option("--supervisor", is_flag=True, help="Print the log of the process that supervises local jobs.")
def logs(*, invocations: tuple[str, ...], follow: bool, tasks: tuple[str, ...], supervisor: bool) -> int:
    """Print the logs of the jobs of INVOCATIONS; `<invocation>.<n>` selects one job."""
    if supervisor and (follow or tasks):
        msg = "--supervisor cannot be combined with --follow or --task"
        raise click.UsageError(msg)
    for invocation in invocations:
        if supervisor:
            _print_supervisor_log(invocation)
        else:
            _print_logs(invocation, tasks, follow=follow, several=len(invocations) > 1)
    return 0


def _print_supervisor_log(invocation: str) -> None:
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


def _print_logs(invocation: str, tasks: tuple[str, ...], *, follow: bool, several: bool) -> None:
    from nel_action.report.text_table import single_line

    with session(invocation) as opened:
        views = select_jobs(opened, invocation, tasks)
        for view in views:
            if view.submitted is None:
                click.echo(f"{view.job.name}: not submitted yet", err=True)
                continue
            for line in opened.executor.logs(view.submitted.backend_attempt, follow=follow):
                # NOTE: the output of a job is untrusted and must not control the terminal.
                text = single_line(line)
                click.echo(f"{view.job.name} | {text}" if several or len(views) > 1 else text)
