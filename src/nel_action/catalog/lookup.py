"""Which benchmarks there are, by name. The data is made by `scripts/refresh-catalog` and read in milliseconds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from nel_action.errors import NotFoundError

__all__ = ["DATA", "CatalogTask", "catalog", "entries", "lookup", "relatives", "search", "select"]

DATA: Final = Path(__file__).with_name("benchmarks.json")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CatalogTask:
    """One benchmark."""

    name: str
    """The task's name in its harness; not unique without the harness's."""
    harness: str
    """The harness that runs it (`lm-evaluation-harness`)."""
    adapter: str = "nemo"
    """How the harness is called: `nemo`, `lm_eval` or `inspect`."""
    container: str | None = None
    """The harness's image, by tag."""
    digest: str | None = None
    """What the tag stood for when the data was made (`sha256:…`)."""
    endpoint_types: Sequence[str] = ()
    """Routes that it can speak to, the preferred one first."""
    params: Mapping[str, Any]
    """Default parameters, as in a spec's `params`."""
    metric: str | None = None
    """The metric that stands for the task, under the name that the harness gives it."""
    higher_is_better: bool | None = None
    items: int | None = None
    """Items of a whole run."""
    counted: bool = False
    """Whether its results say how many items were evaluated; only then can `items` be held against them."""
    description: str = ""
    """What it asks, in a line."""
    source: str | None = None
    """Where `items` is from."""

    @property
    def full_name(self) -> str:
        """`harness.task`, which is unique."""
        return f"{self.harness}.{self.name}"

    @property
    def expected_items(self) -> int | None:
        """Items below which a whole run is not whole; None where its results could not show that."""
        return self.items if self.counted else None


def entries(data: Mapping[str, Any]) -> tuple[CatalogTask, ...]:
    """Return the benchmarks that data of the catalog's shape holds."""
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
    """Return every benchmark, harness by harness."""
    return entries(json.loads(DATA.read_bytes()))


def lookup(name: str, among: Sequence[CatalogTask] | None = None) -> CatalogTask:
    """Find a benchmark by `task` or `harness.task`, in the catalog unless said.

    Raises:
        NotFoundError: there is none, or there are several; the hint has the full names that come next.
    """
    tasks = catalog() if among is None else among
    found = [task for task in tasks if name in {task.full_name, task.name}]
    if len(found) == 1:
        return found[0]
    if found:
        msg = f"{len(found)} tasks are called '{name}'"
        raise NotFoundError(msg, hint=f"write one of {', '.join(task.full_name for task in found)}")
    near = _nearest(name, tasks)
    hint = f"nearest: {', '.join(near)}" if near else "`nel-action ls tasks` shows all"
    msg = f"no task '{name}'"
    raise NotFoundError(msg, hint=hint)


def search(words: Sequence[str] = (), harness: str | None = None) -> tuple[CatalogTask, ...]:
    """Return the benchmarks in whose name, harness or description all words occur, in whatever case.

    Raises:
        NotFoundError: there is no such harness.
    """
    return select(catalog(), words, harness)


def select(tasks: Sequence[CatalogTask], words: Sequence[str], harness: str | None) -> tuple[CatalogTask, ...]:
    """Search among these benchmarks.

    Raises:
        NotFoundError: there is no such harness.
    """
    names = dict.fromkeys(task.harness for task in tasks)
    if harness is not None and harness not in names:
        msg = f"no harness '{harness}'"
        raise NotFoundError(msg, hint=f"there are: {', '.join(names)}")
    wanted = [word.lower() for word in words]
    return tuple(
        task
        for task in tasks
        if harness in {None, task.harness}
        and all(word in f"{task.full_name} {task.description}".lower() for word in wanted)
    )


def relatives(task: CatalogTask, endpoint_type: str) -> tuple[CatalogTask, ...]:
    """Return the harness's tasks of the same family (`gsm8k`, `gsm8k_cot_instruct`) that speak to that route."""
    family = task.name.partition("_")[0]
    return tuple(
        other
        for other in catalog()
        if other.harness == task.harness
        and endpoint_type in other.endpoint_types
        and (other.name == family or other.name.startswith(f"{family}_"))
    )


def _nearest(name: str, tasks: Sequence[CatalogTask]) -> list[str]:
    """Return full names of tasks that are spelt alike."""
    from difflib import get_close_matches

    full = "." in name
    spelling: dict[str, list[str]] = {}
    for task in tasks:
        spelling.setdefault((task.full_name if full else task.name).lower(), []).append(task.full_name)
    close = get_close_matches(name.lower(), spelling, n=3, cutoff=0.6)
    return [one for match in close for one in spelling[match]][:4]
