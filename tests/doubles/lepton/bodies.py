"""Request and response bodies, validated with the SDK's types."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

__all__ = ["ApiError", "merge", "parse", "serialize"]

Model = TypeVar("Model", bound=BaseModel)


class ApiError(Exception):
    """An error response of the platform."""

    def __init__(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"code": code, "message": message}
        self.headers = headers or {}


def serialize(model: BaseModel) -> dict[str, Any]:
    """Return a model in the platform's JSON format."""
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)


def parse(model_type: type[Model], body: object) -> Model:
    """Parse a body; reject fields that the SDK's type does not have, although the platform may ignore them."""
    try:
        model = model_type.model_validate(body)
    except ValidationError as error:
        raise ApiError(400, "InvalidRequest", str(error)) from error
    if unknown := sorted(_unknown_fields(body, serialize(model), "")):
        raise ApiError(400, "InvalidRequest", f"{model_type.__name__} has no {', '.join(unknown)}")
    return model


def _unknown_fields(body: object, serialized: object, parent: str) -> Iterator[str]:
    """Yield the paths of fields that the model did not keep."""
    if isinstance(body, dict) and isinstance(serialized, dict):
        for name, value in body.items():
            if value is None:
                continue
            if name not in serialized:
                yield parent + name
            else:
                yield from _unknown_fields(value, serialized[name], f"{parent}{name}.")
    if isinstance(body, list) and isinstance(serialized, list):
        for body_item, serialized_item in zip(body, serialized, strict=False):
            yield from _unknown_fields(body_item, serialized_item, parent)


def merge(base: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """Apply a JSON merge patch (RFC 7386): null removes a key, objects are merged, other values are replaced."""
    merged = dict(base)
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        elif isinstance(value, dict):
            current = merged.get(name)
            merged[name] = merge(current if isinstance(current, dict) else {}, value)
        else:
            merged[name] = value
    return merged
