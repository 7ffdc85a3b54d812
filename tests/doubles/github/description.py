"""GitHub's own description of its REST API: judges every request and every answer of the double."""

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

__all__ = ["Call", "complete", "judge_answer", "judge_request", "load"]

DATA = Path(__file__).with_name("data")


@cache
def load() -> dict[str, Any]:
    return dict(json.loads((DATA / "openapi.json").read_bytes()))


@cache
def _openapi() -> OpenAPI:
    return OpenAPI.from_dict(load())


class Call:
    """One request, and later its answer, as openapi-core wants to see them."""

    def __init__(self, method: str, target: str, body: bytes, headers: Mapping[str, str]) -> None:
        split = urlsplit(target)
        self.host_url = "http://127.0.0.1"
        # NOTE: a ref holds slashes, which a path template does not; as one escaped piece it can be matched.
        self.path = re.sub(r"(/git/refs?/)(.+)$", lambda m: m[1] + quote(m[2], safe=""), split.path)
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


def judge_request(call: Call) -> str | None:
    """Return what is wrong with it, or None."""
    try:
        _openapi().validate_request(call)
    except OpenAPIError as error:
        return _said(error)
    return None


def judge_answer(call: Call, status: int, body: bytes) -> str | None:
    """Return what is wrong with our own answer, or None."""
    try:
        _openapi().validate_response(call, _Answer(status, body))
    except OpenAPIError as error:
        return _said(error)
    return None


def _said(error: BaseException) -> str:
    words = []
    current: BaseException | None = error
    while current:
        words.append(f"{type(current).__name__}: {current}"[:200])
        words += [f"{item.json_path}: {item.message[:200]}" for item in getattr(current, "schema_errors", ())]
        current = current.__cause__
    return "; ".join(words)[:1500]


def complete(reference: str, known: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object with every property that the description requires; `known` ones as they are known."""
    made = _minimal({**load()["components"]["schemas"][reference], "nullable": False})
    assert isinstance(made, dict)
    return {**made, **known}


def _minimal(schema: Mapping[str, Any]) -> Any:  # noqa: ANN401, PLR0911 - JSON is of any type
    """Make the smallest value that fits."""
    schema = _resolved(schema)
    if schema.get("nullable"):
        return None
    if "enum" in schema:
        return schema["enum"][0]
    for several in ("oneOf", "anyOf"):
        if several in schema and "properties" not in schema:
            return _minimal(schema[several][0])
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


def _resolved(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    while "$ref" in schema:
        _, _, section, name = schema["$ref"].split("/", 3)
        schema = load()["components"][section][name]
    return schema
