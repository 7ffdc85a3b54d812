"""Copying what an attempt left, whole: to a temporary folder first, checked byte for byte, then put in place."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from nel_action.errors import CollectError
from nel_action.executors.local.subprocesses import alive

__all__ = ["collect"]

PARTS: Final = ("logs", "artifacts")
"""Artifacts last: where they are, all is."""

LEFT_OUT: Final = "left-out.txt"
"""In `logs`: what was not copied, and why."""

BLOCK: Final = 1 << 20


def collect(source: Path, into: Path) -> None:
    """Copy `artifacts/` and `logs/`; what was in `into` before stays until all is there.

    Raises:
        CollectError: something could not be read, written or verified.
    """
    partial = into / f".collect-{os.getpid()}-{secrets.token_hex(4)}"
    try:
        _remove_abandoned(into)
        partial.mkdir(parents=True)
        left_out = [line for part in PARTS for line in _copy_tree(source / part, partial / part)]
        if left_out:
            _write(partial / "logs" / LEFT_OUT, "".join(f"{line}\n" for line in left_out).encode())
        for part in PARTS:
            _replace(partial / part, into / part)
    except OSError as error:
        msg = f"cannot bring {source} into {into}: {error.strerror or error} ({error.filename or partial})"
        raise CollectError(msg, hint=_advice(into)) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _remove_abandoned(into: Path) -> None:
    """Remove what collectors left that were killed."""
    for partial in into.glob(".collect-*-*"):
        if not alive(int(partial.name.split("-")[1])):
            shutil.rmtree(partial, ignore_errors=True)


def _advice(into: Path) -> str:
    folder = next((folder for folder in (into, *into.parents) if folder.exists()), Path("/"))
    free = shutil.disk_usage(folder).free // 1_000_000
    return f"nothing is lost: collect again when that is mended ({free:,} MB are free there)"


def _copy_tree(source: Path, target: Path) -> Iterator[str]:
    """Copy a tree and yield what was left out: links out of the tree, devices, sockets."""
    target.mkdir()
    for folder, folders, files in os.walk(source, onerror=_raise):
        here = Path(folder)
        there = target / here.relative_to(source)
        for name in [*folders, *files]:
            path = here / name
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                yield from _copy_link(path, there / name, source)
            elif stat.S_ISDIR(mode):
                (there / name).mkdir()
            elif stat.S_ISREG(mode):
                _copy_file(path, there / name)
            else:
                yield f"{path.relative_to(source.parent)}: not a file"


def _raise(error: OSError) -> None:
    raise error


def _copy_link(path: Path, target: Path, root: Path) -> Iterator[str]:
    """Copy a link that stays inside; one that leads out could publish any file of this machine."""
    points_to = path.readlink()
    if points_to.is_absolute() or not path.resolve().is_relative_to(root.resolve()):
        yield f"{path.relative_to(root.parent)}: a link to {points_to}"
    else:
        target.symlink_to(points_to)


def _copy_file(source: Path, target: Path) -> None:
    """Copy a file, force it to disk, and read it again.

    Raises:
        CollectError: the copy is not the same.
    """
    expected, size = hashlib.sha256(), 0
    descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW)
    with os.fdopen(descriptor, "rb") as old, target.open("xb") as new:
        while block := old.read(BLOCK):
            expected.update(block)
            size += len(block)
            new.write(block)
        new.flush()
        os.fsync(new.fileno())
    with target.open("rb") as copy:
        found = hashlib.file_digest(copy, "sha256")
    if target.stat().st_size != size or found.digest() != expected.digest() or source.stat().st_size != size:
        msg = f"{target} is not what was read from {source}"
        raise CollectError(msg, hint="it changed meanwhile, or the disk lies; collect again")


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _replace(new: Path, old: Path) -> None:
    """Put `new` in the place of `old`."""
    aside = new.with_name(f"{new.name}.old")
    if old.exists():
        old.rename(aside)
    new.rename(old)
