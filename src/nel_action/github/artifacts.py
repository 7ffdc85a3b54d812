"""Artifacts of earlier runs: found by name, downloaded with a limit, unpacked without trust."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from nel_action.errors import ResultsError
from nel_action.github.api import GitHubApi

__all__ = ["Artifact", "artifact_name", "download", "find_artifacts", "unpack"]

ARCHIVE_LIMIT: Final = 100 * 1024 * 1024
"""Bytes of a downloaded archive."""
CONTENT_LIMIT: Final = 400 * 1024 * 1024
"""Bytes of all that an archive unpacks to."""
FILES_LIMIT: Final = 2000
WANTED: Final = re.compile(r"(results|report|invocation|plan)\.json|samples/[\w.+-]+\.jsonl\.gz")
"""What is taken out of an archive; everything else stays in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """One artifact, and which run made it."""

    id: int
    name: str
    run_id: int
    branch: str | None
    sha: str | None
    own: bool
    """Whether the run's head was this repository; False for forks and where it cannot be seen."""


def artifact_name(check_name: str) -> str:
    """Return the name under which a gate keeps its results: the same in every run."""
    slug = re.sub(r"[^A-Za-z0-9]+", "-", check_name).strip("-").lower()
    return f"nel-action-{slug or 'gate'}"


def find_artifacts(api: GitHubApi, repository: str, name: str, *, run_id: int | None = None) -> Iterator[Artifact]:
    """List artifacts of that name, newest first, those that have expired left out."""
    path = f"/repos/{repository}/actions/{f'runs/{run_id}/' if run_id else ''}artifacts"
    for item in api.pages(path, "artifacts", name=name):
        if not item.get("expired"):
            yield _seen(item, run_id)


def _seen(item: dict[str, Any], run_id: int | None) -> Artifact:
    run = item.get("workflow_run") or {}
    here, home = run.get("repository_id"), run.get("head_repository_id")
    return Artifact(
        id=int(item["id"]),
        name=str(item["name"]),
        run_id=int(run.get("id") or run_id or 0),
        branch=run.get("head_branch"),
        sha=run.get("head_sha"),
        # NOTE: a fork's branch may be called `main` too; only the repository's number tells them apart.
        own=here is not None and here == home,
    )


def download(api: GitHubApi, repository: str, artifact: Artifact, into: Path) -> Path:
    """Fetch an artifact and take out of it what we know.

    Raises:
        GitHubError: it cannot be had, or is too large.
        ResultsError: it is no archive, or not a harmless one.
    """
    path = f"/repos/{repository}/actions/artifacts/{artifact.id}/zip"
    return unpack(api.download(path, limit=ARCHIVE_LIMIT), into)


def unpack(data: bytes, into: Path) -> Path:
    """Take the known files out of an archive; their place is found by their names alone.

    Returns:
        The folder with `results.json` in it.

    Raises:
        ResultsError: it is no archive, holds too much, or holds no results.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            _extract(archive, into)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, OSError, ValueError) as error:
        msg = f"the artifact is not a whole archive: {error}"
        raise ResultsError(msg) from error
    if not (into / "results.json").is_file():
        msg = "the artifact holds no results.json"
        raise ResultsError(msg)
    return into


def _extract(archive: zipfile.ZipFile, into: Path) -> None:
    entries = archive.infolist()
    if len(entries) > FILES_LIMIT:
        msg = f"{len(entries)} files are more than {FILES_LIMIT}"
        raise ValueError(msg)
    room = CONTENT_LIMIT
    for entry in entries:
        if not WANTED.fullmatch(entry.filename):
            continue
        target = into / entry.filename
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(entry) as source, target.open("wb") as out:
            # NOTE: counted while reading; the size that an archive claims is its maker's word.
            while chunk := source.read(1 << 16):
                room -= len(chunk)
                if room < 0:
                    msg = f"it unpacks to more than {CONTENT_LIMIT} bytes"
                    raise ValueError(msg)
                out.write(chunk)
