"""Small steps on plain data (dictionaries, lists, text, numbers): get, put, remove, merge, walk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

__all__ = ["MISSING", "Loc", "conflicts", "get", "leaves", "merge", "put", "remove"]

Loc = tuple[str | int, ...]
"""A place in a spec: keys of mappings and indexes of lists."""

MISSING = "???"
"""What stands where a value must still be given."""


def get(data: Any, loc: Sequence[str | int]) -> Any:  # noqa: ANN401 - plain data of any shape
    """Return what is at a place, or None."""
    for part in loc:
        if isinstance(data, dict):
            data = data.get(str(part))
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            data = data[part]
        else:
            return None
    return data


def put(data: dict[str, Any], loc: Loc, value: Any) -> None:  # noqa: ANN401
    """Set a value, making the mappings on the way; what is no mapping on the way is replaced."""
    here: Any = data
    for part in loc[:-1]:
        inner = get(here, (part,))
        if not isinstance(inner, dict | list):
            inner = {}
            _set(here, part, inner)
        here = inner
    _set(here, loc[-1], value)


def _set(holder: Any, part: str | int, value: Any) -> None:  # noqa: ANN401
    if isinstance(holder, list) and isinstance(part, int):
        holder[part] = value
    elif isinstance(holder, dict):
        holder[str(part)] = value


def remove(data: dict[str, Any], loc: Loc) -> Any:  # noqa: ANN401
    """Take a value out and return it; None where there is none."""
    holder = get(data, loc[:-1])
    if isinstance(holder, dict):
        return holder.pop(str(loc[-1]), None)
    if isinstance(holder, list) and isinstance(loc[-1], int) and loc[-1] < len(holder):
        return holder.pop(loc[-1])
    return None


def merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Return both mappings as one, deeply; `above` wins, except where it says `???`; lists are replaced whole."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            merged[key] = merge(old, value)
        elif value != MISSING or key not in merged:
            merged[key] = value
    return merged


def conflicts(below: Any, above: Any, loc: Loc = ()) -> Iterator[Loc]:  # noqa: ANN401
    """Yield the places where a list meets a mapping, which cannot be merged."""
    if isinstance(below, dict) and isinstance(above, dict):
        for key in below.keys() & above.keys():
            yield from conflicts(below[key], above[key], (*loc, key))
    elif isinstance(below, dict | list) and isinstance(above, dict | list) and type(below) is not type(above):
        yield loc


def leaves(data: Any, loc: Loc = ()) -> Iterator[tuple[Loc, Any]]:  # noqa: ANN401
    """Yield every value that is neither mapping nor list, with its place."""
    if isinstance(data, dict):
        for key, value in data.items():
            yield from leaves(value, (*loc, key))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            yield from leaves(value, (*loc, index))
    else:
        yield loc, data
