"""Copying the results of an attempt: into a temporary directory, verified by checksum, then moved into place."""

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
from nel_action.executors.local.subprocesses import is_alive
from nel_action.model.run_files import JobFiles

__all__ = ["collect"]

PARTS: Final = (JobFiles.LOGS, JobFiles.ARTIFACTS)
"""Directories in the order in which they are moved into place; artifacts last, because they mark a complete copy."""

SKIPPED_FILE: Final = "left-out.txt"
"""File in `logs` that lists what was not copied, and why."""

BLOCK_SIZE: Final = 1 << 20


def collect(source: Path, into: Path) -> None:
    """Copy `artifacts/` and `logs/`; existing copies in `into` are replaced once the new ones are complete.

    Args:
        source: directory of the attempt.
        into: target directory; created if it does not exist.

    Raises:
        CollectError: a file could not be read, written or verified.
    """
    partial = into / f".collect-{os.getpid()}-{secrets.token_hex(4)}"
    try:
        _remove_abandoned(into)
        partial.mkdir(parents=True)
        skipped = [line for part in PARTS for line in _copy_tree(source / part, partial / part)]
        if skipped:
            _write(partial / JobFiles.LOGS / SKIPPED_FILE, "".join(f"{line}\n" for line in skipped).encode())
        for part in PARTS:
            _replace(partial / part, into / part)
    except OSError as error:
        msg = f"cannot copy {source} to {into}: {error.strerror or error} ({error.filename or partial})"
        raise CollectError(msg, hint=_advice(into)) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _remove_abandoned(into: Path) -> None:
    """Remove the temporary directories of collectors that were killed."""
    for partial in into.glob(".collect-*-*"):
        if not is_alive(int(partial.name.split("-")[1])):
            shutil.rmtree(partial, ignore_errors=True)


def _advice(into: Path) -> str:
    existing = next((directory for directory in (into, *into.parents) if directory.exists()), Path("/"))
    free = shutil.disk_usage(existing).free // 1_000_000
    return f"nothing is lost; fix the cause and collect again ({free:,} MB are free there)"


def _copy_tree(source: Path, target: Path) -> Iterator[str]:
    """Copy a tree and yield what was skipped: links that lead out of the tree, devices, sockets."""
    target.mkdir()
    for root, directories, files in os.walk(source, onerror=_raise):
        source_directory = Path(root)
        target_directory = target / source_directory.relative_to(source)
        for name in [*directories, *files]:
            path = source_directory / name
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                yield from _copy_link(path, target_directory / name, source)
            elif stat.S_ISDIR(mode):
                (target_directory / name).mkdir()
            elif stat.S_ISREG(mode):
                _copy_file(path, target_directory / name)
            else:
                yield f"{path.relative_to(source.parent)}: not a file"


def _raise(error: OSError) -> None:
    raise error


def _copy_link(path: Path, target: Path, root: Path) -> Iterator[str]:
    """Copy a link that stays inside `root`; any other link could publish arbitrary files of this machine."""
    destination = path.readlink()
    if destination.is_absolute() or not path.resolve().is_relative_to(root.resolve()):
        yield f"{path.relative_to(root.parent)}: a link to {destination}"
    else:
        target.symlink_to(destination)


def _copy_file(source: Path, target: Path) -> None:
    """Copy a file, flush it to disk and verify it.

    Raises:
        CollectError: the copy differs from the source.
    """
    expected, size = hashlib.sha256(), 0
    descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW)
    with os.fdopen(descriptor, "rb") as reader, target.open("xb") as writer:
        while block := reader.read(BLOCK_SIZE):
            expected.update(block)
            size += len(block)
            writer.write(block)
        writer.flush()
        os.fsync(writer.fileno())
    with target.open("rb") as copy:
        actual = hashlib.file_digest(copy, "sha256")
    if target.stat().st_size != size or actual.digest() != expected.digest() or source.stat().st_size != size:
        msg = f"{target} differs from {source}"
        raise CollectError(msg, hint="the file changed while it was copied, or the disk is faulty; collect again")


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _replace(new: Path, old: Path) -> None:
    """Move `new` to the path `old`; the previous content moves into the temporary directory."""
    aside = new.with_name(f"{new.name}.old")
    if old.exists():
        old.rename(aside)
    new.rename(old)
