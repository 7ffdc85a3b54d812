"""`nel-action ls`."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nel_action.cli.common import home_dir

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["ls"]


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, hidden=True)
@click.option("--from-container", hidden=True)
@click.pass_context
def ls(context: click.Context, *, as_json: bool, from_container: str | None) -> int | None:
    """List tasks or runs; tasks by default."""
    if context.invoked_subcommand is not None:
        return None
    from nel_action.cli.tasks import print_tasks

    return print_tasks((), harness=None, from_container=from_container, as_json=as_json)


@ls.command()
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="Show at most N invocations.")
@click.option("--executor", help="Only invocations on this executor.")
@click.option("--since", metavar="WHEN", help="Only invocations since a date (2026-01-31) or a duration (30m, 6h, 2d).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def runs(*, limit: int, executor: str | None, since: str | None, as_json: bool) -> int:
    """List invocations, newest first, with the last known states of their jobs."""
    from datetime import datetime

    from nel_action.ledger import Ledger

    earliest = _parse_since(since) if since else None
    ledger = Ledger(home_dir())
    rows = [
        row
        for row in ledger.invocations()
        if executor in {None, row.executor} and (earliest is None or datetime.fromisoformat(row.created) >= earliest)
    ][:limit]
    records: list[dict[str, object]] = []
    tables = []
    for row in rows:
        states = Counter({attempt.job: attempt.state for attempt in ledger.attempts(row.id)}.values())
        records.append(
            {
                "invocation": row.id,
                "created": row.created,
                "executor": row.executor,
                "spec": row.spec,
                "run_dir": str(row.run_dir),
                "states": dict(states),
            }
        )
        counts = ", ".join(f"{count} {state}" for state, count in states.items())
        tables.append((row.id, row.created, row.executor, counts, row.spec))
    ledger.close()
    click.echo(json.dumps(records, indent=2) if as_json else _runs_table(tables))
    return 0


def _parse_since(text: str) -> datetime:
    """Return the moment of `--since`: a duration before now, or a date in the local time zone.

    Raises:
        click.UsageError: the text is neither.
    """
    from datetime import UTC, datetime, timedelta

    units = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
    if text[-1:] in units and text[:-1].isdigit():
        return datetime.now(UTC) - timedelta(**{units[text[-1]]: int(text[:-1])})
    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError:
        msg = f"--since {text} is neither a date (2026-01-31, 2026-01-31T12:00) nor a duration (30m, 6h, 2d)"
        raise click.UsageError(msg) from None


def _runs_table(rows: list[tuple[str, str, str, str, str]]) -> str:
    from nel_action.report.text_table import render_table

    columns = ("invocation", "created", "executor", "states", "spec")
    return render_table(columns, rows, header=False) or "no runs yet; start one with `nel-action run SPEC`"


@ls.command()
@click.argument("terms", metavar="[WORDS]...", nargs=-1)
@click.option("--harness", help="Only tasks of this harness.")
@click.option("--from-container", metavar="IMAGE", help="List the tasks of an image.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def tasks(*, terms: tuple[str, ...], harness: str | None, from_container: str | None, as_json: bool) -> int:
    """List all benchmarks, or those that match all WORDS."""
    from nel_action.cli.tasks import print_tasks

    return print_tasks(terms, harness=harness, from_container=from_container, as_json=as_json)


@ls.command()
@click.argument("name", required=False)
@click.option("--from-container", metavar="IMAGE", help="Search the tasks of an image.")
@click.option("--tasks-file", type=click.Path(path_type=Path), help="Search a listing of NeMo Evaluator Launcher.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def task(*, name: str | None, from_container: str | None, tasks_file: Path | None, as_json: bool) -> int:
    """Show every field of a benchmark, or list all benchmarks."""
    from nel_action.cli.tasks import print_task, print_tasks

    if name is None:
        return print_tasks((), harness=None, from_container=from_container, tasks_file=tasks_file, as_json=as_json)
    return print_task(name, from_container=from_container, tasks_file=tasks_file, as_json=as_json)
