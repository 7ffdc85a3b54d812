"""Replacing `${…}` by what it stands for, with each failure told where it is written."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from nel_action.errors import Location, Problem
from nel_action.spec.nested import MISSING, Loc, get, leaves, put
from nel_action.spec.source_positions import dotted, nearest

__all__ = ["interpolate"]

_SIMPLE = re.compile(
    r"\$\{(?:oc\.env:(?P<name>[A-Za-z_][A-Za-z0-9_]*)|(?P<key>[A-Za-z_][\w-]*(?:\.[A-Za-z_][\w-]*)*))\}"
)
_ENVIRONMENT = re.compile(r"\$\{\s*oc\.env\s*:\s*(?P<name>[A-Za-z_][A-Za-z0-9_]*)")
_SECRET = re.compile(r"(^|_)(API_?KEY|KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)(_|$)", re.IGNORECASE)

Locate = Callable[[Loc], Location]


class _DeclinedError(Exception):
    """Not simple; OmegaConf must be asked."""


def interpolate(data: dict[str, Any], environ: Mapping[str, str], locate: Locate) -> list[Problem]:
    """Resolve every interpolation in place; return what could not be resolved, which stays as it is."""
    places = [(loc, value) for loc, value in leaves(data) if isinstance(value, str) and "${" in value]
    refused = {loc: found for loc, value in places if (found := list(_refused(loc, value, environ, locate)))}
    problems = [problem for found in refused.values() for problem in found]
    good = [(loc, value) for loc, value in places if loc not in refused]
    try:
        values = [(loc, _simple(data, value, environ, ())) for loc, value in good]
    except _DeclinedError:
        return problems + _with_omegaconf(data, good, environ, locate)
    for loc, value in values:
        put(data, loc, value)
    return problems


def _refused(loc: Loc, value: str, environ: Mapping[str, str], locate: Locate) -> Iterator[Problem]:
    """Find variables that are not set, and secrets that would end up in the resolved spec."""
    for match in _ENVIRONMENT.finditer(value):
        name = match["name"]
        if _SECRET.search(name):
            hint = "name the variable instead: `env_vars`, or `api_key_name` for the target's key"
            yield Problem(f"{dotted(loc)} would put the value of {name} into the spec", locate(loc), hint)
        elif name not in environ and value[match.end() :].lstrip()[:1] != ",":
            hint = f"set {name}, or write a value here"
            yield Problem(f"the variable {name}, which {dotted(loc)} asks for, is not set", locate(loc), hint)


def _simple(data: dict[str, Any], value: str, environ: Mapping[str, str], seen: tuple[str, ...]) -> Any:  # noqa: ANN401
    """Resolve references to keys and variables as OmegaConf would; decline of everything else."""
    rest = _SIMPLE.sub("", value)
    if "${" in rest or "\\" in value or value in seen:
        raise _DeclinedError
    whole = _SIMPLE.fullmatch(value)
    if whole:
        return _refer(data, whole, environ, (*seen, value))
    return _SIMPLE.sub(lambda match: str(_refer(data, match, environ, (*seen, value))), value)


def _refer(data: dict[str, Any], match: re.Match[str], environ: Mapping[str, str], seen: tuple[str, ...]) -> Any:  # noqa: ANN401
    if match["name"]:
        found: Any = environ.get(match["name"])
        if not isinstance(found, str) or "$" in found or "\\" in found or found == MISSING:
            raise _DeclinedError
        return found
    parts = tuple(match["key"].split("."))
    holder = get(data, parts[:-1])
    if not isinstance(holder, dict) or parts[-1] not in holder:
        raise _DeclinedError
    found = holder[parts[-1]]
    if isinstance(found, dict | list) or found == MISSING:
        raise _DeclinedError
    return _simple(data, found, environ, seen) if isinstance(found, str) and "${" in found else found


def _with_omegaconf(
    data: dict[str, Any], places: list[tuple[Loc, str]], environ: Mapping[str, str], locate: Locate
) -> list[Problem]:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from nel_action.spec.resolvers import register_resolvers

    register_resolvers()
    unreadable = {loc for loc, value in leaves(data) if not _is_readable(value)}
    hint = "write \\${ for a plain ${"
    problems = [
        Problem(f"{dotted(loc)} is no interpolation that can be read", locate(loc), hint)
        for loc, _ in places
        if loc in unreadable
    ]
    readable = json.loads(json.dumps(data))
    for loc in unreadable:
        put(readable, loc, None)
    config = OmegaConf.create(readable)
    values: list[tuple[Loc, Any]] = []
    with _environment(environ):
        for loc in [loc for loc, _ in places if loc not in unreadable]:
            try:
                holder: Any = config
                for part in loc:
                    holder = holder[part]
                plain = OmegaConf.to_container(holder, resolve=True) if OmegaConf.is_config(holder) else holder
            except (OmegaConfBaseException, RecursionError) as error:
                problems += _failure(data, loc, error, locate)
            else:
                values.append((loc, plain))
    for loc, plain in values:
        put(data, loc, plain)
    return problems


def _is_readable(value: object) -> bool:
    """Tell whether OmegaConf can parse a value; one that it cannot would keep all others from being resolved."""
    from omegaconf import OmegaConf
    from omegaconf.errors import GrammarParseError

    try:
        OmegaConf.create([value] if isinstance(value, str) and "${" in value else [])
    except GrammarParseError:
        return False
    return True


def _failure(data: dict[str, Any], loc: Loc, error: Exception, locate: Locate) -> list[Problem]:
    reason = (str(error) or type(error).__name__).splitlines()[0]
    if "recursi" in reason.casefold():
        return [Problem(f"{dotted(loc)} refers to itself", locate(loc))]
    if "InterpolationToMissingValueError" in type(error).__name__ or "MissingMandatoryValue" in reason:
        return []  # NOTE: the gap itself is told, where it is
    match = re.search(r"nterpolation key '([^']*)' not found", reason)
    if match is None:
        return [Problem(f"cannot resolve {dotted(loc)}: {reason}", locate(loc))]
    parent = get(data, match[1].split(".")[:-1])
    near = nearest(match[1].rpartition(".")[2], parent) if isinstance(parent, dict) else None
    meant = f"; did you mean '{'.'.join([*match[1].split('.')[:-1], near])}'?" if near else ""
    return [Problem(f"{dotted(loc)} refers to '{match[1]}', which is not there{meant}", locate(loc))]


@contextmanager
def _environment(environ: Mapping[str, str]) -> Iterator[None]:
    """Let `${oc.env:…}` read from a mapping that need not be this process's environment."""
    from omegaconf import OmegaConf
    from omegaconf.resolvers import oc

    def read(name: str, *default: Any) -> Any:  # noqa: ANN401
        if _SECRET.search(name):
            msg = f"it would put the value of {name} into the spec"
            raise KeyError(msg)
        if name in environ:
            return environ[name]
        if not default:
            msg = f"the variable {name} is not set"
            raise KeyError(msg)
        return None if default[0] is None else str(default[0])

    OmegaConf.register_new_resolver("oc.env", read, replace=True)
    try:
        yield
    finally:
        OmegaConf.register_new_resolver("oc.env", oc.env, replace=True)
