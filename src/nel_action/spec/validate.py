"""Validation of a resolved spec, with pydantic's errors converted to messages for users."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from nel_action.errors import Location, Problem
from nel_action.spec.deployment import DEPLOYMENT_TYPES, PluginDeployment, ServedDeployment
from nel_action.spec.introspection import data_location, fields_of, paths_of
from nel_action.spec.model import EXECUTOR_TYPES, PluginExecution, Spec
from nel_action.spec.nested import MISSING, Loc, get, leaves
from nel_action.spec.source_positions import Sources, dotted, nearest

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

__all__ = ["check_spec", "missing_values", "validate", "validate_part"]

Locate = Callable[[Loc], Location]
Model = TypeVar("Model", bound=BaseModel)

MAX_LISTED_KEYS = 12
"""Keys of a mapping that a hint lists; more do not fit on a line."""

_EXPECTED = {
    "string_type": "text",
    "int_type": "an integer",
    "int_from_float": "an integer",
    "int_parsing": "an integer",
    "float_type": "a number",
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "dataclass_type": "a mapping",
    "tuple_type": "a list",
    "list_type": "a list",
    "finite_number": "a finite number",
    "none_required": "nothing",
}

_LIMITS = {
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "too_short": "at least {min_length} long",
    "too_long": "at most {max_length} long",
}


def missing_values(data: dict[str, Any], sources: Sources) -> tuple[list[Problem], set[Loc]]:
    """Return a problem for each value that is still `???`, and the locations of these values."""
    locs = {loc for loc, value in leaves(data) if value == MISSING}
    # NOTE: if a group's value is null, it remains null under the file's `???`, but a value is still required.
    required = {
        loc for loc, value in leaves(dict(sources.user.data)) if value == MISSING and not sources.is_overridden(loc)
    }
    locs |= {loc for loc in required if loc[-1] in (get(data, loc[:-1]) or ()) and get(data, loc) is None}
    problems = []
    for loc in locs:
        hint = f"set it in the file, or with -o {'.'.join(map(str, loc))}=…"
        problems.append(Problem(f"{dotted(loc)} has no value yet (???)", sources.user_position(loc), hint))
    return problems, locs


def validate(data: dict[str, Any], sources: Sources, reported: Iterable[Loc] = ()) -> tuple[Spec | None, list[Problem]]:
    """Validate a resolved spec.

    Args:
        data: the resolved spec.
        sources: its files and overrides.
        reported: locations whose problems have been reported already.

    Returns:
        The spec, or None and all problems.
    """
    return validate_part(Spec, data, (), sources, reported)


def validate_part(
    model: type[Model], data: dict[str, Any], loc: Loc, sources: Sources, reported: Iterable[Loc] = ()
) -> tuple[Model | None, list[Problem]]:
    """Validate a section of a resolved spec (`("export", "wandb")`) with its own model.

    Args:
        model: the model.
        data: the resolved spec.
        loc: location of the section; `()` for the entire spec.
        sources: the files and overrides of the spec.
        reported: locations whose problems have been reported already.

    Returns:
        The section, or None and all problems.
    """
    try:
        return model.model_validate_json(json.dumps(get(data, loc))), []
    except ValidationError as error:
        errors: dict[Loc, list[tuple[ErrorDetails, type[BaseModel] | None]]] = {}
        for details in error.errors(include_url=False):
            inner, holder = data_location(details["loc"], model)
            errors.setdefault((*loc, *inner), []).append((details, holder))
    skipped = set(reported)
    return None, [_problem(data, key, details, sources) for key, details in errors.items() if key not in skipped]


def _problem(
    data: dict[str, Any], loc: Loc, errors: Sequence[tuple[ErrorDetails, type[BaseModel] | None]], sources: Sources
) -> Problem:
    """Return one problem for all errors at a location; a union has several."""
    details, holder = errors[0]
    kind = details["type"]
    if kind == "extra_forbidden":
        return _unknown_key(data, loc, holder, sources)
    if kind == "missing":
        return Problem(f"'{loc[-1]}' is missing in {dotted(loc[:-1]) or 'the spec'}", sources.locate(loc))
    if kind == "union_tag_not_found":
        return Problem(f"'type' is missing in {dotted(loc)}", sources.locate(loc), "it determines the other keys")
    if kind in ("literal_error", "enum"):
        return _unknown_choice(data, loc, str(details.get("ctx", {}).get("expected", "")), sources)
    message = _custom_message(details)
    if message is not None:
        return Problem(f"{dotted(loc)}{message}", sources.locate(loc), _name_hint(loc))
    expected = _join(dict.fromkeys(_expectation(details) for details, _ in errors))
    hint = _type_hint(data, loc, kind, sources)
    return Problem(f"{dotted(loc)} must be {expected}, not {_describe(get(data, loc))}", sources.locate(loc), hint)


def _custom_message(details: ErrorDetails) -> str | None:
    """Return the message of a model's own validator, or of a pattern; None for other errors."""
    if details["type"] == "value_error":
        return f": {details['msg'].removeprefix('Value error, ')}"
    if details["type"] != "string_pattern_mismatch":
        return None
    if "A-Za-z_" in str(details.get("ctx", {}).get("pattern")):
        return " is not the name of a variable"
    return f" does not match the pattern {details.get('ctx', {}).get('pattern')}"


