"""A short way through composition for the usual spec, several times as fast as importing Hydra.

It knows files whose `defaults` list only chooses packaged groups, and overrides with plain values. Of anything else
it declines, and Hydra is asked; so are all mistakes, so that there is one place where messages about them are made.
That both ways give the same is shown by tests/spec/test_plain_compose.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nel_action.spec.defaults import GROUPS, Entry
from nel_action.spec.nested import MISSING, Loc, conflicts, get, merge, put, remove
from nel_action.spec.overrides import Override
from nel_action.spec.source_positions import Document, read_group

__all__ = ["DeclinedError", "compose_plain"]

_KEY = re.compile(r"^[A-Za-z_][A-Za-z0-9_-]*(\.[A-Za-z_][A-Za-z0-9_-]*)*$")
_INTEGER = re.compile(r"^[+-]?(0|[1-9][0-9]*)$")
_FLOAT = re.compile(r"^[+-]?(0|[1-9][0-9]*)\.[0-9]+$")
_TEXT = re.compile(r"^(?!inf$|nan$)(?:[A-Za-z_]|/[A-Za-z_])[A-Za-z0-9_/.:-]*$", re.IGNORECASE)
_WORDS = {"null": None, "true": True, "false": False}


class DeclinedError(Exception):
    """Not a case for the short way."""


def compose_plain(
    document: Document, entries: Sequence[Entry], overrides: Sequence[Override]
) -> tuple[dict[str, Any], tuple[Entry, ...]]:
    """Return what Hydra would return, before interpolation, and the entries that were used.

    Raises:
        DeclinedError: Hydra must be asked.
    """
    if "hydra" in document.data or any("@" in comment for comment in _header(document)):
        raise DeclinedError
    chosen = _choose(document, entries, overrides)
    data: dict[str, Any] = {}
    own = {key: value for key, value in document.data.items() if key != "defaults"}
    for entry in chosen:
        layer = own if entry.is_self else {entry.group: dict(read_group(_packaged(entry, document)).data)}
        _refuse_mixtures(data, layer)
        data = merge(data, layer)
    for override in overrides:
        if not _is_choice(override, entries):
            _apply(data, override, document.path.parent)
    return data, tuple(chosen)


def _header(document: Document) -> list[str]:
    """Return the comment lines before the first key, where Hydra looks for `@package`."""
    with document.path.open(encoding="utf-8-sig") as lines:
        found = []
        for line in lines:
            if line.strip() and not line.lstrip().startswith("#"):
                break
            found.append(line)
    return found


def _choose(document: Document, entries: Sequence[Entry], overrides: Sequence[Override]) -> list[Entry]:
    """Apply choices of the command line (`deployment=vllm`), and put the file last unless it says where it goes."""
    if not all(entry.simple for entry in entries):
        raise DeclinedError
    chosen = list(entries)
    for override in overrides:
        if not _is_choice(override, entries):
            continue
        file = GROUPS / override.key / f"{override.value}.yaml"
        if not re.fullmatch(r"[A-Za-z0-9_/-]+", override.value or "") or not file.is_file():
            raise DeclinedError
        replaced = Entry(override.key, str(override.value), (override.key,), simple=True, file=file)
        chosen = [replaced if entry.group == override.key else entry for entry in chosen]
    groups = [entry.group for entry in chosen if not entry.is_self]
    if len(set(groups)) != len(groups) or sum(entry.is_self for entry in chosen) > 1:
        raise DeclinedError
    if any((document.path.parent / group).exists() for group in groups):
        raise DeclinedError
    if not any(entry.is_self for entry in chosen):
        chosen.append(Entry("", "_self_", (), simple=True))
    return chosen


def _is_choice(override: Override, entries: Sequence[Entry]) -> bool:
    return override.mode == "set" and any(entry.group == override.key for entry in entries)


def _packaged(entry: Entry, document: Document) -> Path:
    if entry.file is None or not entry.file.is_relative_to(GROUPS) or document.path.is_relative_to(GROUPS):
        raise DeclinedError
    return entry.file


def _refuse_mixtures(below: Mapping[str, Any], above: Mapping[str, Any]) -> None:
    """Decline where a mapping meets a list, or an interpolation, which OmegaConf resolves while it merges."""
    if any(conflicts(below, above)):
        raise DeclinedError
    for key, value in above.items():
        old = below.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            _refuse_mixtures(old, value)
            continue
        both = (old, value)
        if any(isinstance(one, str) and "${" in one for one in both) and any(
            isinstance(one, dict | list) for one in both
        ):
            raise DeclinedError


def _apply(data: dict[str, Any], override: Override, folder: Path) -> None:
    loc = override.loc
    if not _KEY.match(override.key) or any(not isinstance(part, str) for part in loc):
        raise DeclinedError
    if len(loc) == 1 and ((folder / str(loc[0])).exists() or (GROUPS / str(loc[0])).exists() or loc[0] == "hydra"):
        raise DeclinedError
    _refuse_odd_ways(data, loc)
    there = get(data, loc)
    if isinstance(there, dict | list) or (isinstance(there, str) and ("${" in there or there == MISSING)):
        raise DeclinedError
    if override.mode == "delete":
        if there is None or override.value is not None:
            raise DeclinedError
        remove(data, loc)
        return
    if override.mode == "add" and there is not None:
        raise DeclinedError
    if override.mode == "set" and (there is None and str(loc[-1]) not in (get(data, loc[:-1]) or {})):
        raise DeclinedError
    put(data, loc, _value(override.value))


def _refuse_odd_ways(data: dict[str, Any], loc: Loc) -> None:
    """Decline where the way to a key leads over something other than mappings."""
    for depth in range(1, len(loc)):
        step = get(data, loc[:depth])
        if step is None and str(loc[depth - 1]) in (get(data, loc[: depth - 1]) or {}):
            raise DeclinedError
        if step is not None and not isinstance(step, dict):
            raise DeclinedError


def _value(text: str | None) -> object:
    """Read a plain value as Hydra's grammar does."""
    text = text or ""
    if text.casefold() in _WORDS:
        return _WORDS[text.casefold()]
    if _INTEGER.match(text):
        return int(text)
    if _FLOAT.match(text):
        return float(text)
    if _TEXT.match(text) and not text.endswith(":"):
        return text
    raise DeclinedError
