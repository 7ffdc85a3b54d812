"""Writing files so that a crash, a full disk or a second writer never leaves half of one."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

__all__ = ["digest_tree", "home_dir", "write_atomically"]


def write_atomically(path: Path, data: bytes, *, mode: int = 0o644, durable: bool = True) -> None:
    """Put `data` at `path` so that after a crash there is the old file or the whole new one.

    Args:
        path: the file; its folder is made.
        data: all of it.
        mode: of a file that is new.
        durable: whether it must outlive a loss of power; what is only shown while something runs need not.
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
    except OSError:
        partial.unlink(missing_ok=True)
        raise


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
