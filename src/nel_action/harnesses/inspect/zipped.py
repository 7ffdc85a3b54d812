"""inspect's own log format: a zip archive of JSON, packed with Zstandard, which Python itself knows from 3.14 on."""

from __future__ import annotations

import zlib
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from zipfile import ZipFile

__all__ = ["open_zip", "zip_errors"]


def _backport() -> bool:
    return find_spec("backports") is not None and find_spec("backports.zstd") is not None


def open_zip(path: Path) -> ZipFile:
    """Open an archive with the reader that knows most; a member that it cannot unpack is a NotImplementedError.

    Raises:
        OSError: the file cannot be read.
        Exception: one of `zip_errors`.
    """
    module = import_module("backports.zstd.zipfile" if _backport() else "zipfile")
    return cast("ZipFile", module.ZipFile(path))


def zip_errors() -> tuple[type[Exception], ...]:
    """Return what tells of a torn archive."""
    import zipfile

    if not _backport():
        return zipfile.BadZipFile, zlib.error
    zstd, zips = import_module("backports.zstd"), import_module("backports.zstd.zipfile")
    return zipfile.BadZipFile, zips.BadZipFile, zlib.error, zstd.ZstdError
