"""What the command lines of several harnesses have in common."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from nel_action.errors import Problem
from nel_action.model.task import HarnessTask

__all__ = ["PYTHON_ENV", "lock", "unknown_extras"]

PYTHON_ENV: Final[Mapping[str, str]] = MappingProxyType({"PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": ""})
"""For harnesses in Python: a log that can be followed, and compiled files, which save a harness of 70 packages some
five seconds of every start."""


def lock(name: str) -> Path:
    """Return the hashed requirements that come with nel-action for a harness; made by `scripts/lock-harnesses`."""
    return Path(__file__).with_name("locks") / f"{name}.txt"


def unknown_extras(task: HarnessTask, known: Collection[str]) -> Iterator[Problem]:
    """Name the parameters in `extra` that the harness does not know, each with the nearest that it does."""
    for name in task.params.extra:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are: {', '.join(sorted(known))}"
            yield Problem(f"task {task.display}: unknown parameter extra.{name}", hint=hint)
