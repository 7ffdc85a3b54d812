"""docs/spec.md, made from the models: every key with its type, its default and what it means."""

from __future__ import annotations

import json
from collections.abc import Iterator
from enum import StrEnum
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, GroupedMetadata, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from nel_action.model.env_ref import EnvRef
from nel_action.spec.auxiliary import AuxiliaryKeys
from nel_action.spec.base import Free
from nel_action.spec.deployment import ServedDeployment
from nel_action.spec.docstrings import field_docs
from nel_action.spec.execution import ExecutionBase
from nel_action.spec.introspection import members
from nel_action.spec.model import Spec

__all__ = ["reference"]

_PLAIN = {
    EnvRef: "text",
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    type(None): "null",
    Any: "anything",
}
_SHARED: dict[type[BaseModel], str] = {
    ExecutionBase: "all executors",
    ServedDeployment: "all servers",
    AuxiliaryKeys: "all further servers",
}
SHOWN = 2
"""Places in a heading."""
_LIMITS = ((Gt, "gt", "above"), (Ge, "ge", "from"), (Lt, "lt", "below"), (Le, "le", "up to"))


Parts = dict[type[BaseModel], list[str]]
"""Each model with the places where it stands."""


def reference() -> str:
    """Return the tables of all keys as Markdown, one section for each part of a spec."""
    parts: Parts = {}
    _collect(Spec, "", parts)
    return "\n".join(line for model, paths in parts.items() for line in _section(model, paths, parts))


def _collect(model: type[BaseModel], path: str, parts: Parts) -> None:
    """Note where each model stands, from the outside in, and what models share before those that share it."""
    if path in parts.get(model, ()):
        return
    for shared in _SHARED:
        if issubclass(model, shared) and shared is not model:
            _collect(shared, path, parts)
    parts.setdefault(model, []).append(path)
    for name in _own_fields(model, parts):
        field = model.model_fields[name]
        for inner, suffix in _models_in(field.rebuild_annotation()):
            _collect(inner, f"{path}.{field.alias or name}{suffix}".lstrip("."), parts)


def _own_fields(model: type[BaseModel], parts: Parts) -> list[str]:
    """Return the fields of which a model says something else than those models that it derives from."""
    own = []
    for name, field in model.model_fields.items():
        if name == "type" and model in _SHARED:
            continue  # documented with each kind
        above = [other for other in _above(model, parts) if name != "type" or other not in _SHARED]
        elsewhere = [other.model_fields[name] for other in above if name in other.model_fields]
        if not any((field.annotation, field.default) == (other.annotation, other.default) for other in elsewhere):
            own.append(name)
    return own


def _above(model: type[BaseModel], parts: Parts) -> list[type[BaseModel]]:
    return [above for above in model.__mro__[1:] if above in parts]


def _section(model: type[BaseModel], paths: list[str], parts: Parts) -> Iterator[str]:
    own = _own_fields(model, parts)
    if not own:
        return
    yield f"## {_heading(model, paths)}"
    yield ""
    yield " ".join((model.__doc__ or "").split())
    if shared := [_name(above, parts[above]) for above in _above(model, parts)]:
        yield f"The keys of {' and of '.join(shared)} are there too."
    if model.model_config.get("extra") == "allow":
        yield "Other keys are passed on whole."
    yield ""
    docs = field_docs(model)
    yield "| key | type | default | meaning |"
    yield "|---|---|---|---|"
    for name in own:
        field = model.model_fields[name]
        cells = (f"`{field.alias or name}`", _type(field), _default(field), _cell(docs.get(name, "")))
        yield f"| {' | '.join(cells)} |"
    yield ""


def _heading(model: type[BaseModel], paths: list[str]) -> str:
    if model in _SHARED:
        return f"`{paths[0]}`: {_SHARED[model]}"
    if "type" in model.model_fields and paths[0] in {"execution", "deployment"}:
        return f"`{paths[0]}`, type {f'`{kind}`' if (kind := _kind(model)) else 'of a plug-in'}"
    if not paths[0]:
        return "The whole"
    return ", ".join(f"`{path}`" for path in paths[:SHOWN]) + (" and elsewhere" if len(paths) > SHOWN else "")


def _name(model: type[BaseModel], paths: list[str]) -> str:
    kind = _kind(model)
    return _SHARED.get(model) or (f"type `{kind}`" if kind else f"`{paths[0]}`")


def _kind(model: type[BaseModel]) -> str | None:
    field = model.model_fields.get("type")
    return field.default if field and isinstance(field.default, str) else None


def _models_in(annotation: Any) -> Iterator[tuple[type[BaseModel], str]]:  # noqa: ANN401 - any annotation
    for _, alternative in members(annotation):
        if isinstance(alternative, type) and issubclass(alternative, BaseModel):
            yield alternative, ""
        origin = get_origin(alternative)
        if origin in (dict, tuple):
            suffix, inner = (".<name>", -1) if origin is dict else ("[]", 0)
            for model, more in _models_in(get_args(alternative)[inner]):
                yield model, suffix + more


def _type(field: FieldInfo) -> str:
    words = dict.fromkeys(_words(field.rebuild_annotation()))
    if field.default is None and len(words) > 1:
        words.pop("null", None)
    return _cell(" or ".join(words))


def _words(annotation: Any) -> Iterator[str]:  # noqa: ANN401
    """Yield the alternatives of a type in words."""
    if get_origin(annotation) is Annotated:
        inner, *limits = get_args(annotation)
        said = [
            f"{word} {getattr(limit, name):g}"
            for limit in _flat(limits)
            for kind, name, word in _LIMITS
            if isinstance(limit, kind)
        ]
        yield from (f"{one} {' '.join(said)}".strip() for one in _words(inner))
    elif get_origin(annotation) in {Union, UnionType}:
        yield from (word for one in get_args(annotation) for word in _words(one))
    elif get_origin(annotation) is Literal:
        yield from (f"`{word}`" for word in get_args(annotation))
    elif get_origin(annotation) is tuple:
        yield f"list of {' or '.join(_words(get_args(annotation)[0]))}"
    elif annotation == Free:
        yield "free mapping"
    elif get_origin(annotation) is dict:
        yield f"mapping of names to {' or '.join(dict.fromkeys(_words(get_args(annotation)[1])))}"
    elif isinstance(annotation, type) and issubclass(annotation, StrEnum):
        yield from (f"`{word.value}`" for word in annotation)
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield "mapping"
    elif annotation in _PLAIN:
        yield _PLAIN[annotation]


def _flat(limits: list[Any]) -> Iterator[Any]:
    for limit in limits:
        if isinstance(limit, FieldInfo):
            yield from limit.metadata
        elif isinstance(limit, GroupedMetadata):
            yield from limit
        else:
            yield limit


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel) or value in (None, {}, ()):
        return ""
    return _cell(f"`{value}`" if isinstance(value, str) and value else f"`{json.dumps(value)}`")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
