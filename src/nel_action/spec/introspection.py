"""Walking the models of a spec along a place: which keys are known there, and what pydantic means by a location."""

from __future__ import annotations

import types
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, Tag

from nel_action.spec.nested import Loc

__all__ = ["data_location", "fields_of", "is_known_key", "known_below", "members", "places_of"]


def _root() -> type[BaseModel]:
    from nel_action.spec.model import Spec

    return Spec


def fields_of(model: type[BaseModel]) -> dict[str, Any]:
    """Return a model's keys, as they are written in a file, with their annotations."""
    return {field.alias or name: field.rebuild_annotation() for name, field in model.model_fields.items()}


def members(annotation: Any) -> Iterator[tuple[str | None, Any]]:  # noqa: ANN401 - any annotation
    """Yield the alternatives of an annotation, each with its tag where it has one."""
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *extras = get_args(annotation)
        tag = next((extra.tag for extra in extras if isinstance(extra, Tag)), None)
        for inner_tag, alternative in members(inner):
            yield tag or inner_tag, alternative
    elif origin in (Union, types.UnionType):
        for argument in get_args(annotation):
            yield from members(argument)
    else:
        yield None, annotation


def _down(annotation: Any, part: str | int) -> Iterator[Any]:  # noqa: ANN401
    """Yield what may stand one step below an annotation."""
    for _, alternative in members(annotation):
        origin = get_origin(alternative)
        if isinstance(alternative, type) and issubclass(alternative, BaseModel):
            if str(part) in (fields := fields_of(alternative)):
                yield fields[str(part)]
            elif alternative.model_config.get("extra") == "allow":
                yield Any
        elif origin is dict:
            yield get_args(alternative)[1]
        elif origin in (tuple, list) and isinstance(part, int):
            yield get_args(alternative)[0]
        elif alternative is Any:
            yield Any


def _at(loc: Loc) -> list[Any]:
    """Return the annotations at a place, without those that allow anything."""
    now: list[Any] = [_root()]
    for part in loc:
        now = [below for annotation in now for below in _down(annotation, part) if below is not Any]
    return now


def is_known_key(loc: Loc) -> bool:
    """Tell whether the models have this very key; what is passed on freely is not known."""
    return bool(_at(loc))


def known_below(loc: Loc) -> set[str]:
    """Return the keys that the models know below a place."""
    found = {member for annotation in _at(loc) for _, member in members(annotation)}
    return {
        name for model in found if isinstance(model, type) and issubclass(model, BaseModel) for name in fields_of(model)
    }


def data_location(loc: Sequence[str | int], root: type[BaseModel] | None = None) -> tuple[Loc, type[BaseModel] | None]:
    """Turn pydantic's location of an error, which names union members too, into a place in the data.

    Args:
        loc: As pydantic gives it.
        root: The model that was validated; the whole spec's unless given.

    Returns:
        The place, and the model that holds its last key, if a model does.
    """
    now: Any = root or _root()
    place: list[str | int] = []
    holder: type[BaseModel] | None = None
    for part in loc:
        alternatives = list(members(now))
        tagged = [alternative for tag, alternative in alternatives if tag is not None and tag == part]
        if tagged:
            now = tagged[0]
            continue
        models = [a for _, a in alternatives if isinstance(a, type) and issubclass(a, BaseModel)]
        below = list(_down(now, part))
        if not below and not models:
            break  # NOTE: the rest names alternatives of a union or the key of a mapping, not places
        place.append(part)
        holder = models[0] if models else None
        now = below[0] if below else Any
    return tuple(place), holder


def places_of(word: str) -> list[str]:
    """Return the places where the models have a key of this name, as people write them."""
    found: list[str] = []
    _search(_root(), word, "", found, frozenset())
    return found


def _search(annotation: Any, word: str, path: str, found: list[str], above: frozenset[Any]) -> None:  # noqa: ANN401
    for _, alternative in members(annotation):
        origin = get_origin(alternative)
        if origin in (dict, tuple, list):
            suffix = ".<name>" if origin is dict else "[]"
            _search(get_args(alternative)[-1 if origin is dict else 0], word, path + suffix, found, above)
        elif isinstance(alternative, type) and issubclass(alternative, BaseModel) and alternative not in above:
            for name, inner in fields_of(alternative).items():
                if name == word and f"{path}.{name}".lstrip(".") not in found:
                    found.append(f"{path}.{name}".lstrip("."))
                _search(inner, word, f"{path}.{name}", found, above | {alternative})
