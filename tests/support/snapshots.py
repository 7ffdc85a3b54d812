"""Comparison with reviewed texts in the repository."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["assert_snapshot"]


def assert_snapshot(actual: str, path: Path) -> None:
    """Compare with a file; with NEL_ACTION_UPDATE_SNAPSHOTS set, write the file first.

    Args:
        actual: the text.
        path: the file with the expected text.
    """
    if os.environ.get("NEL_ACTION_UPDATE_SNAPSHOTS"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(actual, encoding="utf-8")
    assert path.exists(), f"{path} is missing: run with NEL_ACTION_UPDATE_SNAPSHOTS=1 and review the file"
    assert actual == path.read_text(encoding="utf-8")
