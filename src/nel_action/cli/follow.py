"""Display of an evaluation's events on a terminal or in a log."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nel_action.errors import ExitCode

if TYPE_CHECKING:
    from nel_action.driver.events import Event, Exported, Extended, Submitted
    from nel_action.lifecycle.session import Session
    from nel_action.report.model import Report

__all__ = ["follow", "follow_quietly", "print_deferred"]


def follow(events: Iterable[Event], session: Session, *, max_wait: float | None) -> ExitCode:
    """Show the progress of an evaluation, then its verdict and exports.

    Args:
        events: the events; those up to Submitted may have been consumed.
        session: the invocation.
        max_wait: the time limit in seconds, for the message that it has passed; None if there is none.

    Returns:
        The exit code of the command.
    """
    from nel_action.driver.events import Left, Polled
    from nel_action.report.progress import ProgressView, job_rows

    progress = ProgressView()
    code = ExitCode.RUNNING
    try:
        for event in events:
            if isinstance(event, Polled):
                progress.update(job_rows(event.views))
            if not isinstance(event, Polled) or event.settled:
                progress.close()
            if isinstance(event, Left):
                _print_left(event.code, session.invocation.id, max_wait)
            code = _show(event, code)
    finally:
        progress.close()
    return code


def follow_quietly(events: Iterable[Event]) -> ExitCode:
    """Show verdict and exports of an evaluation if it can be judged now; else print nothing.

    Args:
        events: the events of an evaluation that polls once.

    Returns:
        The exit code of the command.
    """
    code = ExitCode.RUNNING
    for event in events:
        code = _show(event, code)
    return code


def _show(event: Event, code: ExitCode) -> ExitCode:
    """Print what an event reports, and return the exit code so far."""
    from nel_action.driver.events import Exported, Extended, Judged, Left, Reported

    match event:
        case Judged() | Left():
            return event.code
        case Extended():
            _print_extension(event)
        case Reported():
            _print_report(event.report)
        case Exported():
            _print_export(event)
        case _:
            pass
    return code


def print_deferred(event: Submitted) -> None:
    """Print how many jobs have not been submitted yet, and why."""
    for detail in dict.fromkeys(row.detail for row in event.deferred):
        count = sum(row.detail == detail for row in event.deferred)
        click.echo(f"{count} of {len(event.jobs)} jobs {detail}", err=True)


def _print_extension(event: Extended) -> None:
    names = ", ".join(job.task.display for job in event.jobs)
    click.echo(f"failed tasks are run once more with another seed: {names}", err=True)


def _print_report(report: Report) -> None:
    from nel_action.model.run_files import RunFiles
    from nel_action.report.terminal import print_report

    print_report(report, link=_shorten(RunFiles(report.metadata.run_dir or Path()).report_html))


def _print_export(event: Exported) -> None:
    for problem in event.problems:
        click.echo(f"warning: export to {event.destination}: {problem}", err=True)
    if not event.problems:
        click.echo(f"exported to {event.destination}", err=True)


def _print_left(code: ExitCode, invocation: str, max_wait: float | None) -> None:
    reason = "left" if code is ExitCode.CANCELLED or max_wait is None else f"still running after {max_wait:g} s"
    click.echo(f"{reason}; the jobs run on: nel-action wait {invocation} · nel-action kill {invocation}", err=True)


def _shorten(path: Path) -> str:
    """Return a path relative to the current directory if that is shorter."""
    relative = os.path.relpath(path)
    return relative if len(relative) < len(str(path)) else str(path)
