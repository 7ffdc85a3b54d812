"""JSON Schema of spec files, for editors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from pydantic import BaseModel

from nel_action.spec.deployment import DEPLOYMENT_TYPES
from nel_action.spec.introspection import field_docs, fields_of, members
from nel_action.spec.model import EXECUTOR_TYPES, Spec

__all__ = ["json_schema", "models"]

_PLACEHOLDER: Final = {"type": "string", "pattern": r"^(\?\?\?|\$\{.+\})$"}
_PLUGINS: Final = {
    "PluginExecution": EXECUTOR_TYPES,
    "PluginDeployment": DEPLOYMENT_TYPES,
    "AuxiliaryPlugin": DEPLOYMENT_TYPES,
}
_DEFAULTS: Final = {
    "type": "array",
    "description": "Groups to compose with the file, in order: `- execution: local`, `- deployment: none`, `- _self_`.",
    "items": {"anyOf": [{"type": "string"}, {"type": "object"}]},
}


def json_schema() -> dict[str, Any]:
    """Return the schema of spec files; keys may be omitted, since a group can define them, and be `???` or `${…}`.

    Example:
        >>> json_schema()["properties"]["gate"]["description"]
        'What the scores must show.'
    """
    schema = Spec.model_json_schema()
    parts = {model.__name__: schema["$defs"].get(model.__name__, {}) for model in models()} | {"Spec": schema}
    for model in models():
        _describe(parts[model.__name__], model)
    for name in _alternatives("execution") | _alternatives("deployment") | _alternatives("auxiliary_deployments"):
        parts[name].pop("required", None)
    for name, known in _PLUGINS.items():
        parts[name]["required"] = ["type"]
        parts[name]["properties"]["type"] |= {"not": {"enum": list(known)}}
    schema["properties"] = {"defaults": _DEFAULTS, **schema["properties"]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **_loosen(schema)}


def models() -> list[type[BaseModel]]:
    """Return all models of a spec, in breadth-first order."""
    result: list[type[BaseModel]] = []
    queue: list[Any] = [Spec]
    while queue:
        for model in _models_in(queue.pop(0)):
            if model not in result:
                result.append(model)
                queue += fields_of(model).values()
    return result


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:  # noqa: ANN401 - any annotation
    for _, alternative in members(annotation):
        if isinstance(alternative, type) and issubclass(alternative, BaseModel):
            yield alternative
        for inner in getattr(alternative, "__args__", ()):
            yield from _models_in(inner)


def _alternatives(field: str) -> set[str]:
    return {model.__name__ for model in _models_in(fields_of(Spec)[field])}


def _describe(part: dict[str, Any], model: type[BaseModel]) -> None:
    for name, text in field_docs(model).items():
        field = model.model_fields.get(name)
        key = (field.alias if field else None) or name
        if key in part.get("properties", {}):
            part["properties"][key]["description"] = text


def _loosen(node: Any) -> Any:  # noqa: ANN401 - JSON
    """Allow `???` and `${…}` for all values, replace `oneOf` by `anyOf`, and remove titles."""
    if isinstance(node, list):
        return [_loosen(inner) for inner in node]
    if not isinstance(node, dict):
        return node
    loose = {("anyOf" if key == "oneOf" else key): _loosen(value) for key, value in node.items() if key != "title"}
    if isinstance(properties := loose.get("properties"), dict):
        loose["properties"] = {key: _or_placeholder(value) for key, value in properties.items()}
    return loose


def _or_placeholder(value: dict[str, Any]) -> dict[str, Any]:
    about: dict[str, Any] = {keyword: value[keyword] for keyword in ("description", "default") if keyword in value}
    shape = {keyword: rest for keyword, rest in value.items() if keyword not in about}
    choices = shape.get("anyOf", [shape])
    if {"type": "string"} in choices or shape in ({}, {"type": "string"}) or "const" in shape:
        return value
    return {"anyOf": [*choices, _PLACEHOLDER], **about}
