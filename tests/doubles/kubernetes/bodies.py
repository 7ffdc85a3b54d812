"""Bodies that come in and go out, each held against the official client's own models."""

from __future__ import annotations

import json
from typing import Any

from kubernetes import client
from pydantic import BaseModel, ValidationError

__all__ = ["MODELS", "Refused", "known", "read"]

MODELS: dict[str, type[BaseModel]] = {
    "jobs": client.V1Job,
    "pods": client.V1Pod,
    "secrets": client.V1Secret,
}


class Refused(Exception):  # noqa: N818 it is an answer
    """What the API server answers instead of doing what was asked."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.body = {
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Failure",
            "reason": reason,
            "message": message,
            "code": status,
        }


def known(kind: type[BaseModel], body: dict[str, Any]) -> dict[str, Any]:
    """Return the body as the client's model writes it; it must hold everything that the body holds."""
    try:
        model = kind.model_validate(body)
    except ValidationError as error:
        raise Refused(422, "Invalid", str(error)) from error
    shown: dict[str, Any] = json.loads(model.model_dump_json(by_alias=True, exclude_none=True))
    if strange := sorted(_strange(body, shown, "")):
        raise Refused(400, "BadRequest", f"strict decoding error: unknown field {', '.join(strange)}")
    return shown


def read(kind: str, body: dict[str, Any]) -> dict[str, Any]:
    """Read what a client sends as an object of that kind."""
    return known(MODELS[kind], body)


def _strange(body: object, shown: object, where: str) -> list[str]:
    found: list[str] = []
    if isinstance(body, dict):
        shown = shown if isinstance(shown, dict) else {}
        for name, value in body.items():
            if name not in shown and value not in (None, {}, []):
                found.append(where + name)
            else:
                found += _strange(value, shown.get(name), f"{where}{name}.")
    if isinstance(body, list) and isinstance(shown, list):
        for inner, outer in zip(body, shown, strict=False):
            found += _strange(inner, outer, where)
    return found
