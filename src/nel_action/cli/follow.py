"""Waiting in front of a person or a log, and telling how it ended."""

from __future__ import annotations

import time
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

import click

from nel_action.errors import ExitCode

if TYPE_CHECKING:
    from nel_action.lifecycle.session import JobView, Session

__all__ = ["follow", "look_again", "told"]


def follow(session: Session, *, stop: Event, max_wait: float | None) -> ExitCode:
    """Wait with progress; then judge, report and return what the whole means.

    Args:
        session: the invocation.
        stop: set when somebody asks to leave; the jobs go on.
        max_wait: seconds; None waits without end.
    """
    from nel_action.lifecycle.waiting import finished, wait
    from nel_action.report.progress import ProgressView, job_rows

    deadline = None if max_wait is None else time.monotonic() + max_wait
    while True:
        view = ProgressView()
        try:
            views = wait(session, on_look=lambda seen: view.update(job_rows(seen)), stop=stop, deadline=deadline)  # noqa: B023 - called within the turn
        finally:
            view.close()
        if not finished(views):
            break
        again = look_again(session, views)
        if again is None:
            return told(session, views)
        session = again
    name = session.invocation.id
    why = "left" if stop.is_set() else f"still running after {max_wait:g} s"
    click.echo(f"{why}; the jobs go on: nel-action wait {name} · nel-action kill {name}", err=True)
    return ExitCode.CANCELLED if stop.is_set() else ExitCode.RUNNING


def look_again(session: Session, views: list[JobView]) -> Session | None:
    """Start the second runs that the policy asks for, and say so; None where there are none to wait for."""
    from nel_action.driver.confirmation import second_look
    from nel_action.lifecycle.reruns import second_runs

    again = second_look(session, views)
    if again is not None:
        names = ", ".join(job.task.display for job in second_runs(again.invocation.plan))
        click.echo(f"failed, and run once more with another seed before the change is blamed: {names}", err=True)
    return again


def told(session: Session, views: list[JobView]) -> ExitCode:
    """Conclude an invocation and print its scores and verdict."""
    from nel_action.driver.judging import conclude
    from nel_action.report.terminal import print_report

    report = conclude(session, views)
    print_report(report, link=_short(str(session.invocation.run_dir / "report.html")))
    _export(session.invocation.run_dir)
    return ExitCode(report.gate.exit_code)


def _export(run_dir: Path) -> None:
    """Send results where the spec wants them; what goes wrong is said, and changes no verdict."""
    import os

    from nel_action.errors import NelActionError
    from nel_action.exporters.service import auto_export_destinations, export_run

    for destination in auto_export_destinations(run_dir):
        try:
            outcome = export_run(run_dir, destination, os.environ)
            problems = [f"{item.what}: {item.problem}" for item in outcome.items if item.problem]
        except NelActionError as error:
            problems = [str(error)]
        for problem in problems:
            click.echo(f"warning: export to {destination}: {problem}", err=True)
        if not problems:
            click.echo(f"exported to {destination}", err=True)


def _short(path: str) -> str:
    """Return a path relative to where the user is, where that is shorter."""
    import os

    relative = os.path.relpath(path)
    return relative if len(relative) < len(path) else path
