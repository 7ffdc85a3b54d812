"""`nel-action ls`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
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
    """List tasks or runs; without a word, tasks."""
    if context.invoked_subcommand is not None:
        return None
    from nel_action.cli.tasks import print_tasks

    return print_tasks((), harness=None, from_container=from_container, as_json=as_json)


@ls.command()
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="The newest so many.")
@click.option("--executor", help="Only those on this executor.")
@click.option("--since", metavar="WHEN", help="Those made since a date (2026-01-31), or so long ago (30m, 6h, 2d).")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def runs(*, limit: int, executor: str | None, since: str | None, as_json: bool) -> int:
    """List invocations, newest first, with the states of their jobs as last seen."""
    from collections import Counter
    from datetime import datetime

    from nel_action.ledger import Ledger

    ledger = Ledger(home_dir())
    oldest = _moment(since) if since else None
    found = [
        row
        for row in ledger.invocations()
        if executor in {None, row.executor} and (oldest is None or datetime.fromisoformat(row.created) >= oldest)
    ][:limit]
    records = []
    for row in found:
        newest = {attempt.job: attempt.state for attempt in ledger.attempts(row.id)}
        records.append(
            {
                "invocation": row.id,
                "created": row.created,
                "executor": row.executor,
                "spec": row.spec,
                "run_dir": str(row.run_dir),
                "states": dict(Counter(newest.values())),
            }
        )
    ledger.close()
    click.echo(json.dumps(records, indent=2) if as_json else _text(records))
    return 0


def _moment(text: str) -> datetime:
    """Return the moment that `--since` means; a date without a zone is this machine's."""
    from datetime import UTC, datetime, timedelta

    units = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
    if text[-1:] in units and text[:-1].isdigit():
        return datetime.now(UTC) - timedelta(**{units[text[-1]]: int(text[:-1])})
    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError:
        msg = f"--since {text} is neither a date (2026-01-31, 2026-01-31T12:00) nor so long ago (30m, 6h, 2d)"
        raise click.UsageError(msg) from None


def _text(records: Sequence[Mapping[str, object]]) -> str:
    lines = []
    for record in records:
        states = record["states"]
        counts = ", ".join(f"{count} {state}" for state, count in states.items()) if isinstance(states, dict) else ""
        lines.append(f"{record['invocation']}  {record['created']}  {record['executor']}  {counts}  {record['spec']}")
    return "\n".join(lines) or "no runs yet: nel-action run SPEC makes the first"


@ls.command()
@click.argument("words", nargs=-1)
@click.option("--harness", help="Only tasks of this harness.")
@click.option("--from-container", metavar="IMAGE", help="Ask an image what it holds.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def tasks(*, words: tuple[str, ...], harness: str | None, from_container: str | None, as_json: bool) -> int:
    """List benchmarks, or those that match all WORDS."""
    from nel_action.cli.tasks import print_tasks

    return print_tasks(words, harness=harness, from_container=from_container, as_json=as_json)


@ls.command()
@click.argument("name", required=False)
@click.option("--from-container", metavar="IMAGE", help="Ask an image what it holds.")
@click.option("--tasks-file", type=click.Path(path_type=Path), help="Look in a listing of NeMo Evaluator Launcher.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def task(*, name: str | None, from_container: str | None, tasks_file: Path | None, as_json: bool) -> int:
    """Show all that is known of a benchmark, or list them all."""
    from nel_action.cli.tasks import print_task, print_tasks

    if name is None:
        return print_tasks((), harness=None, from_container=from_container, tasks_file=tasks_file, as_json=as_json)
    return print_task(name, from_container=from_container, tasks_file=tasks_file, as_json=as_json)
