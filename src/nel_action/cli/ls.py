"""`nel-action ls`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import click

from nel_action.cli.common import home_dir

__all__ = ["ls"]


@click.group()
def ls() -> None:
    """List tasks or runs."""


@ls.command()
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="The newest so many.")
@click.option("--executor", help="Only those on this executor.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def runs(*, limit: int, executor: str | None, as_json: bool) -> int:
    """List invocations, newest first, with the states of their jobs as last seen."""
    from collections import Counter

    from nel_action.ledger import Ledger

    ledger = Ledger(home_dir())
    found = [row for row in ledger.invocations() if executor in {None, row.executor}][:limit]
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
@click.option("--from-container", "--from_container", metavar="IMAGE", help="Ask an image what it holds.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def tasks(*, words: tuple[str, ...], harness: str | None, from_container: str | None, as_json: bool) -> int:
    """List benchmarks, or those that match all WORDS."""
    from nel_action.cli.tasks import print_tasks

    return print_tasks(words, harness=harness, from_container=from_container, as_json=as_json)


@ls.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def task(*, name: str, as_json: bool) -> int:
    """Show one benchmark."""
    from nel_action.cli.tasks import print_task

    return print_task(name, as_json=as_json)
