"""`nel-action status`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from nel_action.cli.common import session
from nel_action.errors import ExitCode

if TYPE_CHECKING:
    from nel_action.lifecycle.session import JobView, Session

__all__ = ["status"]


@click.command()
@click.argument("invocations", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list of jobs.")
def status(*, invocations: tuple[str, ...], as_json: bool) -> int:
    """Poll the jobs of INVOCATIONS once and print their states.

    \b
    Exit codes: 0 all succeeded, 3 some failed or were cancelled, 5 some are active or could not be observed.
    """  # noqa: D301 - click's mark
    from contextlib import ExitStack

    from nel_action.lifecycle.waiting import refresh_all

    codes, records = [], []
    with ExitStack() as stack:
        sessions = [stack.enter_context(session(reference)) for reference in invocations]
        for reference, opened, observed in zip(invocations, sessions, refresh_all(sessions), strict=True):
            views = [view for view in observed if _selected(view, reference)]
            codes.append(_exit_code(views))
            records += [_record(opened, view) for view in views]
    click.echo(json.dumps(records, indent=2) if as_json else _table(records))
    return max(codes, key=[ExitCode.PASS, ExitCode.RUNNING, ExitCode.UNMEASURABLE].index)


def _selected(view: JobView, reference: str) -> bool:
    """Return whether `<invocation>` or `<invocation>.<n>` refers to a job."""
    _, dot, index = reference.partition(".")
    return not (dot and index.isdigit()) or view.job.index == int(index)


def _exit_code(views: Sequence[JobView]) -> ExitCode:
    from nel_action.model.job import JobState

    states = {view.state for view in views}
    if states & {JobState.FAILED, JobState.CANCELLED}:
        return ExitCode.UNMEASURABLE
    return ExitCode.PASS if states <= {JobState.SUCCEEDED} else ExitCode.RUNNING


def _record(opened: Session, view: JobView) -> dict[str, Any]:
    row = view.attempt
    return {
        "job_id": opened.invocation.job_id(view.job),
        "task": view.job.name,
        "model": view.job.model,
        "state": view.state.value,
        "reason": row.reason if row else None,
        "detail": row.detail if row else None,
        "attempt": row.number if row else 0,
        "done": view.progress.done if view.progress else None,
        "total": view.progress.total if view.progress else None,
        "exit_code": row.exit_code if row else None,
        "started": row.started if row else None,
        "ended": row.ended if row else None,
        "executor": opened.invocation.executor,
        "backend_id": row.backend_id if row else None,
        "key": str(view.job.key),
    }


def _table(records: Sequence[dict[str, Any]]) -> str:
    from nel_action.report.text_table import render_table

    columns = ("job", "task", "state", "items", "attempt", "reason")
    return render_table(columns, [_row(record) for record in records], header=False)


def _row(record: dict[str, Any]) -> list[str]:
    items = f"{record['done']}/{record['total'] or '?'}" if record["done"] is not None else ""
    reason = " ".join(str(part) for part in (record["reason"], record["detail"]) if part)
    return [record["job_id"], record["task"], record["state"], items, f"#{record['attempt']}", reason]
