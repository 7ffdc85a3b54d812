"""Lookup of harnesses by name: the packages next to this module, then plug-ins by entry point."""

from __future__ import annotations

import difflib
import pkgutil
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Final, cast

from nel_action.errors import NotFoundError, UsageError
from nel_action.harnesses.interface import Harness

__all__ = ["BUILT_IN", "GROUP", "harness", "harness_names", "plugin_names"]

GROUP: Final = "nel_action.harnesses"
"""Entry-point group of plug-ins; each entry names a `Harness` object."""

BUILT_IN: Final = tuple(sorted(m.name for m in pkgutil.iter_modules([str(Path(__file__).parent)]) if m.ispkg))
"""Names of the built-in harnesses: each is a package here with a `HARNESS`.

Their lookup reads no metadata of installed packages, which takes longer than most commands.
"""


@cache
def harness(name: str) -> Harness:
    """Return the harness of a name (`lm_eval`, `nemo`, `inspect`, `command`, or a plug-in's).

    Raises:
        NotFoundError: there is no harness of that name; the hint lists similar ones.
        UsageError: the plug-in of that name cannot be imported, or lacks a method.
    """
    if name in BUILT_IN:
        return cast("Harness", import_module(f"nel_action.harnesses.{name}").HARNESS)
    if name in (plugins := _plugins()):
        return _load(plugins[name])
    names = harness_names()
    similar = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    msg = f"no harness {name!r}"
    raise NotFoundError(msg, hint=f"nearest: {', '.join(similar)}" if similar else f"available: {', '.join(names)}")


def harness_names() -> tuple[str, ...]:
    """Return the names of all harnesses in alphabetical order."""
    return tuple(sorted({*BUILT_IN, *_plugins()}))


def plugin_names() -> tuple[str, ...]:
    """Return the names of the plug-ins in alphabetical order; a built-in name cannot be taken."""
    return tuple(sorted(_plugins()))


def _plugins() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP) if entry.name not in BUILT_IN}


def _load(entry: EntryPoint) -> Harness:
    package = entry.dist.name if entry.dist else entry.value
    try:
        loaded = entry.load()
    except (ImportError, AttributeError) as error:
        msg = f"cannot load harness {entry.name!r} of {package}: {error}"
        raise UsageError(msg, hint=f"reinstall or remove {package}") from error
    members = ("name", "requirements", "check", "command", "progress", "read", "detect")
    if missing := [member for member in members if not hasattr(loaded, member)]:
        msg = f"harness {entry.name!r} of {package} lacks {', '.join(missing)}"
        raise UsageError(msg, hint="derive it from nel_action.harnesses.interface.Harness, which has defaults")
    return cast("Harness", loaded)
