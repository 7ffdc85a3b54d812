"""Files: atomic writes, locks, archives, digests of directories, and the location of `$NEL_ACTION_HOME`."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Literal, cast

if TYPE_CHECKING:
    from zipfile import ZipFile

    from _typeshed import WriteableBuffer

__all__ = [
    "LINE_LIMIT",
    "UNPACKED_LIMIT",
    "LimitedReader",
    "digest_tree",
    "home_dir",
    "is_generated",
    "limited",
    "open_zip",
    "try_lock",
    "without_surrogates",
    "write_atomically",
    "zstd_errors",
]

LINE_LIMIT: Final = 64 * 1024 * 1024
"""Bytes of one line of a samples file."""
UNPACKED_LIMIT: Final = 16 * 1024 * 1024 * 1024
"""Bytes that a file of this machine may unpack to."""
_BUFFER_SIZE: Final = 1 << 20


class LimitedReader(io.RawIOBase):
    """Reads from a stream and rejects more bytes, or longer lines, than allowed; for anything that was compressed."""

    def __init__(self, source: BinaryIO, *, limit: int = UNPACKED_LIMIT, line_limit: int | None = LINE_LIMIT) -> None:
        """Wrap a stream.

        Args:
            source: the stream, which is closed with this one.
            limit: bytes of the entire stream.
            line_limit: bytes of a line; None for data without lines.
        """
        self._source = source
        self._remaining = limit
        self._limit = limit
        self._line_limit = line_limit
        self._line = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Read into a buffer.

        Raises:
            ValueError: a limit is exceeded.
        """
        data = self._source.read(len(memoryview(buffer)))
        memoryview(buffer)[: len(data)] = data
        self._remaining -= len(data)
        if self._remaining < 0:
            msg = f"it unpacks to more than {self._limit} bytes"
            raise ValueError(msg)
        if self._line_limit is not None:
            first, last = data.find(b"\n"), data.rfind(b"\n")
            longest = self._line + (len(data) if first < 0 else first)
            if len(data) > self._line_limit:
                longest = max(longest, *map(len, data.split(b"\n")[1:]), 0)
            self._line = self._line + len(data) if last < 0 else len(data) - last - 1
            if max(self._line, longest) > self._line_limit:
                msg = f"it has a line of more than {self._line_limit} bytes"
                raise ValueError(msg)
        return len(data)

    def close(self) -> None:
        """Close the stream."""
        self._source.close()
        super().close()


def limited(source: BinaryIO, *, limit: int = UNPACKED_LIMIT, line_limit: int | None = LINE_LIMIT) -> BinaryIO:
    """Return a buffered `LimitedReader`.

    Args:
        source: the stream, which is closed with the returned one.
        limit: bytes of the entire stream.
        line_limit: bytes of a line; None for data without lines.
    """
    # NOTE: GzipFile.readline runs in Python for every line, BufferedReader.readline does not.
    return cast("BinaryIO", io.BufferedReader(LimitedReader(source, limit=limit, line_limit=line_limit), _BUFFER_SIZE))


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


def is_generated(path: Path) -> bool:
    """Return whether a path is no part of the sources around it: files of git, bytecode, a run directory, a home.

    A folder that a task names may contain the output of earlier runs and `$NEL_ACTION_HOME`.
    """
    if path.name in {".git", "__pycache__"}:
        return True
    return (path / "invocation.json").is_file() or (path / "ledger.db").is_file() or path.absolute() == home_dir()


def _source_files(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not is_generated(Path(parent, name))]
        yield from (path for name in names if (path := Path(parent, name)).name != ".git" and path.is_file())


def digest_tree(folder: Path) -> str:
    """Return the SHA-256 of a folder's files: their relative paths and contents, whatever their dates.

    Generated files (`is_generated`) are left out.
    """
    total = hashlib.sha256()
    for path in sorted(_source_files(folder)):
        name = path.relative_to(folder).as_posix()
        total.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()


def home_dir() -> Path:
    """Return `$NEL_ACTION_HOME`, by default `~/.nel-action`."""
    return Path(os.environ.get("NEL_ACTION_HOME") or "~/.nel-action").expanduser().absolute()


def try_lock(path: Path) -> int | None:
    """Lock a file, which is created if it does not exist; return a descriptor, or None if another process holds it.

    Closing the descriptor, or the end of the process, releases the lock.
    """
    import fcntl

    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def open_zip(path: Path, mode: Literal["r", "w"] = "r") -> ZipFile:
    """Open an archive whose members may be compressed with Zstandard, as logs of inspect are.

    Python supports this from version 3.14 on; before, `backports.zstd` does. Without either, opening such a member
    raises NotImplementedError.

    Args:
        path: the archive.
        mode: `r` to read, `w` to write.
    """
    if not _has_zstd_backport():
        import zipfile

        return zipfile.ZipFile(path, mode)
    from backports.zstd import zipfile as backport

    return cast("ZipFile", backport.ZipFile(path, mode))


def zstd_errors() -> tuple[type[Exception], ...]:
    """Return the errors of damaged archives that `open_zip` adds to those of `zipfile`."""
    if not _has_zstd_backport():
        return ()
    from backports.zstd import ZstdError
    from backports.zstd.zipfile import BadZipFile

    return (BadZipFile, ZstdError)


def without_surrogates(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Return a JSON value whose texts can be encoded; half of a surrogate pair becomes U+FFFD.

    Programs that cut text at a number of UTF-16 units write such halves, and `json.dumps` escapes them.
    """
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [without_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {without_surrogates(key): without_surrogates(item) for key, item in value.items()}
    return value


def _has_zstd_backport() -> bool:
    from importlib.util import find_spec

    return find_spec("backports") is not None and find_spec("backports.zstd") is not None
