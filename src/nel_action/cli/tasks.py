"""What `ls tasks` and `ls task` print."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import click

from nel_action.catalog.lookup import CatalogTask, catalog, entries, lookup, select
from nel_action.errors import NotFoundError

__all__ = ["print_task", "print_tasks"]


def print_tasks(
    words: Sequence[str],
    *,
    harness: str | None,
    from_container: str | None,
    as_json: bool,
    tasks_file: Path | None = None,
) -> int:
    """Print the benchmarks in which all words occur.

    Raises:
        NotFoundError: no such harness, or no such image.
        EngineError: an image was to be asked, and the Docker engine is not there.
    """
    found = select(_source(from_container, tasks_file), words, harness)
    click.echo(json.dumps([_record(task) for task in found], indent=2) if as_json else _table(found))
    return 0


def _source(from_container: str | None, tasks_file: Path | None) -> tuple[CatalogTask, ...]:
    """Return the benchmarks to look among: the catalog's, an image's, or those of a listing."""
    if from_container is not None:
        from nel_action.cli.container_tasks import tasks_of

        return tasks_of(from_container)
    return catalog() if tasks_file is None else _listed(tasks_file)


def _listed(file: Path) -> tuple[CatalogTask, ...]:
    """Read a listing in the launcher's format (`all_tasks_irs.yaml`).

    Raises:
        NotFoundError: it is not there, or is none.
    """
    import yaml

    from nel_action.catalog.convert import annotate, from_launcher

    try:
        listing = yaml.load(file.read_bytes(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 both are safe
        return entries(annotate(from_launcher(listing)))
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        msg = f"{file} is no listing of tasks"
        raise NotFoundError(msg, hint="the launcher has one at resources/all_tasks_irs.yaml") from error


def print_task(name: str, *, as_json: bool, from_container: str | None = None, tasks_file: Path | None = None) -> int:
    """Print one benchmark with everything that is known of it.

    Raises:
        NotFoundError: there is none of that name, or several.
    """
    record = _record(lookup(name, _source(from_container, tasks_file)))
    if as_json:
        click.echo(json.dumps(record, indent=2))
        return 0
    width = max(map(len, record))
    for key, value in record.items():
        if value is not None and value != "":
            click.echo(f"{key:<{width}}  {_plain(value)}")
    return 0


def _record(task: CatalogTask) -> dict[str, object]:
    return {"full_name": task.full_name} | dataclasses.asdict(task)


def _plain(value: object) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case dict():
            return ", ".join(f"{key}={inner}" for key, inner in value.items())
        case tuple() | list():
            return ", ".join(map(str, value))
        case int():
            return f"{value:,}"
        case _:
            return str(value)


def _table(found: Sequence[CatalogTask]) -> str:
    if not found:
        return "no task matches; `nel-action ls tasks` shows all"
    rows = {task: (task.name, "/".join(task.endpoint_types), _metric(task), _items(task)) for task in found}
    widths = [max(len(row[column]) for row in rows.values()) for column in range(4)]
    lines = []
    for harness, tasks in groupby(found, key=lambda task: task.harness):
        members = list(tasks)
        lines.append(f"{harness}  {members[0].container or ''}".rstrip())
        for task in members:
            name, routes, metric, items = (cell.ljust(width) for cell, width in zip(rows[task], widths, strict=True))
            lines.append(f"  {name}  {routes}  {metric}  {items.strip():>{widths[3]}}  {task.description}".rstrip())
    return "\n".join([*lines, "", _count(found)])


def _count(found: Sequence[CatalogTask]) -> str:
    harnesses = len({task.harness for task in found})
    return f"{len(found)} task{'s' * (len(found) != 1)} of {harnesses} harness{'es' * (harnesses != 1)}"


def _metric(task: CatalogTask) -> str:
    """Name the primary metric, with an arrow to where better is."""
    arrow = {True: " ↑", False: " ↓", None: ""}[task.higher_is_better]
    return f"{task.metric}{arrow}" if task.metric else ""


def _items(task: CatalogTask) -> str:
    return "" if task.items is None else f"{task.items:,}"
