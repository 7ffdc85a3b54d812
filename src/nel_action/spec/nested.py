"""Access to nested plain data (dictionaries, lists, text, numbers) by location."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

__all__ = ["MISSING", "Loc", "conflicts", "get", "leaves", "merge", "put", "remove"]

Loc = tuple[str | int, ...]
"""Location in a spec: keys of mappings and indexes of lists."""

MISSING = "???"
"""Placeholder for a value that must still be given."""


def get(data: Any, loc: Sequence[str | int]) -> Any:  # noqa: ANN401 - plain data of any shape
    """Return the value at a location, or None."""
    for part in loc:
        if isinstance(data, dict):
            data = data.get(str(part))
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            data = data[part]
        else:
            return None
    return data


def put(data: dict[str, Any], loc: Loc, value: Any) -> None:  # noqa: ANN401
    """Set the value at a location; anything above it that is no mapping or list is replaced by a mapping.

    Args:
        data: modified in place.
        loc: the location.
        value: the value.
    """
    node: Any = data
    for part in loc[:-1]:
        child = get(node, (part,))
        if not isinstance(child, dict | list):
            child = {}
            _set(node, part, child)
        node = child
    _set(node, loc[-1], value)


def _set(node: Any, part: str | int, value: Any) -> None:  # noqa: ANN401
    if isinstance(node, list) and isinstance(part, int):
        node[part] = value
    elif isinstance(node, dict):
        node[str(part)] = value


def remove(data: dict[str, Any], loc: Loc) -> Any:  # noqa: ANN401
    """Remove and return the value at a location; None if there is none."""
    node = get(data, loc[:-1])
    if isinstance(node, dict):
        return node.pop(str(loc[-1]), None)
    if isinstance(node, list) and isinstance(loc[-1], int) and loc[-1] < len(node):
        return node.pop(loc[-1])
    return None


def merge(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two mappings recursively; `upper` takes precedence, except for `???`, and replaces lists entirely."""
    merged = dict(lower)
    for key, value in upper.items():
        old = merged.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            merged[key] = merge(old, value)
        elif value != MISSING or key not in merged:
            merged[key] = value
    return merged


def conflicts(lower: Any, upper: Any, loc: Loc = ()) -> Iterator[Loc]:  # noqa: ANN401
    """Yield the locations at which one value is a list and the other one a mapping.

    Args:
        lower: plain data.
        upper: plain data.
        loc: location of both.
    """
    if isinstance(lower, dict) and isinstance(upper, dict):
        for key in lower.keys() & upper.keys():
            yield from conflicts(lower[key], upper[key], (*loc, key))
    elif isinstance(lower, dict | list) and isinstance(upper, dict | list) and type(lower) is not type(upper):
        yield loc


def leaves(data: Any, loc: Loc = ()) -> Iterator[tuple[Loc, Any]]:  # noqa: ANN401
    """Yield the location and value of everything that is neither a mapping nor a list."""
    if isinstance(data, dict):
        for key, value in data.items():
            yield from leaves(value, (*loc, key))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            yield from leaves(value, (*loc, index))
    else:
        yield loc, data
