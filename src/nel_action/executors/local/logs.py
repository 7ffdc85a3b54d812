"""Reading the logs of an attempt, with secrets redacted, while they grow."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final, TextIO

from nel_action.executors.local.attempt import AttemptDir
from nel_action.executors.local.secrets import read_values
from nel_action.redaction import Redactor
from nel_action.retry import Backoff

__all__ = ["last_line", "stream", "tail"]

READ_INTERVAL: Final = Backoff(initial=0.2, factor=1.0, jitter=0.0)
"""Pauses between reads of a log that is followed."""

MAX_QUOTE: Final = 300
"""Characters of a line that is quoted in a message."""

READS_PER_CHECK: Final = 25
"""Reads between two checks that a supervisor still runs the attempt."""


def stream(attempt: AttemptDir, *, follow: bool, ensure_supervised: Callable[[AttemptDir], object]) -> Iterator[str]:
    """Yield the output of an attempt's preparation and harness, line by line.

    Args:
        attempt: the attempt.
        follow: continue until the attempt has finished.
        ensure_supervised: called regularly; restarts the supervisor, without which an attempt would never finish.
    """
    redact = Redactor(read_values(attempt).values())
    prepared = (lambda: attempt.finished or attempt.start_record() is not None) if follow else (lambda: True)
    finished = (lambda: attempt.finished) if follow else (lambda: True)
    for log, complete in ((attempt.setup_log, prepared), (attempt.client_log, finished)):
        for line in _lines(log, complete, lambda: ensure_supervised(attempt)):
            yield redact(line)


def _lines(log: Path, complete: Callable[[], bool], check: Callable[[], object]) -> Iterator[str]:
    """Yield the lines of a growing file until it is complete, including an unterminated last line."""
    rest = ""
    with ExitStack() as stack:
        file: TextIO | None = None
        for reads, pause in enumerate(READ_INTERVAL.delays(), start=1):
            # NOTE: evaluated before reading, so that nothing written in between is missed.
            last = complete()
            if file is None and log.exists():
                file = stack.enter_context(log.open(encoding="utf-8", errors="replace"))
            *lines, rest = (rest + (file.read() if file else "")).split("\n")
            yield from lines
            if last:
                break
            if reads % READS_PER_CHECK == 0:
                check()
            time.sleep(pause)
    if rest:
        yield rest


def tail(log: Path, size: int) -> str:
    """Return the last `size` bytes of a log as text; empty if it does not exist."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - size))
            return file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""


def last_line(log: Path) -> str:
    """Return the last line of a log that is not blank, shortened."""
    line = next((line.strip() for line in reversed(tail(log, 8192).splitlines()) if line.strip()), "")
    return line if len(line) <= MAX_QUOTE else f"{line[:MAX_QUOTE]}…"
