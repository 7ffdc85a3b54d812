"""Composition of a file with its groups and overrides, before interpolation.

Hydra composes everything that a `defaults` list or an override can express, but importing it takes longer than the rest
of a short command. `compose_plain` therefore composes the common specs without Hydra: packaged groups, and overrides
with plain values. It declines everything else and everything that is wrong, so that error messages have one source. A
test verifies that both return the same.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from nel_action.errors import Location, Problem, SpecError
from nel_action.spec.defaults import GROUPS, Entry
from nel_action.spec.introspection import known_below
from nel_action.spec.nested import MISSING, Loc, conflicts, get, merge, put, remove
from nel_action.spec.overrides import Override
from nel_action.spec.source_positions import Document, dotted, nearest, read_group
from nel_action.spec.yaml_loader import mark_location

__all__ = ["DeclinedError", "compose_document", "compose_plain", "compose_with_hydra"]

_KEY = re.compile(r"^[A-Za-z_][A-Za-z0-9_-]*(\.[A-Za-z_][A-Za-z0-9_-]*)*$")
_INTEGER = re.compile(r"^[+-]?(0|[1-9][0-9]*)$")
_FLOAT = re.compile(r"^[+-]?(0|[1-9][0-9]*)\.[0-9]+$")
_TEXT = re.compile(r"^(?!inf$|nan$)(?:[A-Za-z_]|/[A-Za-z_])[A-Za-z0-9_/.:-]*$", re.IGNORECASE)
_CONSTANTS = {"null": None, "true": True, "false": False}


class DeclinedError(Exception):
    """`compose_plain` does not support the file or an override."""


def compose_document(
    document: Document, entries: tuple[Entry, ...], overrides: Sequence[Override]
) -> tuple[dict[str, Any], tuple[Entry, ...]]:
    """Compose a file.

    Args:
        document: the file.
        entries: entries of its `defaults` list.
        overrides: of the command line, except those for tasks.

    Returns:
        The composed data, and the entries that were used.

    Raises:
        SpecError: the file cannot be composed.
    """
    try:
        return compose_plain(document, entries, overrides)
    except DeclinedError:
        _check_kinds(document, entries)
        return compose_with_hydra(document, overrides), entries


def _check_kinds(document: Document, entries: Sequence[Entry]) -> None:
    """Refuse a list in place of a group's mapping, or the reverse; Hydra's message names no position.

    Raises:
        SpecError: there is such a value.
    """
    problems = []
    for entry in entries:
        group = read_group(entry.file).data if entry.file is not None else {}
        for inner in conflicts(group, get(dict(document.data), entry.package)):
            loc = (*entry.package, *inner)
            expected = "a mapping" if isinstance(get(dict(group), inner), dict) else "a list"
            problems.append(Problem(f"{dotted(loc)} must be {expected}", document.position(loc)[0]))
    if problems:
        raise SpecError(problems)


def compose_plain(
    document: Document, entries: Sequence[Entry], overrides: Sequence[Override]
) -> tuple[dict[str, Any], tuple[Entry, ...]]:
    """Compose a file without Hydra.

    Args:
        document: the file.
        entries: entries of its `defaults` list.
        overrides: of the command line, except those for tasks.

    Returns:
        The composed data, equal to Hydra's, and the entries that were used.

    Raises:
        DeclinedError: the file or an override is not supported.
    """
    if "hydra" in document.data or any("@" in comment for comment in _header(document)):
        raise DeclinedError
    chosen = _choose(document, entries, overrides)
    data: dict[str, Any] = {}
    body = {key: value for key, value in document.data.items() if key != "defaults"}
    for entry in chosen:
        layer = body if entry.is_self else {entry.group: dict(read_group(_packaged_file(entry, document)).data)}
        _decline_mixed_types(data, layer)
        data = merge(data, layer)
    for override in overrides:
        if not _is_choice(override, entries):
            _apply(data, override, document.path.parent)
    return data, tuple(chosen)


def _header(document: Document) -> list[str]:
    """Return the comment lines before the first key, in which Hydra reads `@package`."""
    with document.path.open(encoding="utf-8-sig") as lines:
        comments = []
        for line in lines:
            if line.strip() and not line.lstrip().startswith("#"):
                break
            comments.append(line)
    return comments


def _choose(document: Document, entries: Sequence[Entry], overrides: Sequence[Override]) -> list[Entry]:
    """Apply the choices of the command line (`deployment=vllm`), and append `_self_` if the list lacks it."""
    if not all(entry.simple for entry in entries):
        raise DeclinedError
    chosen = list(entries)
    for override in overrides:
        if not _is_choice(override, entries):
            continue
        file = GROUPS / override.key / f"{override.value}.yaml"
        if not re.fullmatch(r"[A-Za-z0-9_/-]+", override.value or "") or not file.is_file():
            raise DeclinedError
        replacement = Entry(override.key, str(override.value), (override.key,), simple=True, file=file)
        chosen = [replacement if entry.group == override.key else entry for entry in chosen]
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


def _packaged_file(entry: Entry, document: Document) -> Path:
    if entry.file is None or not entry.file.is_relative_to(GROUPS) or document.path.is_relative_to(GROUPS):
        raise DeclinedError
    return entry.file


def _decline_mixed_types(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> None:
    """Decline a mapping merged with a list, or with an interpolation, which OmegaConf resolves while it merges."""
    if any(conflicts(lower, upper)):
        raise DeclinedError
    for key, value in upper.items():
        old = lower.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            _decline_mixed_types(old, value)
            continue
        both = (old, value)
        if any(isinstance(item, str) and "${" in item for item in both) and any(
            isinstance(item, dict | list) for item in both
        ):
            raise DeclinedError


def _apply(data: dict[str, Any], override: Override, folder: Path) -> None:
    """Apply an override to the composed data in place."""
    loc = override.loc
    if not _KEY.match(override.key) or any(not isinstance(part, str) for part in loc):
        raise DeclinedError
    if len(loc) == 1 and ((folder / str(loc[0])).exists() or (GROUPS / str(loc[0])).exists() or loc[0] == "hydra"):
        raise DeclinedError
    _decline_unusual_parents(data, loc)
    old = get(data, loc)
    if isinstance(old, dict | list) or (isinstance(old, str) and ("${" in old or old == MISSING)):
        raise DeclinedError
    if override.mode == "delete":
        if old is None or override.value is not None:
            raise DeclinedError
        remove(data, loc)
        return
    if override.mode == "add" and old is not None:
        raise DeclinedError
    if override.mode == "set" and (old is None and str(loc[-1]) not in (get(data, loc[:-1]) or {})):
        raise DeclinedError
    put(data, loc, _parse_value(override.value))


def _decline_unusual_parents(data: dict[str, Any], loc: Loc) -> None:
    """Decline a key whose parents are not all mappings."""
    for depth in range(1, len(loc)):
        parent = get(data, loc[:depth])
        if parent is None and str(loc[depth - 1]) in (get(data, loc[: depth - 1]) or {}):
            raise DeclinedError
        if parent is not None and not isinstance(parent, dict):
            raise DeclinedError


def _parse_value(text: str | None) -> object:
    """Parse a plain value as Hydra's grammar does."""
    text = text or ""
    if text.casefold() in _CONSTANTS:
        return _CONSTANTS[text.casefold()]
    if _INTEGER.match(text):
        return int(text)
    if _FLOAT.match(text):
        return float(text)
    if _TEXT.match(text) and not text.endswith(":"):
        return text
    raise DeclinedError


