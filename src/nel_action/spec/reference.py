"""The reference in docs/spec.md, generated from the models: every key with type, default and meaning."""

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
from nel_action.spec.execution import ExecutionBase
from nel_action.spec.introspection import field_docs, members
from nel_action.spec.model import Spec

__all__ = ["reference"]

_PLAIN = {
    EnvRef: "text",
    str: "text",
    int: "integer",
    float: "number",
    bool: "true or false",
    type(None): "null",
    Any: "anything",
}
_SHARED: dict[type[BaseModel], str] = {
    ExecutionBase: "all executors",
    ServedDeployment: "all servers",
    AuxiliaryKeys: "all auxiliary servers",
}
MAX_PATHS = 2
"""Paths in a heading."""
_LIMITS = ((Gt, "gt", "above"), (Ge, "ge", "from"), (Lt, "lt", "below"), (Le, "le", "up to"))


Parts = dict[type[BaseModel], list[str]]
"""Paths of each model in a spec."""


def reference() -> str:
    """Return the tables of all keys as Markdown, one section per model."""
    parts: Parts = {}
    _collect(Spec, "", parts)
    return "\n".join(line for model, paths in parts.items() for line in _section(model, paths, parts))


def _collect(model: type[BaseModel], path: str, parts: Parts) -> None:
    """Collect the paths of models recursively; shared base models come before the models that derive from them."""
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
    """Return the fields that a model adds to its documented base models or changes."""
    own = []
    for name, field in model.model_fields.items():
        if name == "type" and model in _SHARED:
            continue  # documented with each type
        bases = [base for base in _bases(model, parts) if name != "type" or base not in _SHARED]
        inherited = [base.model_fields[name] for base in bases if name in base.model_fields]
        if not any((field.annotation, field.default) == (other.annotation, other.default) for other in inherited):
            own.append(name)
    return own


def _bases(model: type[BaseModel], parts: Parts) -> list[type[BaseModel]]:
    return [base for base in model.__mro__[1:] if base in parts]


def _section(model: type[BaseModel], paths: list[str], parts: Parts) -> Iterator[str]:
    own = _own_fields(model, parts)
    if not own:
        return
    yield f"## {_heading(model, paths)}"
    yield ""
    yield " ".join((model.__doc__ or "").split())
    if shared := [_name(base, parts[base]) for base in _bases(model, parts)]:
        yield f"The keys of {' and of '.join(shared)} apply as well."
    if model.model_config.get("extra") == "allow":
        yield "Other keys are passed on unchanged."
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
        return "Top level"
    return ", ".join(f"`{path}`" for path in paths[:MAX_PATHS]) + (" and others" if len(paths) > MAX_PATHS else "")


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
    types = dict.fromkeys(_type_names(field.rebuild_annotation()))
    if field.default is None and len(types) > 1:
        types.pop("null", None)
    return _cell(" or ".join(types))


def _type_names(annotation: Any) -> Iterator[str]:  # noqa: ANN401
    """Yield the names of a type's alternatives, with their limits."""
    if get_origin(annotation) is Annotated:
        inner, *limits = get_args(annotation)
        constraints = [
            f"{label} {getattr(limit, name):g}"
            for limit in _flat(limits)
            for kind, name, label in _LIMITS
            if isinstance(limit, kind)
        ]
        yield from (f"{name} {' '.join(constraints)}".strip() for name in _type_names(inner))
    elif get_origin(annotation) in {Union, UnionType}:
        yield from (name for alternative in get_args(annotation) for name in _type_names(alternative))
    elif get_origin(annotation) is Literal:
        yield from (f"`{value}`" for value in get_args(annotation))
    elif get_origin(annotation) is tuple:
        yield f"list of {' or '.join(_type_names(get_args(annotation)[0]))}"
    elif annotation == Free:
        yield "free mapping"
    elif get_origin(annotation) is dict:
        yield f"mapping of names to {' or '.join(dict.fromkeys(_type_names(get_args(annotation)[1])))}"
    elif isinstance(annotation, type) and issubclass(annotation, StrEnum):
        yield from (f"`{value.value}`" for value in annotation)
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
