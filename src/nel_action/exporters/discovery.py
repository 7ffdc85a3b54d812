"""From invocation ids and folders to run directories."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from nel_action.errors import NotFoundError, UsageError
from nel_action.ledger import run_dir_of

__all__ = ["find_runs"]


def find_runs(names: Sequence[str], searched: Sequence[Path], home: Path) -> tuple[Path, ...]:
    """Return the run directory of each name: a path, an id in one of the searched folders, or in the ledger.

    Without names, every run in the searched folders.

    Raises:
        UsageError: there is nothing to look for.
        NotFoundError: a name leads nowhere, or to several runs.
    """
    there = [run for folder in searched for run in _runs_in(folder)]
    if not names and not searched:
        msg = "which invocation?"
        raise UsageError(msg, hint="give an id or its beginning, a run directory, or --job-dirs")
    if not names and not there:
        msg = f"no run directory in {', '.join(str(folder) for folder in searched)}"
        raise NotFoundError(msg, hint="a run directory is one that holds results.json")
    found = [_find(name, there, home) for name in names] if names else there
    return tuple(dict.fromkeys(found))


def _find(name: str, there: Sequence[Path], home: Path) -> Path:
    path = Path(name)
    if (path / "results.json").is_file() or (path / "invocation.json").is_file():
        return path.resolve()
    # NOTE: a job id (`<invocation>.<n>`) means its invocation.
    identity = name.partition(".")[0]
    matching = [run for run in there if _invocation(run).startswith(identity)]
    if len(matching) > 1:
        msg = f"'{name}' is the beginning of several invocations: {', '.join(run.name for run in matching)}"
        raise NotFoundError(msg, hint="give more of its digits")
    if matching:
        return matching[0]
    return run_dir_of(name, home)


def _runs_in(folder: Path) -> Iterator[Path]:
    """Find runs in a folder or one below it; a folder inside a run, such as a job's, stands for the run."""
    within = next((path for path in (folder, *folder.resolve().parents[:2]) if _is_run(path)), None)
    if within is not None:
        yield within.resolve()
        return
    for path in (*sorted(folder.glob("*")), *sorted(folder.glob("*/*"))):
        if _is_run(path):
            yield path.resolve()


def _is_run(path: Path) -> bool:
    return (path / "results.json").is_file()


def _invocation(run: Path) -> str:
    """Read whose results these are: a directory from elsewhere may bear any name."""
    try:
        return str(json.loads((run / "results.json").read_bytes())["invocation"])
    except (OSError, ValueError, KeyError, TypeError):
        return run.name.rpartition("-")[2]
