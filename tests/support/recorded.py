"""Recorded outputs of real harness runs, and copies that a test may modify."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["RECORDED", "edit_json", "edit_text", "recorded"]

RECORDED = Path(__file__).parents[1] / "harnesses" / "recorded"


def recorded(name: str, into: Path) -> Path:
    """Copy the artifacts of a recorded run into a new directory."""
    target = into / "artifacts"
    shutil.copytree(RECORDED / name, target)
    return target


def edit_json(folder: Path, pattern: str, change: Callable[[Any], object]) -> None:
    """Modify the only JSON file that matches a pattern."""
    (path,) = folder.rglob(pattern)
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def edit_text(folder: Path, pattern: str, change: Callable[[str], str]) -> None:
    """Modify the text of every file that matches a pattern."""
    for path in [*folder.rglob(pattern)]:
        path.write_text(change(path.read_text()))
