"""Reading an attempt's logs while they grow, with secrets hidden."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Final, TextIO

from nel_action.executors.local.attempt import AttemptDir
from nel_action.executors.local.secrets import masker, read_values

__all__ = ["last_line", "stream", "tail"]

PAUSE: Final = 0.2
"""Seconds between two looks at a log that is followed."""

SHOWN: Final = 300
"""Characters of a line that is quoted."""

HEAL_EVERY: Final = 25
"""Looks between two checks that somebody still runs the attempt."""


def stream(attempt: AttemptDir, *, follow: bool, heal: Callable[[AttemptDir], object]) -> Iterator[str]:
    """Yield what preparing and running an attempt said, line by line; with `follow`, until it has ended."""
    mask = masker(read_values(attempt).values())
    prepared = (lambda: attempt.ended or attempt.started() is not None) if follow else (lambda: True)
    finished = (lambda: attempt.ended) if follow else (lambda: True)
    for log, complete in ((attempt.setup_log, prepared), (attempt.client_log, finished)):
        for line in _lines(log, complete, lambda: heal(attempt)):
            yield mask(line)


def _lines(log: Path, complete: Callable[[], bool], heal: Callable[[], object]) -> Iterator[str]:
    """Yield a growing file's lines until it is complete, and then what is left of it."""
    rest = ""
    with ExitStack() as stack:
        file: TextIO | None = None
        for look in count(1):
            last = complete()
            if file is None and log.exists():
                file = stack.enter_context(log.open(encoding="utf-8", errors="replace"))
            *lines, rest = (rest + (file.read() if file else "")).split("\n")
            yield from lines
            if last:
                break
            if look % HEAL_EVERY == 0:
                heal()
            time.sleep(PAUSE)
    if rest:
        yield rest


def tail(log: Path, size: int) -> str:
    """Return the last bytes of a log as text; nothing where it is not there."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - size))
            return file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""


def last_line(log: Path) -> str:
    """Return the last line of a log that says something, shortened."""
    said = next((line.strip() for line in reversed(tail(log, 8192).splitlines()) if line.strip()), "")
    return said if len(said) <= SHOWN else f"{said[:SHOWN]}…"