def _unknown_key(data: dict[str, Any], loc: Loc, holder: type[BaseModel] | None, sources: Sources) -> Problem:
    key = str(loc[-1])
    known = [name for name in fields_of(holder) if name != "type"] if holder else []
    section = f" in {dotted(loc[:-1])}" if loc[:-1] else ""
    message = f"unknown key '{key}'{section}"
    similar = nearest(key, known)
    if similar is not None:
        return Problem(f"{message}; did you mean '{similar}'?", sources.locate(loc))
    paths = paths_of(key)
    kind = get(data, (*loc[:-1], "type"))
    if dotted(loc) in paths:
        return Problem(f"'{key}' has no effect if {dotted(loc[:-1])}.type is {kind}", sources.locate(loc))
    if paths:
        return Problem(message, sources.locate(loc), f"it belongs to {' or '.join(paths[:3])}")
    hint = f"known keys: {', '.join(known)}" if 0 < len(known) <= MAX_LISTED_KEYS else None
    if kind and hint is None:
        hint = f"docs/spec.md lists the keys of type '{kind}'"
    return Problem(message, sources.locate(loc), hint)


def _unknown_choice(data: dict[str, Any], loc: Loc, expected: str, sources: Sources) -> Problem:
    value = get(data, loc)
    choices = [part.strip("' ") for part in expected.replace(" or ", ",").split(",") if part.strip()]
    message = f"{dotted(loc)} cannot be {_describe(value, show=True)}{_suggestion(str(value), choices)}"
    return Problem(message, sources.locate(loc), f"use {_join(choices)}")


def _expectation(details: ErrorDetails) -> str:
    kind, context = details["type"], details.get("ctx", {})
    if kind in _EXPECTED:
        return _EXPECTED[kind]
    if kind in _LIMITS:
        return _LIMITS[kind].format(**{name: f"{limit:g}" for name, limit in context.items() if name != "error"})
    if kind == "literal_error":
        return str(context.get("expected", "something else"))
    return details["msg"].removeprefix("Input should be ")


def _describe(value: Any, *, show: bool = False) -> str:  # noqa: ANN401 - what the user wrote
    """Describe a value; its text is shown only if it cannot be a secret."""
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"{value}"
    if isinstance(value, str):
        return f"'{value}'" if show else "text"
    return "a list" if isinstance(value, list) else "a mapping"


