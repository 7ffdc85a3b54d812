"""Benchmarks of the catalog, a container or a launcher listing, as `ls tasks` and `ls task` print them."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from nel_action.catalog.lookup import CatalogTask, catalog, filter_tasks, lookup, parse_catalog
from nel_action.errors import ExecutorError, NotFoundError
from nel_action.formatting import count, plural
from nel_action.report.text_table import Column, render_fields, render_table

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.images import Image

__all__ = ["container_listing", "container_tasks", "print_task", "print_tasks"]

_LIST_FRAMEWORKS: Final = """
import json, pathlib, core_evals
files = [f for d in core_evals.__path__ for f in sorted(pathlib.Path(d).glob("*/framework.yml"))]
print(json.dumps([f.read_text() for f in files]))
"""

_SANDBOX: Final[dict[str, Any]] = {
    "network_mode": "none",
    "read_only": True,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
    "mem_limit": "1g",
    "pids_limit": 64,
}
"""Restrictions for an untrusted image, which only has to print its files."""


def print_tasks(
    terms: Sequence[str],
    *,
    harness: str | None,
    from_container: str | None,
    as_json: bool,
    tasks_file: Path | None = None,
) -> int:
    """Print the benchmarks that match all terms.

    Args:
        terms: parts of name, harness or description.
        harness: the only harness to include.
        from_container: image whose benchmarks are listed in place of the catalog's.
        as_json: print JSON with every field.
        tasks_file: launcher listing that is read in place of the catalog.

    Raises:
        NotFoundError: the harness, the image or the listing does not exist.
        EngineError: the Docker engine is not available.
    """
    tasks = filter_tasks(_load_tasks(from_container, tasks_file), terms, harness)
    click.echo(json.dumps([_record(task) for task in tasks], indent=2) if as_json else _table(tasks))
    return 0


def print_task(name: str, *, as_json: bool, from_container: str | None = None, tasks_file: Path | None = None) -> int:
    """Print every field of one benchmark.

    Args:
        name: `task` or `harness.task`.
        as_json: print JSON.
        from_container: image to search in place of the catalog.
        tasks_file: launcher listing to search in place of the catalog.

    Raises:
        NotFoundError: no benchmark has the name, or several have.
    """
    record = _record(lookup(name, _load_tasks(from_container, tasks_file)))
    if as_json:
        click.echo(json.dumps(record, indent=2))
    else:
        click.echo(render_fields({key: _field(value) for key, value in record.items() if value is not None}))
    return 0


def _load_tasks(from_container: str | None, tasks_file: Path | None) -> tuple[CatalogTask, ...]:
    if from_container is not None:
        return container_tasks(from_container)
    return catalog() if tasks_file is None else _listed_tasks(tasks_file)


def _listed_tasks(path: Path) -> tuple[CatalogTask, ...]:
    """Read a listing of NeMo Evaluator Launcher (`all_tasks_irs.yaml`).

    Raises:
        NotFoundError: the file does not exist or has another format.
    """
    import yaml

    from nel_action.catalog.convert import annotate, from_launcher

    try:
        listing = yaml.load(path.read_bytes(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 both are safe
        return parse_catalog(annotate(from_launcher(listing)))
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        msg = f"{path} is not a task listing"
        raise NotFoundError(msg, hint="the launcher's listing is resources/all_tasks_irs.yaml") from error


def container_tasks(reference: str) -> tuple[CatalogTask, ...]:
    """Return the benchmarks of an image.

    Raises:
        EngineError: the Docker engine is not available.
        NotFoundError: the image does not exist.
        ExecutorError: the image does not implement the nemo-evaluator contract.
    """
    from nel_action.catalog.convert import annotate

    return parse_catalog(annotate(container_listing(reference)))


def container_listing(reference: str) -> dict[str, Any]:
    """Return the benchmarks of an image as catalog data without annotations; pull the image if necessary.

    Raises:
        EngineError: the Docker engine is not available.
        NotFoundError: the image does not exist.
        ExecutorError: the image does not implement the nemo-evaluator contract.
    """
    import yaml

    from nel_action.catalog.convert import from_frameworks
    from nel_action.executors.local.docker.engine import docker_client

    with docker_client(os.environ) as client:
        image = _find_image(client, reference)
        texts = _read_frameworks(client, image, reference)
    digests = [name.partition("@")[2] for name in image.attrs.get("RepoDigests") or ()]
    frameworks = [yaml.safe_load(text) for text in texts]
    return from_frameworks(frameworks, container=reference, digest=digests[0] if digests else None)


def _find_image(client: DockerClient, reference: str) -> Image:
    from docker.errors import APIError, ImageNotFound

    from nel_action.executors.local.docker.engine import error_text

    try:
        return client.images.get(reference)
    except ImageNotFound:
        click.echo(f"pulling {reference} …", err=True)
    try:
        client.images.pull(reference)
        return client.images.get(reference)
    except APIError as error:
        msg = f"cannot pull {reference}: {error_text(error)}"
        raise NotFoundError(msg, hint="check the name, and log in to its registry with `docker login`") from error


def _read_frameworks(client: DockerClient, image: Image, reference: str) -> list[str]:
    """Return the contents of the image's `framework.yml` files."""
    from docker.errors import APIError, ContainerError

    argv = ["python", "-c", _LIST_FRAMEWORKS]
    try:
        output = client.containers.run(image, argv, entrypoint=[], remove=True, **_SANDBOX)
        return [str(text) for text in json.loads(output)]
    except (ContainerError, APIError, ValueError) as error:
        msg = f"{reference} does not list its tasks"
        hint = "the image needs Python and packages in `core_evals`, as nemo-evaluator containers have"
        raise ExecutorError(msg, hint=hint) from error


def _record(task: CatalogTask) -> dict[str, object]:
    return {"full_name": task.full_name} | dataclasses.asdict(task)


def _field(value: object) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case dict():
            return ", ".join(f"{key}={item}" for key, item in value.items())
        case tuple() | list():
            return ", ".join(map(str, value))
        case int():
            return count(value)
        case _:
            return str(value)


def _table(tasks: Sequence[CatalogTask]) -> str:
    """Lay out the tasks under the names of their harnesses."""
    if not tasks:
        return "no task matches; `nel-action ls tasks` lists all tasks"
    columns = ("task", "endpoint types", "metric", Column(header="items", right=True), "description")
    table = render_table(columns, [_row(task) for task in tasks], header=False)
    rows = iter(table.split("\n"))
    lines = []
    for harness, members in groupby(tasks, key=lambda task: task.harness):
        group = list(members)
        lines.append(f"{harness}  {group[0].container or ''}".rstrip())
        lines += [f"  {next(rows)}" for _ in group]
    return "\n".join([*lines, "", _count(tasks)])


def _row(task: CatalogTask) -> tuple[str, str, str, str, str]:
    """Return the cells of a task; an arrow after the metric points in the direction of better values."""
    arrow = {True: " ↑", False: " ↓", None: ""}[task.higher_is_better]
    metric = f"{task.metric}{arrow}" if task.metric else ""
    items = "" if task.items is None else count(task.items)
    return task.name, "/".join(task.endpoint_types), metric, items, task.description


def _count(tasks: Sequence[CatalogTask]) -> str:
    harnesses = len({task.harness for task in tasks})
    return f"{plural(len(tasks), 'task')} of {plural(harnesses, 'harness', 'harnesses')}"
