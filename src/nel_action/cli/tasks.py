"""What `ls tasks` and `ls task` print."""

from __future__ import annotations

from collections.abc import Sequence

import click

from nel_action.catalog.lookup import catalog, lookup

__all__ = ["print_task", "print_tasks"]


def print_tasks(
    words: Sequence[str],
    *,
    harness: str | None,
    from_container: str | None,  # noqa: ARG001
    as_json: bool,  # noqa: ARG001
) -> int:
    """Print the benchmarks that match."""
    for task in catalog():
        if all(word in task.name for word in words) and harness in {None, task.harness}:
            click.echo(task.name)
    return 0


def print_task(name: str, *, as_json: bool) -> int:  # noqa: ARG001
    """Print one benchmark."""
    click.echo(lookup(name).name)
    return 0
