"""Names of benchmarks that were clear in earlier releases of NeMo Evaluator Launcher, and are not any more."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Final

from nel_action.catalog.lookup import CatalogTask, lookup

__all__ = ["FORMER", "former"]

FORMER: Final = Path(__file__).with_name("former.json")


@cache
def _names() -> dict[str, list[str]]:
    data: dict[str, list[str]] = json.loads(FORMER.read_bytes())
    return {name: full for name, full in data.items() if name != "_"}


def former(name: str, route: str | None = None) -> CatalogTask | None:
    """Return the benchmark that a name stood for.

    Args:
        name: `task`, or `harness.task`.
        route: what the endpoint speaks (`chat`); where a name stood for one benchmark on each route, it decides.

    Returns:
        None where the name stood for nothing, or for nothing on that route.
    """
    harness, _, short = name.rpartition(".")
    found = [lookup(full) for full in _names().get(short, ())]
    found = [task for task in found if harness in {"", task.harness} and task.full_name != name]
    # NOTE: one benchmark alone is returned whatever the route, so that what is wrong with the route is told as such.
    fitting = found if len(found) < 2 or route is None else [task for task in found if _speaks(task, route)]  # noqa: PLR2004
    return fitting[0] if fitting else None


def _speaks(task: CatalogTask, route: str) -> bool:
    """Tell whether a task has a route; a completions endpoint may have log-probabilities too."""
    return any(known == route or known.startswith(f"{route}_") for known in task.endpoint_types)
