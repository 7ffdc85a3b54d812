"""The directories of request records: one for each evaluation of a job's key.

<root>/<key>/<n>/              an evaluation, n from 1
    *.segment                  answers, written by the gateway
    keep_days                  days after the last answer until the directory is removed
    closed                     exists once a measurable result was collected: nothing is replayed any more

The first attempt opens an evaluation, and later attempts of the same key continue it until it is closed. The key of
`--fresh`, of an unpinned or changed checkout and of a confirmation is another one, so that they share no record.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Container
from contextlib import suppress
from pathlib import Path
from typing import Final

from nel_action.model.job import Key

__all__ = ["close_record", "evaluations", "open_record", "remove_expired_records"]

CLOSED: Final = "closed"
KEEP_DAYS: Final = "keep_days"
_DAY: Final = 86_400.0
_DEFAULT_KEEP_DAYS: Final = 7.0


def evaluations(root: Path, key: Key) -> list[Path]:
    """Return the evaluations of a key, the oldest first."""
    try:
        numbers = sorted(int(path.name) for path in (root / key).iterdir() if path.name.isdecimal())
    except FileNotFoundError:
        return []
    return [root / key / str(number) for number in numbers]


def open_record(root: Path, key: Key, keep_days: int) -> Path:
    """Return the directory of the key's open evaluation; create it if there is none.

    Args:
        root: directory of all records.
        key: of the job.
        keep_days: days after which it may be removed.
    """
    existing = evaluations(root, key)
    if existing and not (existing[-1] / CLOSED).exists():
        path = existing[-1]
    else:
        path = root / key / str(int(existing[-1].name) + 1 if existing else 1)
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        path.mkdir(mode=0o700)
    (path / KEEP_DAYS).write_text(str(keep_days), encoding="ascii")
    return path


def close_record(root: Path, key: Key) -> None:
    """Close the key's evaluations: a measurable result was collected, so that another run asks everything anew."""
    for path in evaluations(root, key):
        with suppress(FileNotFoundError):
            (path / CLOSED).touch(mode=0o600)


def remove_expired_records(root: Path, *, active: Container[str], now: float | None = None) -> None:
    """Remove evaluations whose last answer is older than their `keep_days`.

    Args:
        root: directory of all records.
        active: keys of unfinished attempts, whose records stay.
        now: seconds since 1970; by default the current time.
    """
    now = time.time() if now is None else now
    for folder in root.glob("nel-*"):
        if folder.name in active:
            continue
        for path in evaluations(root, Key(folder.name)):
            if _last_use(path) + _keep_days(path) * _DAY < now:
                shutil.rmtree(path, ignore_errors=True)
        with suppress(OSError):
            folder.rmdir()


def _last_use(path: Path) -> float:
    times = [path.stat().st_mtime]
    for file in path.iterdir():
        with suppress(FileNotFoundError):
            times.append(file.stat().st_mtime)
    return max(times)


def _keep_days(path: Path) -> float:
    try:
        return float((path / KEEP_DAYS).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return _DEFAULT_KEEP_DAYS
