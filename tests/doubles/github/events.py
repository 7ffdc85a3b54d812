"""Example payloads from `data/events`, as new copies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["example"]

EVENTS = Path(__file__).with_name("data") / "events"


def example(name: str) -> dict[str, Any]:
    """Return the payload of an event, for example `pull_request.opened`."""
    return dict(json.loads((EVENTS / f"{name}.json").read_bytes()))
