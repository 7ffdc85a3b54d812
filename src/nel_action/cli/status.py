"""`nel-action status`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from nel_action.cli.common import active_exit_code, session
from nel_action.errors import ExitCode

if TYPE_CHECKING:
    from nel_action.lifecycle.session import JobView, Session

__all__ = ["status"]


@click.command()
@click.argument("invocations", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON list of jobs.")
def status(*, invocations: tuple[str, ...], as_json: bool) -> int:
    """Show where the jobs of INVOCATIONS are, having looked just now.

    \b
    Exit codes: 0 all succeeded, 3 some failed or were cancelled, 5 some still run or could not be seen.
    """  # noqa: D301 - click's mark
    from contextlib import ExitStack

    from nel_action.lifecycle.waiting import refresh_all

    codes, records = [], []
    with ExitStack() as stack:
        opened = [stack.enter_context(session(prefix)) for prefix in invocations]
        for prefix, one, seen in zip(invocations, opened, refresh_all(opened), strict=True):
            views = [view for view in seen if _wanted(view, prefix)]
            codes.append(active_exit_code(views))
            records += [_record(one, view) for view in views]
    click.echo(json.dumps(records, indent=2) if as_json else _table(records))
    return max(codes, key=[ExitCode.PASS, ExitCode.RUNNING, ExitCode.UNMEASURABLE].index)


def _wanted(view: JobView, prefix: str) -> bool:
    """Tell whether `<invocation>.<n>` means this job."""
    _, dot, index = prefix.partition(".")
    return not (dot and index.isdigit()) or view.job.index == int(index)


def _record(opened: Session, view: JobView) -> dict[str, Any]:
    row = view.attempt
    return {
        "job_id": f"{opened.invocation.id}.{view.job.index}",
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


def _table(records: list[dict[str, Any]]) -> str:
    """Line the records up; outside text is kept to one line of printable characters."""
    lines = []
    for record in records:
        items = f"{record['done']}/{record['total'] or '?'}" if record["done"] is not None else ""
        why = " ".join(str(part) for part in (record["reason"], record["detail"]) if part)
        cells = [record["job_id"], record["task"], record["state"], items, f"#{record['attempt']}", why]
        lines.append(["".join(char if char.isprintable() else " " for char in str(cell)) for cell in cells])
    widths = [max(len(line[column]) for line in lines) for column in range(6)] if lines else []
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
