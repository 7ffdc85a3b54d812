"""The action's artifacts: the files to upload, and untrusted archives of other runs."""

from __future__ import annotations

import gzip
import io
import logging
import re
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from nel_action.errors import ResultsError
from nel_action.files import limited
from nel_action.github.api import GitHubApi
from nel_action.model.file_names import NAME_PATTERN, file_name
from nel_action.redaction import Redactor

__all__ = [
    "Artifact",
    "artifact_name",
    "copy_artifact_files",
    "download_results",
    "extract_results",
    "former_artifact_name",
    "list_artifacts",
]

RUN_FILES: Final = ("*.json", "*.yaml", "report.*", "junit.xml", "run_all.sh", "samples/*.jsonl.gz")
"""Patterns of uploaded files, relative to a run directory."""
JOB_FILES: Final = ("*.sh", "*.json", "logs/**/*")
"""Patterns of uploaded files, relative to the directory of a job."""
STRUCTURED: Final = frozenset({"results.json", "report.json", "gate.json", "plan.json", "invocation.json"})
"""Files whose fields are compared with those of other runs."""
UPLOAD_LIMIT: Final = 200 * 1024 * 1024
"""Bytes of one uploaded file."""
UNPACKED_UPLOAD_LIMIT: Final = 1024 * 1024 * 1024
"""Bytes that one uploaded file unpacks to; it is redacted in memory."""
ARCHIVE_LIMIT: Final = 100 * 1024 * 1024
"""Bytes of a downloaded archive."""
CONTENT_LIMIT: Final = 400 * 1024 * 1024
"""Bytes of all files extracted from an archive, as they are in it; also of all samples, unpacked once more."""
ARTIFACT_LINE_LIMIT: Final = 4 * 1024 * 1024
"""Bytes of one line of a samples file."""
LINES_LIMIT: Final = 2_000_000
"""Lines of one samples file."""
RATIO_LIMIT: Final = 200
"""Unpacked size of a samples file as a multiple of its size."""
RATIO_START: Final = 8 * 1024 * 1024
"""Unpacked bytes from which on the ratio is limited."""
FILES_LIMIT: Final = 2000
"""Entries of an archive."""
EXTRACTED: Final = re.compile(
    r"(results|report|invocation|plan)\.json|samples/(?:[\w.+-]+|" + NAME_PATTERN + r")\.jsonl\.gz"
)
"""Names that are extracted from an archive; other entries are ignored."""

_PREFIX: Final = "nel-action-"

logger = logging.getLogger(__name__)


def artifact_name(check_name: str) -> str:
    """Return the name of a gate's artifact: the same in every run, and another for every other gate.

    A name such as "Benchmark gate" is written `nel-action-benchmark-gate`, every other one with its exact characters.
    """
    slug = former_artifact_name(check_name)
    if slug.removeprefix(_PREFIX).replace("-", " ").capitalize() == check_name:
        return slug
    return f"nel-action.{file_name(check_name)}"


def former_artifact_name(check_name: str) -> str:
    """Return the name of a gate's artifact in runs before names were injective, which several gates may share."""
    slug = re.sub(r"[^A-Za-z0-9]+", "-", check_name).strip("-").lower()
    return f"{_PREFIX}{slug or 'gate'}"


def copy_artifact_files(run_dir: Path, into: Path, redact: Redactor) -> list[str]:
    """Copy the files to upload (results, reports, records, scripts and logs), without secrets.

    The harness's own artifacts are not copied, since they can be gigabytes; the results derived from them are.

    Args:
        run_dir: the run directory.
        into: folder that receives the copies.
        redact: removes secrets from the content of each file.

    Returns:
        Names of files that were omitted because they are too large or damaged.
    """
    omitted = []
    structured = redact.for_structured_files()
    if structured.forms != redact.forms:
        logger.warning("a secret is a plain word; results.json, samples and records keep it, logs and reports do not")
    for path in _upload_files(run_dir):
        name = path.relative_to(run_dir)
        target = into / name
        if path.stat().st_size > UPLOAD_LIMIT:
            omitted.append(str(name))
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            is_structured = name.name in STRUCTURED or name.parts[0] == "samples"
            _copy_redacted(path, target, structured if is_structured else redact)
        except (EOFError, ValueError, zlib.error, gzip.BadGzipFile):
            omitted.append(str(name))
    return omitted


def _upload_files(run_dir: Path) -> Iterator[Path]:
    patterns = [*RUN_FILES, *(f"*/{pattern}" for pattern in JOB_FILES)]
    paths = {path for pattern in patterns for path in run_dir.glob(pattern)}
    # NOTE: a symbolic link could point to any file of this machine; hidden files hold secrets and partial writes.
    yield from sorted(
        path
        for path in paths
        if path.is_file()
        and path.resolve().is_relative_to(run_dir.resolve())
        and not path.is_symlink()
        and not any(part.startswith(".") for part in path.relative_to(run_dir).parts)
        and "artifacts" not in path.relative_to(run_dir).parts[:-1]
    )


