"""Lists the entries of records as JSON lines."""

from __future__ import annotations

import json
import os
from typing import Any, Iterator

from nel_action.gateway.record import read_segment, segments, unpack

__all__ = ["list_entries", "record_lines"]

_UNANSWERED = "no_text"


def list_entries(directory: str, *, failed: bool = False) -> Iterator[dict[str, Any]]:
    """Yield the entries of a record, the earliest segment first.

    Args:
        directory: of the segments.
        failed: only answers that no harness can use: malformed ones, and those without text that did not stop normally.
    """
    for segment in segments(directory)[0]:
        for _, payload in read_segment(segment.path):
            try:
                entry = unpack(payload)
            except ValueError:
                break
            meta = entry.meta
            if failed and meta.get("malformed") is None and _UNANSWERED not in meta.get("flags", ()):
                continue
            yield {
                **meta,
                "key": entry.key.hex(),
                "number": entry.number,
                "attempt": segment.header.get("attempt"),
                "invocation": segment.header.get("invocation"),
                "request": _body(entry.request),
                "answer": _body(entry.answer),
            }


def _body(data: bytes) -> Any:  # noqa: ANN401 - JSON
    """Return a body as JSON, or as text if it is none; None if it is not stored."""
    if not data:
        return None
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return data.decode("utf-8", "replace")


def record_lines(root: str, *, failed: bool = False) -> Iterator[str]:
    """Yield the entries of all evaluations of a job's key as JSON lines.

    Args:
        root: directory with one directory for each evaluation, or with segments.
        failed: as for `list_entries`.
    """
    numbers = sorted(int(name) for name in os.listdir(root) if name.isdigit()) if os.path.isdir(root) else []
    for directory in [os.path.join(root, str(number)) for number in numbers] or [root]:
        for entry in list_entries(directory, failed=failed):
            yield json.dumps(entry, ensure_ascii=False)
