"""Bodies that come in and go out, each held against the SDK's own types."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

__all__ = ["Refused", "merge", "read", "show"]

Model = TypeVar("Model", bound=BaseModel)


class Refused(Exception):  # noqa: N818 it is an answer
    """What the platform answers instead of doing what was asked."""

    def __init__(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"code": code, "message": message}
        self.headers = headers or {}


def show(model: BaseModel) -> dict[str, Any]:
    """Return a model as the platform writes it."""
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)


def read(kind: type[Model], body: object) -> Model:
    """Read a body into the SDK's type; what that type does not know is refused, where the platform may ignore it."""
    try:
        model = kind.model_validate(body)
    except ValidationError as error:
        raise Refused(400, "InvalidRequest", str(error)) from error
    if strange := sorted(_strange(body, show(model), "")):
        raise Refused(400, "InvalidRequest", f"{kind.__name__} has no {', '.join(strange)}")
    return model


def _strange(body: object, known: object, where: str) -> Iterator[str]:
    if isinstance(body, dict) and isinstance(known, dict):
        for name, value in body.items():
            if value is None:
                continue
            if name not in known:
                yield where + name
            else:
                yield from _strange(value, known[name], f"{where}{name}.")
    if isinstance(body, list) and isinstance(known, list):
        for inner, outer in zip(body, known, strict=False):
            yield from _strange(inner, outer, where)


def merge(base: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """JSON merge patch (RFC 7386): null removes, objects merge, all else replaces."""
    merged = dict(base)
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        elif isinstance(value, dict):
            old = merged.get(name)
            merged[name] = merge(old if isinstance(old, dict) else {}, value)
        else:
            merged[name] = value
    return merged
