"""Addresses inside `report.html`: what stands after the `#` to open it at one item, or at what got worse."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlencode

__all__ = ["SHOWN", "item_anchor", "samples_anchor"]

SHOWN: Final = ("worse", "better", "all", "same", "wrong", "single")
"""What the explorer of samples can be narrowed to."""


def item_anchor(task: str, model: str, item: str) -> str:
    """Return the fragment that opens the report at one item: `report.html#task=…&model=…&item=…`."""
    return urlencode({"task": task, "model": model, "item": item})


def samples_anchor(task: str, model: str, show: str = "worse") -> str:
    """Return the fragment that opens the report at a task's samples, narrowed to one of `SHOWN`."""
    return urlencode({"task": task, "model": model, "show": show})
