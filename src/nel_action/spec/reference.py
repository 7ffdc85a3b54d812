"""docs/spec.md, made from the models: every key with its type, its default and what it means."""

from __future__ import annotations

import json
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from nel_action.spec.base import Free
from nel_action.spec.docstrings import field_docs
from nel_action.spec.execution import ExecutionBase
from nel_action.spec.model import Spec
from nel_action.spec.serving import ServedDeployment
from nel_action.spec.walk import members

__all__ = ["reference"]

_PLAIN = {str: "text", int: "whole number", float: "number", bool: "true or false", type(None): "null", Any: "anything"}
_SHARED: dict[type[BaseModel], str] = {ExecutionBase: "all executors", ServedDeployment: "all servers"}
_LIMITS = ((Gt, "gt", "above"), (Ge, "ge", "from"), (Lt, "lt", "below"), (Le, "le", "up to"))


def reference() -> str:
    """Return the tables of all keys as Markdown, one section for each part of a spec."""
    parts: dict[type[BaseModel], list[str]] = {}
    _collect(Spec, "", parts)
    return "\n".join(line for model, paths in parts.items() for line in _section(model, paths))


def _collect(model: type[BaseModel], path: str, parts: dict[type[BaseModel], list[str]]) -> None:
    """Note where each model stands, from the outside in."""
    if path in parts.get(model, ()):
        return
    base = _base(model)
    if base is not None:
        _collect(base, path, parts)
    parts.setdefault(model, []).append(path)
    for name in _own_fields(model):
        field = model.model_fields[name]
        for inner, suffix in _models_in(field.rebuild_annotation()):
            _collect(inner, f"{path}.{field.alias or name}{suffix}".lstrip("."), parts)


def _base(model: type[BaseModel]) -> type[BaseModel] | None:
    return next((shared for shared in _SHARED if model is not shared and issubclass(model, shared)), None)


def _own_fields(model: type[BaseModel]) -> list[str]:
    """Return the fields of which a model says something else than what it derives from."""
    fields, theirs = model.model_fields, (base.model_fields if (base := _base(model)) else {})
    return [
        name
        for name, field in fields.items()
        if name not in theirs or (field.annotation, field.default) != (theirs[name].annotation, theirs[name].default)
    ]


def _section(model: type[BaseModel], paths: list[str]) -> Iterator[str]:
    yield f"## {_heading(model, paths)}"
    yield ""
    yield " ".join((model.__doc__ or "").split())
    if base := _base(model):
        yield f"The keys of {_SHARED[base]} are there too."
    if model.model_config.get("extra") == "allow":
        yield "Other keys are passed on whole."
    yield ""
    docs = field_docs(model)
    yield "| key | type | default | meaning |"
    yield "|---|---|---|---|"
    for name in _own_fields(model):
        field = model.model_fields[name]
        cells = (f"`{field.alias or name}`", _type(field), _default(field), _cell(docs.get(name, "")))
        yield f"| {' | '.join(cells)} |"
    yield ""


def _heading(model: type[BaseModel], paths: list[str]) -> str:
    if model in _SHARED:
        return f"`{paths[0]}`: {_SHARED[model]}"
    kind = model.model_fields.get("type")
    if kind is not None and paths[0] in {"execution", "deployment"}:
        known = isinstance(kind.default, str)
        return f"`{paths[0]}`, type {f'`{kind.default}`' if known else 'of a plug-in'}"
    return ", ".join(f"`{path}`" for path in paths) if paths[0] else "The whole"


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
    else:
        yield from (word for _, alternative in members(annotation) for word in _words(alternative))


def _flat(limits: list[Any]) -> Iterator[Any]:
    for limit in limits:
        yield from limit.metadata if isinstance(limit, FieldInfo) else (limit,)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel) or value in (None, {}, ()):
        return ""
    return _cell(f"`{value}`" if isinstance(value, str) and value else f"`{json.dumps(value)}`")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
