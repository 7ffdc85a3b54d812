"""What several harnesses share: environment variables and checks."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator, Mapping
from types import MappingProxyType
from typing import Final

from nel_action.errors import Problem
from nel_action.model.task import HarnessTask, Progress

__all__ = ["PYTHON_ENV", "last_progress", "unknown_extra_problems"]

PYTHON_ENV: Final[Mapping[str, str]] = MappingProxyType({"PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": ""})
"""For harnesses in Python: unbuffered logs, and compiled files, which save a harness with 70 packages some five seconds
at every start."""


def last_progress(bar: re.Pattern[str], log_tail: str) -> Progress | None:
    """Return the state of the last progress bar in a log; the pattern's groups are the finished and the total count."""
    bars = bar.findall(log_tail)
    return Progress(int(bars[-1][0]), int(bars[-1][1])) if bars else None


def unknown_extra_problems(task: HarnessTask, known: Collection[str]) -> Iterator[Problem]:
    """Yield a problem for each parameter in `extra` that the harness does not support, with the nearest known one."""
    for name in task.params.extra:
        if name not in known:
            similar = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {similar[0]!r}?" if similar else f"known: {', '.join(sorted(known))}"
            yield Problem(f"task {task.display}: unknown parameter extra.{name}", hint=hint)
