"""Which harness answers to a name: the built-in ones, then other people's."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Final, cast

from nel_action.errors import NotFoundError, UsageError
from nel_action.harnesses.interface import Harness

__all__ = ["BUILT_IN", "GROUP", "harness", "harness_names"]

GROUP: Final = "nel_action.harnesses"
"""The entry-point group for other people's harnesses; each entry names a `Harness` object."""

BUILT_IN: Final[Mapping[str, str]] = MappingProxyType(
    {
        "command": "nel_action.harnesses.command:HARNESS",
        "inspect": "nel_action.harnesses.inspect:HARNESS",
        "lm_eval": "nel_action.harnesses.lm_eval:HARNESS",
        "nemo": "nel_action.harnesses.nemo:HARNESS",
    }
)
"""Name to import string. These are found without reading any installed package's metadata, which takes longer."""


@cache
def harness(name: str) -> Harness:
    """Return the harness of that name (`lm_eval`, `nemo`, `inspect`, `command`, or a plug-in's).

    Raises:
        NotFoundError: nothing answers to the name; the hint has the nearest ones.
        UsageError: a plug-in answers to it, but cannot be imported.
    """
    if name in BUILT_IN:
        module, _, attribute = BUILT_IN[name].partition(":")
        return cast("Harness", getattr(import_module(module), attribute))
    if name in (others := _plugins()):
        return _load(others[name])
    names = harness_names()
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"nearest: {', '.join(near)}" if near else f"there are: {', '.join(names)}"
    msg = f"no harness {name!r}"
    raise NotFoundError(msg, hint=hint)


def harness_names() -> tuple[str, ...]:
    """Return the names of all harnesses, in alphabetical order."""
    return tuple(sorted({*BUILT_IN, *_plugins()}))


def _plugins() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP) if entry.name not in BUILT_IN}


def _load(entry: EntryPoint) -> Harness:
    try:
        return cast("Harness", entry.load())
    except (ImportError, AttributeError) as error:
        package = entry.dist.name if entry.dist else entry.value
        msg = f"harness {entry.name!r} of {package} cannot be loaded: {error}"
        raise UsageError(msg, hint=f"install {package} again, or remove it") from error
