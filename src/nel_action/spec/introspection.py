"""Introspection of the spec's models: known keys, locations of pydantic's errors, and docstrings of fields."""

from __future__ import annotations

import ast
import inspect
import types
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, Tag

from nel_action.spec.limits import Limit
from nel_action.spec.nested import Loc

__all__ = [
    "data_location",
    "field_docs",
    "fields_of",
    "is_known_key",
    "known_below",
    "members",
    "paths_of",
]


def _root() -> type[BaseModel]:
    from nel_action.spec.model import Spec

    return Spec


def fields_of(model: type[BaseModel]) -> dict[str, Any]:
    """Return the keys of a model as they are written in a file, and their annotations."""
    return {field.alias or name: field.rebuild_annotation() for name, field in model.model_fields.items()}


def members(annotation: Any) -> Iterator[tuple[str | None, Any]]:  # noqa: ANN401 - any annotation
    """Yield the alternatives of an annotation, each with its tag, if it has one."""
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


def _children(annotation: Any, part: str | int) -> Iterator[Any]:  # noqa: ANN401
    """Yield the annotations of a key or index of an annotation."""
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


def _annotations_at(loc: Loc) -> list[Any]:
    """Return the annotations at a location, except `Any`."""
    annotations: list[Any] = [_root()]
    for part in loc:
        annotations = [child for annotation in annotations for child in _children(annotation, part) if child is not Any]
    return annotations


def is_known_key(loc: Loc) -> bool:
    """Return whether the models define a key; keys of free mappings are not defined."""
    return bool(_annotations_at(loc))


def known_below(loc: Loc) -> set[str]:
    """Return the keys that the models define at a location."""
    models = {member for annotation in _annotations_at(loc) for _, member in members(annotation)}
    return {
        name
        for model in models
        if isinstance(model, type) and issubclass(model, BaseModel)
        for name in fields_of(model)
    }


def data_location(loc: Sequence[str | int], root: type[BaseModel] | None = None) -> tuple[Loc, type[BaseModel] | None]:
    """Convert pydantic's location of an error, which includes union members, to a location in the data.

    Args:
        loc: pydantic's location.
        root: the validated model; `Spec` by default.

    Returns:
        The location, and the model that contains its last key, or None.
    """
    annotation: Any = root or _root()
    location: list[str | int] = []
    holder: type[BaseModel] | None = None
    for part in loc:
        alternatives = list(members(annotation))
        tagged = [alternative for tag, alternative in alternatives if tag is not None and tag == part]
        if tagged:
            annotation = tagged[0]
            continue
        models = [a for _, a in alternatives if isinstance(a, type) and issubclass(a, BaseModel)]
        children = list(_children(annotation, part))
        if not children and not models:
            break  # NOTE: the remaining parts name alternatives of a union or `[key]`, not locations.
        location.append(part)
        holder = models[0] if models else None
        annotation = children[0] if children else Any
    return tuple(location), holder


def paths_of(name: str) -> list[str]:
    """Return the dotted paths of all keys with a name, for messages."""
    paths: list[str] = []
    _search(_root(), name, "", paths, frozenset())
    return paths


def _search(annotation: Any, name: str, path: str, paths: list[str], parents: frozenset[Any]) -> None:  # noqa: ANN401
    for _, alternative in members(annotation):
        origin = get_origin(alternative)
        if origin in (dict, tuple, list):
            suffix = ".<name>" if origin is dict else "[]"
            _search(get_args(alternative)[-1 if origin is dict else 0], name, path + suffix, paths, parents)
        elif isinstance(alternative, type) and issubclass(alternative, BaseModel) and alternative not in parents:
            for key, inner in fields_of(alternative).items():
                if key == name and f"{path}.{key}".lstrip(".") not in paths:
                    paths.append(f"{path}.{key}".lstrip("."))
                _search(inner, name, f"{path}.{key}", paths, parents | {alternative})


def field_docs(model: type[BaseModel]) -> dict[str, str]:
    """Return a line about each field of a model and its bases: its docstring in the source, or its limit's."""
    docs: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if issubclass(base, BaseModel) and base is not BaseModel:
            docs |= _docs_of_file(Path(str(inspect.getsourcefile(base)))).get(base.__name__, {})
    return _limit_docs(model) | docs


def _limit_docs(model: type[BaseModel]) -> dict[str, str]:
    """Return the descriptions of the fields that are annotated with a row of the table of limits."""
    return {
        name: item.description
        for name, field in model.model_fields.items()
        for argument in (field.annotation, *get_args(field.annotation))
        if get_origin(argument) is Annotated
        for item in get_args(argument)
        if isinstance(item, Limit)
    }


@cache
def _docs_of_file(file: Path) -> dict[str, dict[str, str]]:
    """Return the docstrings of fields by class."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {node.name: _docs_of_body(node.body) for node in tree.body if isinstance(node, ast.ClassDef)}


def _docs_of_body(body: list[ast.stmt]) -> dict[str, str]:
    docs = {}
    for statement, following in pairwise(body):
        if not (isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)):
            continue
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            docs[statement.target.id] = " ".join(str(following.value.value).split())
    return docs
