"""Validation of `env_vars`: values are references, never secrets, and are not interpolated."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from nel_action.errors import Location, Problem
from nel_action.spec.nested import Loc, get
from nel_action.spec.source_positions import dotted

__all__ = ["check_environment", "environment_maps"]

_PREFIX = re.compile(r"^(host|lit|runtime):")
_BARE_NAME = re.compile(r"^[A-Z_][A-Z0-9_]*$")
_DOLLAR_PREFIX = re.compile(r"^\$(host|runtime):[A-Za-z_][A-Za-z0-9_]*$")
_SETTING = re.compile(r"^(\d{1,6}|[a-z]{1,5})$")
_DOLLAR_NAME = re.compile(r"^\$\{?([A-Za-z_][A-Za-z0-9_]*)\}?$")

Locate = Callable[[Loc], Location]


def environment_maps(data: dict[str, Any]) -> Iterator[tuple[Loc, dict[str, Any]]]:
    """Yield the location and value of every `env_vars`."""
    locs: list[Loc] = [("env_vars",), ("evaluation", "env_vars"), ("deployment", "env_vars"), ("export", "env_vars")]
    tasks = get(data, ("evaluation", "tasks"))
    locs += [
        ("evaluation", "tasks", index, "env_vars") for index in range(len(tasks) if isinstance(tasks, list) else 0)
    ]
    servers = data.get("auxiliary_deployments")
    locs += [("auxiliary_deployments", name, "env_vars") for name in (servers if isinstance(servers, dict) else ())]
    for loc in locs:
        variables = get(data, loc)
        if isinstance(variables, dict):
            yield loc, variables


def check_environment(data: dict[str, Any], locate: Locate) -> tuple[list[Problem], list[Problem]]:
    """Add the prefixes that earlier notations imply, and check all values; must run before interpolation.

    Args:
        data: the composed spec, modified in place.
        locate: maps a key to its source position.

    Returns:
        Problems and warnings.
    """
    problems: list[Problem] = []
    warnings: list[Problem] = []
    for section, variables in environment_maps(data):
        for name, value in variables.items():
            loc = (*section, name)
            reference = _implied_reference(value)
            if reference is not None:
                variables[name] = reference
                prefix = reference.partition(":")[0]
                hint = f"write {name}: {reference}"
                warnings.append(Problem(f"{dotted(loc)} has no prefix; {prefix}: is assumed", locate(loc), hint))
            elif problem := _refusal(name, value):
                message, hint = problem
                problems.append(Problem(f"{dotted(loc)} {message}", locate(loc), hint))
    return problems, warnings


def _implied_reference(value: Any) -> str | None:  # noqa: ANN401 - what YAML gave
    """Return the reference that an earlier notation means; None for references and for possible secrets."""
    if isinstance(value, bool):
        return f"lit:{str(value).lower()}"
    if isinstance(value, int | float):
        return f"lit:{value}"
    if not isinstance(value, str):
        return None
    if _BARE_NAME.match(value):
        return f"host:{value}"
    if _DOLLAR_PREFIX.match(value):
        return value[1:]
    # NOTE: a setting such as `shm`; a longer text may be a secret.
    return f"lit:{value}" if _SETTING.match(value) else None


def _refusal(name: str, value: Any) -> tuple[str, str] | None:  # noqa: ANN401 - what YAML gave
    """Return message and hint for a value that is no reference, without the value, which may be a secret."""
    if isinstance(value, str) and "${oc." in value:
        return "would put a variable's value into the spec", f"write {name}: host:NAME with the variable's name"
    if isinstance(value, str) and _PREFIX.match(value):
        return None
    if isinstance(value, str) and (match := _DOLLAR_NAME.match(value)):
        return "has no prefix", f"write {name}: host:{match[1]}"
    hint = f"write {name}: host:NAME for a variable of this machine, runtime:NAME for one of the job's, or lit:VALUE"
    if isinstance(value, str):
        return "must begin with host:, lit: or runtime:", hint
    if value is None:
        return "has no value", hint
    return "must be text that begins with host:, lit: or runtime:", hint