def _copy_redacted(path: Path, target: Path, redact: Redactor) -> None:
    if path.suffix == ".gz":
        with limited(cast("BinaryIO", gzip.open(path)), limit=UNPACKED_UPLOAD_LIMIT, line_limit=None) as source:
            data = source.read()
        redacted = _redact_bytes(data, redact)
        if redacted is data:
            shutil.copyfile(path, target)
        else:
            target.write_bytes(gzip.compress(redacted, 5, mtime=0))
        return
    target.write_bytes(_redact_bytes(path.read_bytes(), redact))


def _redact_bytes(data: bytes, redact: Redactor) -> bytes:
    """Return the data without secrets; the same object if it contains none."""
    if not redact.finds(data):
        return data
    # NOTE: surrogates preserve bytes that are not UTF-8.
    return redact(data.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """An artifact and the workflow run that uploaded it."""

    id: int
    name: str
    run_id: int
    branch: str | None
    sha: str | None
    same_repository: bool
    """Whether the run's head was in this repository; False for forks and where it is unknown."""


def list_artifacts(api: GitHubApi, repository: str, name: str, *, run_id: int | None = None) -> Iterator[Artifact]:
    """Yield the unexpired artifacts of a name, newest first.

    Args:
        api: client.
        repository: `owner/name`.
        name: exact name of the artifacts.
        run_id: yield those of this workflow run only.
    """
    path = f"/repos/{repository}/actions/{f'runs/{run_id}/' if run_id else ''}artifacts"
    for item in api.paginate(path, "artifacts", name=name):
        if not item.get("expired"):
            yield _parse_artifact(item, run_id)


def _parse_artifact(item: dict[str, Any], run_id: int | None) -> Artifact:
    run = item.get("workflow_run") or {}
    repository_id, head_id = run.get("repository_id"), run.get("head_repository_id")
    return Artifact(
        id=int(item["id"]),
        name=str(item["name"]),
        run_id=int(run.get("id") or run_id or 0),
        branch=run.get("head_branch"),
        sha=run.get("head_sha"),
        # NOTE: a fork can have a branch called `main`, too; only the numbers of the repositories differ.
        same_repository=repository_id is not None and repository_id == head_id,
    )


def download_results(api: GitHubApi, repository: str, artifact: Artifact, into: Path) -> Path:
    """Download an artifact and extract its results.

    Args:
        api: client.
        repository: `owner/name`.
        artifact: the artifact.
        into: folder that receives the files.

    Returns:
        The folder that contains `results.json`.

    Raises:
        GitHubError: the artifact cannot be downloaded, or is too large.
        ResultsError: it is not an archive of results.
    """
    logger.info("downloading artifact %s of run %d", artifact.name, artifact.run_id)
    path = f"/repos/{repository}/actions/artifacts/{artifact.id}/zip"
    return extract_results(api.download(path, limit=ARCHIVE_LIMIT), into)


def extract_results(data: bytes, into: Path) -> Path:
    """Extract the files with known names from an archive; no other entry of it is written.

    Args:
        data: the archive.
        into: folder that receives the files.

    Returns:
        The folder, which contains `results.json`.

    Raises:
        ResultsError: the archive is damaged, too large, or contains no results.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            _extract(archive, into)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, OSError, ValueError) as error:
        msg = f"the artifact cannot be extracted: {error}"
        raise ResultsError(msg) from error
    if not (into / "results.json").is_file():
        msg = "the artifact contains no results.json"
        raise ResultsError(msg)
    return into


def _extract(archive: zipfile.ZipFile, into: Path) -> None:
    entries = archive.infolist()
    if len(entries) > FILES_LIMIT:
        msg = f"it has {len(entries)} files, more than {FILES_LIMIT}"
        raise ValueError(msg)
    remaining = unpacked = CONTENT_LIMIT
    for entry in entries:
        if not EXTRACTED.fullmatch(entry.filename):
            continue
        target = into / entry.filename
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(entry) as source, target.open("wb") as out:
            # NOTE: counted while reading, because the size in the archive's header can be wrong.
            while chunk := source.read(1 << 16):
                remaining -= len(chunk)
                if remaining < 0:
                    msg = f"it unpacks to more than {CONTENT_LIMIT} bytes"
                    raise ValueError(msg)
                out.write(chunk)
        if target.suffix == ".gz":
            unpacked -= _unpacked_size(target, unpacked)


def _unpacked_size(path: Path, limit: int) -> int:
    """Return the unpacked size of a gzip file, of which one buffer is in memory at a time.

    Raises:
        ValueError: it is larger than `limit`, has a line of more than `ARTIFACT_LINE_LIMIT`, more lines than
            `LINES_LIMIT`, or is compressed by more than `RATIO_LIMIT`.
    """
    size = lines = 0
    packed = path.stat().st_size
    try:
        with limited(cast("BinaryIO", gzip.open(path, "rb")), limit=limit, line_limit=ARTIFACT_LINE_LIMIT) as stream:
            while chunk := stream.read(1 << 16):
                size += len(chunk)
                lines += chunk.count(b"\n")
                if lines > LINES_LIMIT:
                    msg = f"{path.name} has more than {LINES_LIMIT} lines"
                    raise ValueError(msg)
                if size > RATIO_START and size > RATIO_LIMIT * packed:
                    msg = f"{path.name} unpacks to more than {RATIO_LIMIT} times its size"
                    raise ValueError(msg)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        logger.info("%s is damaged; its task is unmeasurable", path.name)
    return size