def compose_with_hydra(document: Document, overrides: Sequence[Override]) -> dict[str, Any]:
    """Compose a file with Hydra.

    Args:
        document: the file.
        overrides: of the command line, except those for tasks.

    Raises:
        SpecError: Hydra cannot compose the file; the message is the first line of Hydra's.
    """
    from hydra import compose, initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from nel_action.spec.interpolate import register_resolvers

    register_resolvers()
    with _config_folder(document.path) as (folder, name, search), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a missing _self_, which Hydra then appends, as it should
        texts = [*map(str, overrides), f"hydra.searchpath=[{','.join(search)}]"]
        try:
            with initialize_config_dir(str(folder), version_base=None):
                composed = compose(name, overrides=texts)
        except (HydraException, OmegaConfBaseException) as error:
            raise SpecError([_hydra_problem(document, overrides, error)]) from None
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            file = Path(mark.name) if mark is not None else document.path
            raise SpecError([Problem("is not YAML", mark_location(file, mark))]) from None
        data = OmegaConf.to_container(composed, resolve=False)
    assert isinstance(data, dict)  # noqa: S101 - Hydra composes mappings
    return {str(key): value for key, value in data.items()}


@contextmanager
def _config_folder(path: Path) -> Iterator[tuple[Path, str, list[str]]]:
    """Yield directory, config name and search path of a file; a name that Hydra cannot parse is copied first."""
    groups = "pkg://nel_action.spec.groups"
    folder = path.parent.absolute()
    if path.suffix == ".yaml" and re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]*", path.stem):
        yield folder, path.stem, [groups]
        return
    with tempfile.TemporaryDirectory(prefix="nel-action-") as copy:
        shutil.copyfile(path, Path(copy, "spec.yaml"))
        quoted = str(folder).replace("\\", "\\\\").replace('"', '\\"')
        yield Path(copy), "spec", [f'"file://{quoted}"', groups]


def _hydra_problem(document: Document, overrides: Sequence[Override], error: Exception) -> Problem:
    """Return Hydra's error as a problem of the override or file that it mentions."""
    text = str(error).strip()
    unparsed = getattr(error, "override", None)  # of an OverrideParseException
    override = next((item for item in overrides if str(item) == unparsed or item.key in text), None)
    if override is not None and unparsed is not None and "Ambiguous" not in text:
        hint = f"put text with special characters in quotes: -o '{override.written}=\"…\"'"
        return Problem(f"cannot parse the value of '{override.written}'", override.location, hint)
    if override is None:
        return Problem(text.splitlines()[0].rstrip("."), Location(document.path))
    if text.startswith("Could not override") and "No match in the defaults list" in text:
        hint = f"add it to the file: `defaults: [{override.key}: {override.value}, _self_]`"
        return Problem(f"the file's defaults list has no '{override.written}' to choose", override.location, hint)
    if text.startswith("Could not override"):
        similar = nearest(str(override.loc[-1]), known_below(override.loc[:-1]))
        suggestion = ".".join([*map(str, override.loc[:-1]), similar or ""])
        hint = f"did you mean '{suggestion}'?" if similar else f"write -o +{override.written}=… to add it"
        return Problem(f"the spec has no '{override.written}' to override", override.location, hint)
    return Problem(text.splitlines()[0].rstrip("."), override.location)
