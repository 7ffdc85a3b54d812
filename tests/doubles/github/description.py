"""GitHub's OpenAPI description of its REST API, which validates the double's requests and answers."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from openapi_core import OpenAPI
from openapi_core.datatypes import RequestParameters
from openapi_core.exceptions import OpenAPIError
from werkzeug.datastructures import Headers, ImmutableMultiDict

__all__ = ["Call", "complete", "load", "validate_answer", "validate_request"]

DATA = Path(__file__).with_name("data")


@cache
def load() -> dict[str, Any]:
    """Return the description."""
    return dict(json.loads((DATA / "openapi.json").read_bytes()))


@cache
def _openapi() -> OpenAPI:
    return OpenAPI.from_dict(load())


class Call:
    """A request in the form that openapi-core requires."""

    def __init__(self, method: str, target: str, body: bytes, headers: Mapping[str, str]) -> None:
        split = urlsplit(target)
        self.host_url = "http://127.0.0.1"
        # NOTE: a ref contains slashes, which a path template does not match; it is escaped into one segment.
        self.path = re.sub(r"(/git/(?:refs?|matching-refs)/)(.+)$", lambda m: m[1] + quote(m[2], safe=""), split.path)
        self.method = method.lower()
        self.body = body or None
        self.content_type = headers.get("Content-Type", "application/json")
        query = ImmutableMultiDict(
            (name, value) for name, _, value in (pair.partition("=") for pair in split.query.split("&") if pair)
        )
        self.parameters = RequestParameters(query=query, header=Headers(dict(headers)))


class _Answer:
    def __init__(self, status: int, body: bytes) -> None:
        self.status_code = status
        self.data = body
        self.content_type = "application/json"
        self.headers = Headers()


def validate_request(call: Call) -> str | None:
    """Return the violations of the description, or None."""
    try:
        _openapi().validate_request(call)
    except OpenAPIError as error:
        return _describe(error)
    return None


def validate_answer(call: Call, status: int, body: bytes) -> str | None:
    """Return the violations of the description by an answer of the double, or None."""
    try:
        _openapi().validate_response(call, _Answer(status, body))
    except OpenAPIError as error:
        return _describe(error)
    return None


def _describe(error: BaseException) -> str:
    messages = []
    current: BaseException | None = error
    while current:
        messages.append(f"{type(current).__name__}: {current}"[:200])
        messages += [f"{item.json_path}: {item.message[:200]}" for item in getattr(current, "schema_errors", ())]
        current = current.__cause__
    return "; ".join(messages)[:1500]


def complete(reference: str, known: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object with all required properties.

    Args:
        reference: name of its schema.
        known: values of properties; the others are minimal.
    """
    minimal = _minimal({**load()["components"]["schemas"][reference], "nullable": False})
    assert isinstance(minimal, dict)
    return {**minimal, **known}


def _minimal(schema: Mapping[str, Any]) -> Any:  # noqa: ANN401, PLR0911 - JSON is of any type
    """Return a minimal value that matches a schema."""
    schema = _resolve(schema)
    if schema.get("nullable"):
        return None
    if "enum" in schema:
        return schema["enum"][0]
    for keyword in ("oneOf", "anyOf"):
        if keyword in schema and "properties" not in schema:
            return _minimal(schema[keyword][0])
    if "allOf" in schema:
        return {key: value for part in schema["allOf"] for key, value in _minimal(part).items()}
    match schema.get("type"):
        case "object":
            names = schema.get("required", ())
            return {name: _minimal(schema.get("properties", {}).get(name, {"type": "string"})) for name in names}
        case "array":
            return []
        case "integer" | "number":
            return 1
        case "boolean":
            return False
    texts = {"date-time": "2026-01-01T00:00:00Z", "uri": "https://github.example/x"}
    return texts.get(schema.get("format", ""), "x" * schema.get("minLength", 1))


def _resolve(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    while "$ref" in schema:
        _, _, section, name = schema["$ref"].split("/", 3)
        schema = load()["components"][section][name]
    return schema
