"""Interpolation: replacement of `${…}` by OmegaConf, with the source position of each failure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from nel_action.errors import Location, Problem
from nel_action.spec.nested import Loc, get, leaves, put
from nel_action.spec.source_positions import dotted, nearest

__all__ = ["interpolate", "register_resolvers"]

_ENVIRONMENT = re.compile(r"\$\{\s*oc\.env\s*:\s*(?P<name>[A-Za-z_][A-Za-z0-9_]*)")
_SECRET = re.compile(r"(^|_)(API_?KEY|KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)(_|$)", re.IGNORECASE)
"""Names of variables whose values must not become part of a spec."""

Locate = Callable[[Loc], Location]


def interpolate(data: dict[str, Any], environ: Mapping[str, str], locate: Locate) -> list[Problem]:
    """Replace all interpolations in place.

    Args:
        data: the composed spec.
        environ: variables for `${oc.env:NAME}`.
        locate: maps a key to its source position.

    Returns:
        The interpolations that failed; their text is left unchanged.
    """
    values = [(loc, value) for loc, value in leaves(data) if isinstance(value, str) and "${" in value]
    if not values:
        return []
    refused = {loc: list(_check_variables(loc, value, environ, locate)) for loc, value in values}
    problems = [problem for group in refused.values() for problem in group]
    return problems + _resolve(data, [loc for loc, _ in values if not refused[loc]], environ, locate)


def _check_variables(loc: Loc, value: str, environ: Mapping[str, str], locate: Locate) -> Iterator[Problem]:
    """Yield variables that are not set, and secrets that would become part of the resolved spec."""
    for match in _ENVIRONMENT.finditer(value):
        name = match["name"]
        if _SECRET.search(name):
            hint = "name the variable instead: `env_vars`, or `api_key_name` for the target's key"
            yield Problem(f"{dotted(loc)} would put the value of {name} into the spec", locate(loc), hint)
        elif name not in environ and value[match.end() :].lstrip()[:1] != ",":
            hint = f"set {name}, or write a value here"
            yield Problem(f"{dotted(loc)} refers to the variable {name}, which is not set", locate(loc), hint)


def _resolve(data: dict[str, Any], locs: list[Loc], environ: Mapping[str, str], locate: Locate) -> list[Problem]:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    register_resolvers()
    malformed = {loc for loc, value in leaves(data) if not _is_parsable(value)}
    hint = "write \\${ for a literal ${"
    problems = [
        Problem(f"{dotted(loc)} is not a valid interpolation", locate(loc), hint) for loc in locs if loc in malformed
    ]
    parsable = json.loads(json.dumps(data))
    for loc in malformed:
        put(parsable, loc, None)
    config = OmegaConf.create(parsable)
    values: list[tuple[Loc, Any]] = []
    with _environment(environ):
        for loc in [loc for loc in locs if loc not in malformed]:
            try:
                node: Any = config
                for part in loc:
                    node = node[part]
                value = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
            except (OmegaConfBaseException, RecursionError) as error:
                problems += _failure(data, loc, error, locate)
            else:
                values.append((loc, value))
    for loc, value in values:
        put(data, loc, value)
    return problems


def _is_parsable(value: object) -> bool:
    """Whether OmegaConf can parse a value; otherwise it would resolve no other value either."""
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
        return []  # NOTE: the missing value itself is reported at its own position.
    match = re.search(r"nterpolation key '([^']*)' not found", reason)
    if match is None:
        return [Problem(f"{dotted(loc)} cannot be resolved: {reason}", locate(loc))]
    parent = get(data, match[1].split(".")[:-1])
    similar = nearest(match[1].rpartition(".")[2], parent) if isinstance(parent, dict) else None
    suggestion = f"; did you mean '{'.'.join([*match[1].split('.')[:-1], similar])}'?" if similar else ""
    return [Problem(f"{dotted(loc)} refers to '{match[1]}', which does not exist{suggestion}", locate(loc))]


@contextmanager
def _environment(environ: Mapping[str, str]) -> Iterator[None]:
    """Let `${oc.env:…}` read from a mapping instead of the process's environment."""
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


def register_resolvers() -> None:
    """Register the resolver `${select_not_null:KEY,DEFAULT}` of the launcher's configs, if it does not exist yet."""
    from omegaconf import OmegaConf

    if not OmegaConf.has_resolver("select_not_null"):
        OmegaConf.register_new_resolver("select_not_null", _select_not_null)


def _select_not_null(key: str, default: Any, *, _root_: Any) -> Any:  # noqa: ANN401 - values of any type
    """Return the value of a key, or the default if the value is missing or null."""
    from omegaconf import OmegaConf

    value = OmegaConf.select(_root_, key, throw_on_resolution_failure=False, throw_on_missing=False)
    return default if value is None else value
