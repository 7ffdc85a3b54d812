"""Request and response bodies, validated with the official client's models."""

from __future__ import annotations

import json
from typing import Any

from kubernetes import client
from pydantic import BaseModel, ValidationError

__all__ = ["MODELS", "ApiError", "parse", "validated"]

MODELS: dict[str, type[BaseModel]] = {
    "jobs": client.V1Job,
    "pods": client.V1Pod,
    "secrets": client.V1Secret,
}


class ApiError(Exception):
    """An error response of the API server."""

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


def validated(model_type: type[BaseModel], body: dict[str, Any]) -> dict[str, Any]:
    """Return the body as the client's model serializes it; reject fields that the model does not have."""
    try:
        model = model_type.model_validate(body)
    except ValidationError as error:
        raise ApiError(422, "Invalid", str(error)) from error
    serialized: dict[str, Any] = json.loads(model.model_dump_json(by_alias=True, exclude_none=True))
    if unknown := sorted(_unknown_fields(body, serialized, "")):
        raise ApiError(400, "BadRequest", f"strict decoding error: unknown field {', '.join(unknown)}")
    return serialized


def parse(kind: str, body: dict[str, Any]) -> dict[str, Any]:
    """Parse an object that a client sends."""
    return validated(MODELS[kind], body)


def _unknown_fields(body: object, serialized: object, parent: str) -> list[str]:
    """Return the paths of fields that the model did not keep."""
    unknown: list[str] = []
    if isinstance(body, dict):
        serialized = serialized if isinstance(serialized, dict) else {}
        for name, value in body.items():
            if name not in serialized and value not in (None, {}, []):
                unknown.append(parent + name)
            else:
                unknown += _unknown_fields(value, serialized.get(name), f"{parent}{name}.")
    if isinstance(body, list) and isinstance(serialized, list):
        for body_item, serialized_item in zip(body, serialized, strict=False):
            unknown += _unknown_fields(body_item, serialized_item, parent)
    return unknown
