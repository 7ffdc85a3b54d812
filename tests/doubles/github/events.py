"""The example payloads of `data/events`, each time as a fresh copy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["example"]

EVENTS = Path(__file__).with_name("data") / "events"


def example(name: str) -> dict[str, Any]:
    return dict(json.loads((EVENTS / f"{name}.json").read_bytes()))
