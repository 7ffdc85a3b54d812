"""Reading a log there, line by line, as it grows; a lost connection is taken up where it broke."""

from __future__ import annotations

import codecs
import time
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import Final

from nel_action.errors import UnreachableError
from nel_action.executors.slurm.remote import Remote

__all__ = ["stream"]

BLOCK: Final = 1 << 20
"""Bytes of one look."""

PAUSE: Final = (0.5, 5.0)
"""Seconds between looks: while something comes, and at most."""

UNREACHABLE_LIMIT: Final = 600.0
"""Seconds without an answer after which following is given up."""


def stream(remote: Remote, path: PurePosixPath, *, follow: bool, ended: Callable[[], bool]) -> Iterator[str]:
    """Yield the lines of a log.

    Args:
        remote: the login node.
        path: the log; one that is not there yet is empty.
        follow: go on until the job has ended and all was read.
        ended: tells whether the job has ended; asked only when nothing new has come.

    Raises:
        UnreachableError: the cluster did not answer, for ten minutes where the log is followed.
    """
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    offset, rest, pause, last = 0, "", PAUSE[0], False
    heard = time.monotonic()
    while True:
        try:
            data = _read(remote, path, offset)
        except UnreachableError:
            if not follow or time.monotonic() - heard > UNREACHABLE_LIMIT:
                raise
            time.sleep(PAUSE[1])
            continue
        heard = time.monotonic()
        offset += len(data)
        *lines, rest = (rest + decoder.decode(data)).split("\n")
        yield from lines
        if len(data) == BLOCK:
            continue
        if last or not follow:
            break
        pause = PAUSE[0] if data else min(pause * 1.5, PAUSE[1])
        last = not data and ended()
        if not last:
            time.sleep(pause)
    if rest:
        yield rest


def _read(remote: Remote, path: PurePosixPath, offset: int) -> bytes:
    words = [
        "sh",
        "-c",
        'tail -c "+$2" -- "$1" 2>/dev/null | head -c "$3"',
        "read",
        str(path),
        str(offset + 1),
        str(BLOCK),
    ]
    (done,) = remote.run(words)
    return done.out
