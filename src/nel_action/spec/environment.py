"""The rules of `env_vars`: values are references, never secrets, and nothing is resolved into them."""

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
    """Yield every `env_vars` that takes references, with its place."""
    places: list[Loc] = [("env_vars",), ("evaluation", "env_vars"), ("deployment", "env_vars"), ("export", "env_vars")]
    tasks = get(data, ("evaluation", "tasks"))
    places += [
        ("evaluation", "tasks", index, "env_vars") for index in range(len(tasks) if isinstance(tasks, list) else 0)
    ]
    others = data.get("auxiliary_deployments")
    places += [("auxiliary_deployments", name, "env_vars") for name in (others if isinstance(others, dict) else ())]
    for place in places:
        found = get(data, place)
        if isinstance(found, dict):
            yield place, found


def check_environment(data: dict[str, Any], locate: Locate) -> tuple[list[Problem], list[Problem]]:
    """Write what has no prefix with the one that it means, in place; return problems and warnings.

    Must run before interpolation, so that it sees `${oc.env:…}` itself.
    """
    problems: list[Problem] = []
    warnings: list[Problem] = []
    for place, variables in environment_maps(data):
        for name, value in variables.items():
            loc = (*place, name)
            meant = _meant(value)
            if meant is not None:
                variables[name] = meant
                kind = meant.partition(":")[0]
                hint = f"write {name}: {meant}"
                warnings.append(Problem(f"{dotted(loc)} has no prefix; it is read as {kind}:", locate(loc), hint))
            elif message := _refusal(name, value):
                problems.append(Problem(f"{dotted(loc)} {message[0]}", locate(loc), message[1]))
    return problems, warnings


def _meant(value: Any) -> str | None:  # noqa: ANN401 - what YAML gave
    """Return what an earlier way of writing stands for; None where it is a reference already or could be a secret."""
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
    # NOTE: a setting such as `shm`; whatever is longer may be a secret that was pasted here.
    return f"lit:{value}" if _SETTING.match(value) else None


def _refusal(name: str, value: Any) -> tuple[str, str] | None:  # noqa: ANN401 - what YAML gave
    """Say why a value is no reference, without showing it: it may be a secret that was pasted here."""
    if isinstance(value, str) and "${oc." in value:
        return "would put a variable's value into the spec", f"write {name}: host:NAME with the variable's name"
    if isinstance(value, str) and _PREFIX.match(value):
        return None
    if isinstance(value, str) and (match := _DOLLAR_NAME.match(value)):
        return "has no prefix", f"write {name}: host:{match[1]}"
    hint = f"write {name}: host:NAME to read a variable here, runtime:NAME where the job runs, lit:VALUE for plain text"
    if isinstance(value, str):
        return "must begin with host:, lit: or runtime:", hint
    if value is None:
        return "has no value", hint
    return "must be text that begins with host:, lit: or runtime:", hint
