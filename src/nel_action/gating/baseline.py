"""The baseline that a policy's reference names, its digest and its age."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from nel_action.errors import NotFoundError
from nel_action.gating.result_set import ResultSet

__all__ = ["Located", "Resolver", "age_of", "content_digest", "locate_baseline"]

Resolver = Callable[[str], Path | None]
"""Resolve a reference to a run directory or results file; None if it has none."""

logger = logging.getLogger(__name__)

_INVOCATION: Final = re.compile(r"[0-9a-f]{4,16}")
_ITEM_FILES: Final = ("samples", "results")
"""Beginnings of the names of files next to a results file that contain its items."""


@dataclass(frozen=True, slots=True)
class Located:
    """A file or directory with results, and its name in reports."""

    path: Path
    name: str


def locate_baseline(
    reference: str,
    *,
    folder: Path,
    invocation: Resolver | None = None,
    branch: Resolver | None = None,
    mlflow: Resolver | None = None,
) -> Located | None:
    """Resolve a baseline.

    `mlflow:<run>` is always an MLflow run. Any other reference is an existing path, else an invocation, else a branch.

    Args:
        reference: a results file, a run directory, an invocation id or its prefix, a branch, or `mlflow:<run>`.
        folder: directory of the spec, which relative paths start from.
        invocation: resolves an invocation to its run directory on this machine.
        branch: resolves a branch to its latest passing run, which it may download.
        mlflow: resolves an MLflow run to its downloaded artifacts; provided by the `mlflow` extra.

    Returns:
        The location; None if a branch has no run yet.

    Raises:
        NotFoundError: the path, the invocation or the MLflow run does not exist.
    """
    scheme, _, mlflow_run = reference.partition(":")
    if scheme == "mlflow" and mlflow_run:
        return Located(_resolve_mlflow(mlflow, mlflow_run, reference), reference)
    path = folder / reference
    if path.exists():
        return Located(path, reference)
    if invocation and _INVOCATION.fullmatch(reference) and (run_dir := invocation(reference)):
        return Located(run_dir, f"invocation {reference}")
    if "/" in reference and Path(reference).suffix in (".json", ".yml", ".yaml"):
        msg = f"baseline file not found: {path}"
        raise NotFoundError(msg, hint="commit the file that gate.baseline names, or name a branch")
    if branch is None:
        msg = f"baseline not found: {reference!r} is neither a path nor an invocation on this machine"
        raise NotFoundError(msg, hint="branches are available as baselines in a workflow only")
    branch_dir = branch(reference)
    logger.info("baseline %s: %s", reference, branch_dir or "no passing run yet")
    return Located(branch_dir, reference) if branch_dir else None


def _resolve_mlflow(resolve: Resolver | None, run: str, reference: str) -> Path:
    path = resolve(run) if resolve else None
    if path is None:
        msg = f"baseline not found: {reference!r}; there is no such MLflow run"
        raise NotFoundError(msg, hint=None if resolve else "install the mlflow extra: nel-action[mlflow]")
    return path


def content_digest(run: ResultSet, path: Path) -> str:
    """Return the digest of all files that a judgement reads from results; a missing file changes it.

    Args:
        run: the results.
        path: the file or directory that they were read from.
    """
    digest = hashlib.sha256()
    for name, file in _files(run, path):
        digest.update(f"{name}\0{_file_digest(file)}\n".encode("utf-8", "surrogateescape"))
    return f"sha256:{digest.hexdigest()}"


def _files(run: ResultSet, path: Path) -> Iterator[tuple[str, Path]]:
    """Yield name and path of each file; only own results name the files of their items."""
    if run.root is not None:
        yield "results.json", path / "results.json" if path.is_dir() else path
        yield from ((str(task.samples), run.root / task.samples) for task in run.results.tasks if task.samples)
    elif path.is_dir():
        yield from _files_below(path, path)
    else:
        yield path.name, path
        for sibling in sorted(path.parent.iterdir()):
            if sibling != path and sibling.name.startswith(_ITEM_FILES):
                yield from _files_below(sibling, path.parent) if sibling.is_dir() else [(sibling.name, sibling)]


def _files_below(folder: Path, root: Path) -> Iterator[tuple[str, Path]]:
    for parent, folders, files in os.walk(folder):
        folders.sort()
        yield from (((Path(parent) / name).relative_to(root).as_posix(), Path(parent) / name) for name in sorted(files))


def _file_digest(path: Path) -> str:
    if not path.is_file():
        return "missing"
    with path.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


def age_of(created: str | None, at: str | None = None) -> float | None:
    """Return the age of results in seconds; None if it is unknown or negative.

    Args:
        created: when they were created; RFC 3339.
        at: the time of the comparison; now by default.
    """
    try:
        start = datetime.fromisoformat(created or "")
        end = datetime.fromisoformat(at) if at else datetime.now(UTC)
        seconds = (end - start).total_seconds()
    except (ValueError, TypeError):
        return None
    return seconds if seconds >= 0 else None