def _type_hint(data: dict[str, Any], loc: Loc, kind: str, sources: Sources) -> str | None:
    if kind == "string_type" and not isinstance(get(data, loc), dict | list | None):
        written = sources.user.text(loc)
        return f"put it in quotes: '{written}'" if written else "put it in quotes"
    return None


def _name_hint(loc: Loc) -> str | None:
    if loc and str(loc[-1]).endswith("_name"):
        return "write the name of the variable that contains the value; a spec never contains the value itself"
    return None


def _suggestion(name: str, known: Iterable[str]) -> str:
    similar = nearest(name, known)
    return f"; did you mean '{similar}'?" if similar else ""


def _join(alternatives: Iterable[str]) -> str:
    *first, last = list(alternatives) or ["something else"]
    return f"{', '.join(first)} or {last}" if first else last


def check_spec(spec: Spec, locate: Locate) -> Iterator[Problem]:
    """Yield contradictions between the sections of a spec, unknown plug-ins, and a missing list of tasks.

    Args:
        spec: the validated spec.
        locate: maps a key to its source position.
    """
    if not spec.evaluation.tasks:
        hint = "write evaluation.tasks: [{name: gsm8k}]; `nel-action ls tasks` lists all tasks"
        yield Problem("there are no tasks", locate(("evaluation", "tasks")), hint)
    if spec.targets and spec.target.api_endpoint.model_id:
        hint = "set one of them; `targets` contains several models by name"
        yield Problem("both 'target' and 'targets' are set", locate(("targets",)), hint)
    yield from _check_plugins(spec, locate)
    yield from _check_gate_tasks(spec, locate)
    yield from _check_commands(spec, locate)


def _check_plugins(spec: Spec, locate: Locate) -> Iterator[Problem]:
    for section, settings, group, built_in in (
        ("execution", spec.execution, "nel_action.executors", EXECUTOR_TYPES),
        ("deployment", spec.deployment, "nel_action.deployments", DEPLOYMENT_TYPES),
    ):
        if not isinstance(settings, PluginExecution | PluginDeployment):
            continue
        from importlib.metadata import entry_points

        known = sorted({*built_in, *entry_points(group=group).names})
        if settings.type not in known:
            message = f"unknown {section}.type '{settings.type}'{_suggestion(settings.type, known)}"
            yield Problem(message, locate((section, "type")), f"the types are: {', '.join(known)}")


def _check_gate_tasks(spec: Spec, locate: Locate) -> Iterator[Problem]:
    """Yield policies of tasks that are not run, which would never be applied."""
    names = {task.name for task in spec.evaluation.tasks}
    known = names | {name.rpartition(".")[2] for name in names}
    for name in spec.gate.tasks if spec.gate and names else ():
        if name not in known and name.rpartition(".")[2] not in names:
            message = f"the gate has a policy for '{name}', which is not run{_suggestion(name, known)}"
            yield Problem(message, locate(("gate", "tasks", name)))


def _check_commands(spec: Spec, locate: Locate) -> Iterator[Problem]:
    """Yield shell commands that are not trusted."""
    if spec.execution.trust_commands:
        return
    commands: list[tuple[Loc, str | None]] = [
        (("evaluation", "pre_cmd"), spec.evaluation.pre_cmd),
        (("evaluation", "post_cmd"), spec.evaluation.post_cmd),
    ]
    if isinstance(spec.deployment, ServedDeployment):
        commands.append((("deployment", "pre_cmd"), spec.deployment.pre_cmd))
    for index, task in enumerate(spec.evaluation.tasks):
        commands.append((("evaluation", "tasks", index, "pre_cmd"), task.pre_cmd))
        commands.append((("evaluation", "tasks", index, "post_cmd"), task.post_cmd))
    for loc, command in commands:
        if command:
            hint = "review it, then set execution.trust_commands: true (or -o execution.trust_commands=true)"
            yield Problem(f"{dotted(loc)} is shell text, which is not trusted", locate(loc), hint)
