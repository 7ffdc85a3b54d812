"""From plain data to a `Spec`, with what pydantic finds told in the user's words."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from nel_action.errors import Problem
from nel_action.spec.introspection import data_location, fields_of, places_of
from nel_action.spec.model import Spec
from nel_action.spec.nested import MISSING, Loc, get, leaves
from nel_action.spec.source_positions import Sources, dotted, nearest

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

__all__ = ["missing_values", "validate", "validate_part"]

Model = TypeVar("Model", bound=BaseModel)

_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
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
    """Name every value that is still `???`; return their places too."""
    places = {loc for loc, value in leaves(data) if value == MISSING}
    # NOTE: a group's null shows through a file's ???, which all the same asks for a value.
    asked = {
        loc for loc, value in leaves(dict(sources.user.data)) if value == MISSING and not sources.is_overridden(loc)
    }
    places |= {loc for loc in asked if loc[-1] in (get(data, loc[:-1]) or ()) and get(data, loc) is None}
    problems = []
    for loc in places:
        hint = f"write it in the file, or -o {'.'.join(map(str, loc))}=…"
        problems.append(Problem(f"{dotted(loc)} has no value yet (???)", sources.user_place(loc), hint))
    return problems, places


def validate(
    data: dict[str, Any], sources: Sources, known_bad: Iterable[Loc] = ()
) -> tuple[Spec | None, list[Problem]]:
    """Return the spec, or all that is wrong with it; places in `known_bad` have been told already."""
    return validate_part(Spec, data, (), sources, known_bad)


def validate_part(
    model: type[Model], data: dict[str, Any], loc: Loc, sources: Sources, known_bad: Iterable[Loc] = ()
) -> tuple[Model | None, list[Problem]]:
    """Validate what stands at one place of a resolved spec (`("export", "wandb")`) with a model of its own.

    Args:
        model: The model.
        data: The whole resolved spec.
        loc: The place of the part; `()` is the whole.
        sources: What the spec was made of, for the places of problems.
        known_bad: Places whose problems have been told already.

    Returns:
        The part or None, and all that is wrong with it.
    """
    try:
        return model.model_validate_json(json.dumps(get(data, loc))), []
    except ValidationError as error:
        by_place: dict[Loc, list[tuple[ErrorDetails, type[BaseModel] | None]]] = {}
        for details in error.errors(include_url=False):
            inner, holder = data_location(details["loc"], model)
            by_place.setdefault((*loc, *inner), []).append((details, holder))
    told = set(known_bad)
    return None, [_problem(data, place, found, sources) for place, found in by_place.items() if place not in told]


def _problem(
    data: dict[str, Any], loc: Loc, found: Sequence[tuple[ErrorDetails, type[BaseModel] | None]], sources: Sources
) -> Problem:
    details, holder = found[0]
    kind = details["type"]
    if kind == "extra_forbidden":
        return _unknown_key(data, loc, holder, sources)
    if kind == "missing":
        return Problem(f"'{loc[-1]}' is missing in {dotted(loc[:-1]) or 'the spec'}", sources.locate(loc))
    if kind == "union_tag_not_found":
        return Problem(f"'type' is missing in {dotted(loc)}", sources.locate(loc), "it says which kind this is")
    if kind in ("literal_error", "enum"):
        return _wrong_word(data, loc, str(details.get("ctx", {}).get("expected", "")), sources)
    own_words = _own_words(details)
    if own_words is not None:
        return Problem(f"{dotted(loc)}{own_words}", sources.locate(loc), _name_hint(loc))
    expected = _join(dict.fromkeys(_expectation(one) for one, _ in found))
    hint = _type_hint(data, loc, kind, sources)
    return Problem(f"{dotted(loc)} must be {expected}, not {_describe(get(data, loc))}", sources.locate(loc), hint)


def _own_words(details: ErrorDetails) -> str | None:
    """Return what a model's own check says, or that a name is none."""
    if details["type"] == "value_error":
        return f": {details['msg'].removeprefix('Value error, ')}"
    if details["type"] != "string_pattern_mismatch":
        return None
    if "A-Za-z_" in str(details.get("ctx", {}).get("pattern")):
        return " is not the name of a variable"
    return f" does not look as it should: {details.get('ctx', {}).get('pattern')}"


def _unknown_key(data: dict[str, Any], loc: Loc, holder: type[BaseModel] | None, sources: Sources) -> Problem:
    word = str(loc[-1])
    known = [name for name in fields_of(holder) if name != "type"] if holder else []
    where = f" in {dotted(loc[:-1])}" if loc[:-1] else ""
    message = f"unknown key '{word}'{where}"
    near = nearest(word, known)
    if near is not None:
        return Problem(f"{message}; did you mean '{near}'?", sources.locate(loc))
    elsewhere = places_of(word)
    kind = get(data, (*loc[:-1], "type"))
    if dotted(loc) in elsewhere:
        return Problem(f"'{word}' means nothing where {dotted(loc[:-1])}.type is {kind}", sources.locate(loc))
    if elsewhere:
        return Problem(message, sources.locate(loc), f"it belongs to {' or '.join(elsewhere[:3])}")
    hint = f"known keys: {', '.join(known)}" if 0 < len(known) <= 12 else None  # noqa: PLR2004 - what fits a line
    if kind and hint is None:
        hint = f"docs/spec.md lists the keys of type '{kind}'"
    return Problem(message, sources.locate(loc), hint)


def _wrong_word(data: dict[str, Any], loc: Loc, expected: str, sources: Sources) -> Problem:
    value = get(data, loc)
    words = [part.strip("' ") for part in expected.replace(" or ", ",").split(",") if part.strip()]
    near = nearest(str(value), words)
    meant = f"; did you mean '{near}'?" if near else ""
    return Problem(
        f"{dotted(loc)} cannot be {_describe(value, show=True)}{meant}", sources.locate(loc), f"it is {_join(words)}"
    )


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
    """Name what was written; text is shown only where it cannot be a secret."""
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
        return "it names the variable that holds the value; the value itself never stands in a spec"
    return None


def _join(words: Iterable[str]) -> str:
    *first, last = list(words) or ["something else"]
    return f"{', '.join(first)} or {last}" if first else last
