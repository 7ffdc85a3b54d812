"""URL fragments that open `report.html` at an item or at the samples of a task."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlencode

__all__ = ["SAMPLE_FILTERS", "item_anchor", "samples_anchor"]

SAMPLE_FILTERS: Final = {
    "worse": "got worse",
    "better": "got better",
    "all": "all",
    "same": "unchanged",
    "wrong": "wrong now",
    "single": "on one side only",
}
"""Filters of the samples explorer with their labels; `report.js` implements them."""


def item_anchor(task: str, model: str, item: str) -> str:
    """Return the fragment that opens the report at one item: `task=…&model=…&item=…`.

    Args:
        task: name of the task.
        model: name of the model.
        item: id of the item.
    """
    return urlencode({"task": task, "model": model, "item": item})


def samples_anchor(task: str, model: str, show: str = "worse") -> str:
    """Return the fragment that opens the report at the samples of a task.

    Args:
        task: name of the task.
        model: name of the model.
        show: one of `SAMPLE_FILTERS`.
    """
    return urlencode({"task": task, "model": model, "show": show})
