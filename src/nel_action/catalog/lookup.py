"""Lookup of benchmarks by name; `scripts/refresh-catalog` generates the data, which loads in milliseconds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from nel_action.errors import NotFoundError

__all__ = [
    "DATA",
    "FORMER_NAMES",
    "CatalogTask",
    "catalog",
    "filter_tasks",
    "lookup",
    "lookup_former_name",
    "parse_catalog",
    "relatives",
]

DATA: Final = Path(__file__).with_name("benchmarks.json")
FORMER_NAMES: Final = Path(__file__).with_name("former_names.json")
"""Names that were unambiguous in earlier releases of NeMo Evaluator Launcher, with the tasks that they denoted."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CatalogTask:
    """One benchmark."""

    name: str
    """Name in the harness; unique only together with `harness`."""
    harness: str
    """The program that runs it (`lm-evaluation-harness`)."""
    adapter: str = "nemo"
    """Name of the nel-action harness that calls the program: `nemo`, `lm_eval` or `inspect`."""
    container: str | None = None
    """Image with the program, by tag."""
    digest: str | None = None
    """Digest of the tag when the data was generated (`sha256:…`)."""
    endpoint_types: Sequence[str] = ()
    """Supported endpoint types, the preferred one first."""
    params: Mapping[str, Any]
    """Default parameters, as in `params` of a spec."""
    metric: str | None = None
    """The primary metric, under its name in the harness."""
    higher_is_better: bool | None = None
    items: int | None = None
    """Items of the data set."""
    counted: bool = False
    """Whether results contain the number of evaluated items, which `items` can then be compared with."""
    description: str = ""
    """One line."""
    source: str | None = None
    """Reference for `items`."""

    @property
    def full_name(self) -> str:
        """The unique name, `harness.task`."""
        return f"{self.harness}.{self.name}"

    @property
    def expected_items(self) -> int | None:
        """Items that a complete run evaluates; None if its results do not contain their number."""
        return self.items if self.counted else None


def parse_catalog(data: Mapping[str, Any]) -> tuple[CatalogTask, ...]:
    """Return the benchmarks in data of the catalog's structure (`convert.dump`)."""
    harnesses = data["harnesses"]
    return tuple(
        CatalogTask(
            name=task["name"],
            harness=task["harness"],
            container=harnesses[task["harness"]]["container"],
            digest=harnesses[task["harness"]]["digest"],
            endpoint_types=tuple(task["routes"]),
            params=task["params"],
            metric=task.get("metric"),
            higher_is_better=task.get("higher_is_better"),
            items=task.get("items"),
            counted=task["harness"] in data.get("counted", ()),
            description=task.get("about", ""),
            source=task.get("source"),
        )
        for task in data["tasks"]
    )


@cache
def catalog() -> tuple[CatalogTask, ...]:
    """Return all benchmarks, grouped by harness."""
    return parse_catalog(json.loads(DATA.read_bytes()))


def lookup(name: str, tasks: Sequence[CatalogTask] | None = None) -> CatalogTask:
    """Return the benchmark of a name.

    Args:
        name: `task` or `harness.task`.
        tasks: the benchmarks to search, by default the catalog.

    Raises:
        NotFoundError: no benchmark has the name, or several have; the hint lists similar or full names.
    """
    tasks = catalog() if tasks is None else tasks
    matches = [task for task in tasks if name in {task.full_name, task.name}]
    if len(matches) == 1:
        return matches[0]
    if matches:
        msg = f"task name {name!r} is ambiguous: {len(matches)} harnesses have it"
        raise NotFoundError(msg, hint=f"use one of {', '.join(task.full_name for task in matches)}")
    similar = _similar_names(name, tasks)
    hint = f"nearest: {', '.join(similar)}" if similar else "`nel-action ls tasks` lists all tasks"
    msg = f"no task {name!r}"
    raise NotFoundError(msg, hint=hint)


def _similar_names(name: str, tasks: Sequence[CatalogTask]) -> list[str]:
    """Return the full names of up to four tasks with a similar spelling."""
    from difflib import get_close_matches

    qualified = "." in name
    full_names: dict[str, list[str]] = {}
    for task in tasks:
        full_names.setdefault((task.full_name if qualified else task.name).lower(), []).append(task.full_name)
    matches = get_close_matches(name.lower(), full_names, n=3, cutoff=0.6)
    return [full_name for match in matches for full_name in full_names[match]][:4]


@cache
def _former_names() -> dict[str, list[str]]:
    data: dict[str, list[str]] = json.loads(FORMER_NAMES.read_bytes())
    return {name: full_names for name, full_names in data.items() if name != "_"}


def lookup_former_name(name: str, endpoint_type: str | None = None) -> CatalogTask | None:
    """Return the benchmark that a name denoted in earlier releases of NeMo Evaluator Launcher.

    Args:
        name: `task` or `harness.task`.
        endpoint_type: of the target (`chat`); selects one of several benchmarks that a name denoted.

    Returns:
        None if the name denoted no benchmark, or none for the endpoint type.
    """
    harness, _, short_name = name.rpartition(".")
    tasks = [lookup(full_name) for full_name in _former_names().get(short_name, ())]
    tasks = [task for task in tasks if harness in {"", task.harness} and task.full_name != name]
    # NOTE: a single benchmark is returned for any endpoint type, so that a mismatch is reported as such.
    if len(tasks) > 1 and endpoint_type is not None:
        tasks = [task for task in tasks if _supports(task, endpoint_type)]
    return tasks[0] if tasks else None


def _supports(task: CatalogTask, endpoint_type: str) -> bool:
    """Return whether a task supports an endpoint type; `completions` includes `completions_logprobs`."""
    return any(known == endpoint_type or known.startswith(f"{endpoint_type}_") for known in task.endpoint_types)


def filter_tasks(tasks: Sequence[CatalogTask], terms: Sequence[str], harness: str | None) -> tuple[CatalogTask, ...]:
    """Return the benchmarks whose name, harness or description contain all terms, ignoring case.

    Args:
        tasks: the benchmarks to search.
        terms: the terms; none matches every benchmark.
        harness: the only harness to include.

    Raises:
        NotFoundError: no benchmark belongs to the harness.
    """
    harnesses = dict.fromkeys(task.harness for task in tasks)
    if harness is not None and harness not in harnesses:
        msg = f"no harness {harness!r}"
        raise NotFoundError(msg, hint=f"available: {', '.join(harnesses)}")
    return tuple(
        task
        for task in tasks
        if harness in {None, task.harness}
        and all(term.lower() in f"{task.full_name} {task.description}".lower() for term in terms)
    )


def relatives(task: CatalogTask, endpoint_type: str) -> tuple[CatalogTask, ...]:
    """Return the tasks of the same harness and family (`gsm8k`, `gsm8k_cot_instruct`) for an endpoint type."""
    family = task.name.partition("_")[0]
    return tuple(
        other
        for other in catalog()
        if other.harness == task.harness
        and endpoint_type in other.endpoint_types
        and (other.name == family or other.name.startswith(f"{family}_"))
    )
