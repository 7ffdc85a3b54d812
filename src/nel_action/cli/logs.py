"""`nel-action logs`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING

import click

from nel_action.cli.common import select_jobs, session, task_option
from nel_action.errors import NelActionError, NotFoundError

if TYPE_CHECKING:
    from nel_action.executors.interface import Executor
    from nel_action.lifecycle.session import JobView

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
        submitted = [view for view in views if view.submitted is not None]
        for view in views:
            if view.submitted is None:
                click.echo(f"{view.job.name}: not submitted yet", err=True)
        for view, line in _lines(opened.executor, submitted, follow=follow):
            # NOTE: the output of a job is untrusted and must not control the terminal.
            text = single_line(line)
            click.echo(f"{view.job.name} | {text}" if several or len(views) > 1 else text)


def _lines(executor: Executor, views: Sequence[JobView], *, follow: bool) -> Iterator[tuple[JobView, str]]:
    """Yield the lines of the logs of jobs; those of local jobs as they are written if they are followed."""
    from nel_action.executors.interface import Supervising

    if not (follow and len(views) > 1 and isinstance(executor, Supervising)):
        for view in views:
            if (row := view.submitted) is not None:
                yield from ((view, line) for line in executor.logs(row.backend_attempt, follow=follow))
        return
    queue: SimpleQueue[tuple[JobView, str | None]] = SimpleQueue()
    for view in views:
        Thread(target=_follow, args=(executor, view, queue), daemon=True).start()
    remaining = len(views)
    while remaining:
        view, text = queue.get()
        if text is None:
            remaining -= 1
        else:
            yield view, text


def _follow(executor: Executor, view: JobView, queue: SimpleQueue[tuple[JobView, str | None]]) -> None:
    """Put the lines of one log into a queue, then None."""
    try:
        if (row := view.submitted) is not None:
            for line in executor.logs(row.backend_attempt, follow=True):
                queue.put((view, line))
    except (NelActionError, OSError) as error:
        queue.put((view, f"cannot read the log: {error}"))
    finally:
        queue.put((view, None))
