"""What goes into the artifact: chosen by name, and redact_report for secrets once more on its way."""

from __future__ import annotations

import gzip
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from nel_action.redaction import Redactor

__all__ = ["copy_artifact_files"]

TOP: Final = ("*.json", "*.yaml", "report.*", "junit.xml", "run_all.sh", "samples/*.jsonl.gz")
JOB: Final = ("*.sh", "*.json", "logs/**/*")
LARGEST: Final = 200 * 1024 * 1024
"""Bytes of one file; a larger one stays behind."""


def copy_artifact_files(run_dir: Path, into: Path, redact: Redactor) -> list[str]:
    """Copy results, reports, records, scripts and logs; return the names of files that were left behind.

    Artifacts of a harness stay behind, but for what was read out of them: they can be gigabytes.
    """
    left = []
    for path in _chosen(run_dir):
        target = into / path.relative_to(run_dir)
        if path.stat().st_size > LARGEST:
            left.append(str(path.relative_to(run_dir)))
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            _copy(path, target, redact)
        except (EOFError, zlib.error, gzip.BadGzipFile):
            left.append(str(path.relative_to(run_dir)))
    return left


def _chosen(run_dir: Path) -> Iterator[Path]:
    patterns = [*TOP, *(f"*/{pattern}" for pattern in JOB)]
    found = {path for pattern in patterns for path in run_dir.glob(pattern)}
    # NOTE: a link could lead to anything on this machine; hidden files are nobody's results.
    yield from sorted(
        path
        for path in found
        if path.is_file()
        and path.resolve().is_relative_to(run_dir.resolve())
        and not path.is_symlink()
        and not any(part.startswith(".") for part in path.relative_to(run_dir).parts)
        and "artifacts" not in path.relative_to(run_dir).parts[:-1]
    )


def _copy(path: Path, target: Path, redact: Redactor) -> None:
    if path.suffix == ".gz":
        with gzip.open(path) as source:
            data = source.read()
        clean = _clean(data, redact)
        if clean is data:
            shutil.copyfile(path, target)
        else:
            target.write_bytes(gzip.compress(clean, 5, mtime=0))
        return
    data = path.read_bytes()
    target.write_bytes(_clean(data, redact))


def _clean(data: bytes, redact: Redactor) -> bytes:
    """Return the same object where there is nothing to hide."""
    if not redact.finds(data):
        return data
    # NOTE: surrogates carry bytes that are not UTF-8 through unharmed.
    return redact(data.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
