"""Redaction of collected logs and artifacts, whatever executor copied them: this process has the values."""

from __future__ import annotations

import gzip
import logging
import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO, Final, cast

from nel_action.files import limited, open_zip, zstd_errors
from nel_action.model.env_ref import host_names, runtime_names
from nel_action.model.run_files import JobFiles
from nel_action.planning.jobs import Job
from nel_action.redaction import Redactor, secret_values
from nel_action.spec.deployment import ServedDeployment

__all__ = ["redact_job_files"]

_PROBE: Final = 8192
_GZIP: Final = b"\x1f\x8b"
_ZIP: Final = b"PK\x03\x04"
_UNPACKED_LIMIT: Final = 4 * 1024**3
"""Bytes that one compressed file unpacks to."""
_CHUNK: Final = 1 << 20
_DAMAGED: Final = (
    *(EOFError, ValueError, RuntimeError, zlib.error, gzip.BadGzipFile),
    *(zipfile.BadZipFile, zipfile.LargeZipFile),
)
"""Errors of files that are damaged, encrypted, too large, or compressed by an unknown method."""

logger = logging.getLogger(__name__)


def redact_job_files(job: Job, files: JobFiles, environ: Mapping[str, str]) -> None:
    """Redact the values of a job's variables from its logs and artifacts on this machine.

    The values are those of `host:` variables, and of `runtime:` variables that this machine has as well. Artifacts keep
    plain words, which may be names of metrics. In binary files, a value is replaced by as many asterisks, so that
    nothing moves; files in gzip and zip are unpacked and packed again if they contain a value.

    Args:
        job: the job.
        files: its files.
        environ: values of the variables.
    """
    servers = [server for server in (job.deployment, *job.auxiliary.values()) if isinstance(server, ServedDeployment)]
    references = [
        reference for env in (job.env, *(server.env_vars for server in servers)) for reference in env.values()
    ]
    names = [*host_names(references), *runtime_names(references)]
    redactor = Redactor(secret_values(environ, names).values())
    for folder, redact in ((files.logs, redactor), (files.artifacts, redactor.for_structured_files())):
        for root, _, file_names in os.walk(folder) if redact.forms else ():
            for name in file_names:
                path = Path(root) / name
                if not path.is_symlink() and path.is_file():
                    _redact(path, redact)


def _redact(path: Path, redact: Redactor) -> None:
    """Redact one file; it is replaced only if it contains a secret."""
    with path.open("rb") as probe:
        start = probe.read(_PROBE)
    if start.startswith(_GZIP):
        rewrite: Callable[[Path, Path, Redactor], bool] = _redact_gzip
    elif start.startswith(_ZIP):
        rewrite = _redact_zip
    else:
        rewrite = _redact_binary if b"\0" in start else _redact_text
    damaged: tuple[type[Exception], ...] = (*_DAMAGED, *zstd_errors())
    partial = path.with_name(f".{path.name}.redacted")
    try:
        try:
            changed = rewrite(path, partial, redact)
        except damaged as error:
            logger.warning("%s cannot be unpacked, so that only its own bytes are redacted: %s", path.name, error)
            changed = _redact_binary(path, partial, redact)
        if changed:
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _redact_text(path: Path, partial: Path, redact: Redactor) -> bool:
    """Write the text without secrets to another file, line by line; return whether it contained any.

    Args:
        path: the file.
        partial: receives the text.
        redact: removes secrets.
    """
    changed = False
    with (
        path.open(encoding="utf-8", errors="surrogateescape", newline="") as source,
        partial.open("w", encoding="utf-8", errors="surrogateescape", newline="") as target,
    ):
        for line in source:
            redacted = redact(line)
            changed = changed or redacted != line
            target.write(redacted)
    return changed


def _redact_binary(path: Path, partial: Path, redact: Redactor) -> bool:
    """Replace secrets in a binary file by as many asterisks; the arguments are those of `_redact_text`."""
    changed, kept = False, b""
    overlap = max((len(form.encode()) for form in redact.forms), default=1) - 1
    with path.open("rb") as source, partial.open("wb") as target:
        while chunk := source.read(_CHUNK):
            block = kept + chunk
            masked = redact.mask(block)
            changed = changed or masked != block
            # NOTE: the end is searched again with the next block, since a secret may begin there.
            border = max(0, len(masked) - overlap)
            target.write(masked[:border])
            kept = masked[border:]
        target.write(kept)
    return changed


def _redact_gzip(path: Path, partial: Path, redact: Redactor) -> bool:
    """Redact the content of a gzip file; the arguments are those of `_redact_text`."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        plain = Path(folder) / "content"
        with (
            limited(cast("BinaryIO", gzip.open(path)), limit=_UNPACKED_LIMIT, line_limit=None) as source,
            plain.open("wb") as target,
        ):
            shutil.copyfileobj(source, target)
        redacted = Path(folder) / "redacted"
        if not _redact_content(plain, redacted, redact):
            return False
        with (
            redacted.open("rb") as source,
            partial.open("wb") as raw,
            gzip.GzipFile(fileobj=raw, mode="wb", filename="", mtime=0, compresslevel=5) as packed,
        ):
            shutil.copyfileobj(source, packed)
    return True


def _redact_zip(path: Path, partial: Path, redact: Redactor) -> bool:
    """Redact the members of a zip archive, such as a log of inspect; the arguments are those of `_redact_text`."""
    changed = False
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        plain, redacted = Path(folder) / "content", Path(folder) / "redacted"
        with open_zip(path) as source, open_zip(partial, "w") as target:
            remaining = _UNPACKED_LIMIT
            for member in source.infolist():
                remaining -= member.file_size
                if remaining < 0:
                    msg = f"it unpacks to more than {_UNPACKED_LIMIT} bytes"
                    raise ValueError(msg)
                with source.open(member) as data, plain.open("wb") as out:
                    shutil.copyfileobj(data, out)
                is_changed = _redact_content(plain, redacted, redact)
                changed = changed or is_changed
                with (redacted if is_changed else plain).open("rb") as data, target.open(member, "w") as out:
                    shutil.copyfileobj(data, out)
    return changed


def _redact_content(plain: Path, redacted: Path, redact: Redactor) -> bool:
    with plain.open("rb") as probe:
        rewrite = _redact_binary if b"\0" in probe.read(_PROBE) else _redact_text
    return rewrite(plain, redacted, redact)
