"""Which benchmarks there are. Empty until the data is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nel_action.errors import NotFoundError

__all__ = ["CatalogTask", "catalog", "lookup"]


@dataclass(frozen=True, slots=True)
class CatalogTask:
    """One benchmark."""

    name: str
    harness: str
    adapter: str
    container: str | None
    digest: str | None
    endpoint_types: Sequence[str]
    params: Mapping[str, Any]
    metric: str | None
    higher_is_better: bool | None
    items: int | None
    description: str


def catalog() -> Sequence[CatalogTask]:
    """Return every benchmark."""
    return ()


def lookup(name: str) -> CatalogTask:
    """Find a benchmark.

    Raises:
        NotFoundError: there is none.
    """
    msg = f"no task '{name}'"
    raise NotFoundError(msg)
