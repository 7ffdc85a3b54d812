"""Which requests are recorded, and under which key."""

from __future__ import annotations

import hashlib
import json
from typing import Any

__all__ = [
    "CANONICAL_VERSION",
    "KEY_SIZE",
    "ROUTES",
    "base_of",
    "canonical_body",
    "is_paid_route",
    "parse_body",
    "request_key",
    "route_of",
]

CANONICAL_VERSION = 1
"""Changes when equal requests would get another key; older records are then not replayed."""
KEY_SIZE = 32
"""Bytes of a request key."""
ROUTES = (b"/chat/completions", b"/completions")
"""Recorded routes, the longer first; everything else is passed through."""

_EMBEDDINGS = b"/embeddings"
_PAID = (*ROUTES, _EMBEDDINGS, b"/responses", b"/messages", b"/rerank")


def route_of(path: bytes) -> bytes | None:
    """Return the recorded route that a path (without query) ends with, or None."""
    return next((route for route in ROUTES if path.endswith(route)), None)


def is_paid_route(path: bytes) -> bool:
    """Return whether a path (without query) ends with a route that the model answers, recorded or not."""
    return path.endswith(_PAID)


def base_of(path: str) -> str:
    """Return the path of the endpoint's base: the path of its URL without the route."""
    for route in (*ROUTES, _EMBEDDINGS):
        text = route.decode()
        if path.endswith(text):
            return path[: -len(text)]
    return path.rstrip("/")


def parse_body(body: bytes) -> dict[str, Any] | None:
    """Parse the JSON object of a request; None if it is anything else."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def canonical_body(value: dict[str, Any]) -> bytes:
    """Serialise a request body so that equal content has equal bytes, whatever the order of its keys."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")


def request_key(*, scope: str, upstream: str, method: bytes, path: bytes, canonical: bytes) -> bytes:
    """Return the key of a request.

    The key holds what decides the answer and neither addresses nor headers: a served model gets another port at each
    start, and clients add random headers.

    Args:
        scope: the slice of a sequential run; otherwise empty.
        upstream: name of the endpoint in the configuration.
        method: HTTP method.
        path: below the endpoint's base, with the query.
        canonical: the body as sent upstream, by `canonical_body`.

    Returns:
        SHA-256, 32 bytes.
    """
    head = f"{CANONICAL_VERSION}\n{scope}\n{upstream}\n"
    return hashlib.sha256(b"%b%b\n%b\n%b" % (head.encode(), method, path, canonical)).digest()
