"""Atomic writes, digests of directories, and the location of `$NEL_ACTION_HOME`."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

__all__ = ["digest_tree", "home_dir", "write_atomically"]


def write_atomically(path: Path, data: bytes, *, mode: int = 0o644, durable: bool = True) -> None:
    """Replace a file such that a reader finds the old or the new content, also after a crash.

    Args:
        path: the file; its directory is created.
        data: the new content.
        mode: permissions of a new file.
        durable: whether the content must survive a power failure; False for short-lived files such as progress.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        with os.fdopen(descriptor, "wb") as out:
            out.write(data)
            out.flush()
            if durable:
                os.fsync(out.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        # NOTE: an error of `write` (disk full) names no file.
        raise OSError(error.errno, error.strerror, str(path)) from error


def digest_tree(folder: Path) -> str:
    """Return the SHA-256 of a folder's files: their relative paths and contents, whatever their dates."""
    total = hashlib.sha256()
    for path in sorted(item for item in folder.rglob("*") if item.is_file() and "__pycache__" not in item.parts):
        name = path.relative_to(folder).as_posix()
        total.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()


def home_dir() -> Path:
    """Return `$NEL_ACTION_HOME`, by default `~/.nel-action`."""
    return Path(os.environ.get("NEL_ACTION_HOME") or "~/.nel-action").expanduser().absolute()
