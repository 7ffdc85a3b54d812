"""Find run directories by path, invocation id or job id."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from nel_action.errors import NotFoundError, UsageError
from nel_action.ledger import run_dir_of
from nel_action.model.run_files import RunFiles

__all__ = ["find_runs"]


def find_runs(names: Sequence[str], folders: Sequence[Path], home: Path) -> tuple[Path, ...]:
    """Return the run directory of each name, or every run directory in the folders if there are no names.

    Args:
        names: paths, or beginnings of invocation ids or job ids, in the folders or in the ledger.
        folders: folders to search.
        home: folder of the ledger.

    Raises:
        UsageError: neither names nor folders are given.
        NotFoundError: a name matches no run or several runs.
    """
    runs = [run for folder in folders for run in _runs_in(folder)]
    if not names and not folders:
        msg = "no invocation given"
        raise UsageError(msg, hint="give an invocation id or its beginning, a run directory, or --job-dirs")
    if not names and not runs:
        msg = f"no run directory in {', '.join(str(folder) for folder in folders)}"
        raise NotFoundError(msg, hint="a run directory contains results.json")
    return tuple(dict.fromkeys(_find(name, runs, home) for name in names) if names else dict.fromkeys(runs))


def _find(name: str, runs: Sequence[Path], home: Path) -> Path:
    path = Path(name)
    if RunFiles(path).results.is_file() or RunFiles(path).invocation.is_file():
        return path.resolve()
    # NOTE: a job id (`<invocation>.<n>`) selects its invocation.
    prefix = name.partition(".")[0]
    matches = [run for run in runs if _invocation_id(run).startswith(prefix)]
    if len(matches) > 1:
        msg = f"'{name}' matches several invocations: {', '.join(run.name for run in matches)}"
        raise NotFoundError(msg, hint="give more digits of the id")
    return matches[0] if matches else run_dir_of(name, home)


def _runs_in(folder: Path) -> Iterator[Path]:
    """Yield the run directories in a folder and its subfolders; a folder inside a run selects that run."""
    enclosing = next((path for path in (folder, *folder.resolve().parents[:2]) if _is_run(path)), None)
    if enclosing is not None:
        yield enclosing.resolve()
        return
    for path in (*sorted(folder.glob("*")), *sorted(folder.glob("*/*"))):
        if _is_run(path):
            yield path.resolve()


def _is_run(path: Path) -> bool:
    return RunFiles(path).results.is_file()


def _invocation_id(run: Path) -> str:
    """Read the invocation id from the results: a copied directory may have any name."""
    try:
        return str(json.loads(RunFiles(run).results.read_bytes())["invocation"])
    except (OSError, ValueError, KeyError, TypeError):
        return run.name.rpartition("-")[2]
