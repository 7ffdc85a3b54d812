"""Which format a path holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from nel_action.errors import NotFoundError, ResultsError
from nel_action.gating.result_set import ResultSet

__all__ = ["open_run"]

_KNOWN: Final = (
    "a results.json of nel-action, lm-eval results (results_*.json), inspect logs (*.json, *.eval), "
    "nemo-evaluator's results.yml or its bundles (eval-*.json with results.jsonl)"
)


def open_run(path: Path, *, name: str | None = None) -> ResultSet:
    """Read results in whichever known format they are.

    Args:
        path: a file, or a directory that holds one run.
        name: what the run is called in reports; the path's own name unless given.

    Raises:
        NotFoundError: there is nothing at the path.
        ResultsError: nothing there is in a known format, or it is not whole.
    """
    if not path.exists():
        msg = f"{path} does not exist"
        raise NotFoundError(msg, hint=f"it may be {_KNOWN}")
    for reader in (_ours, _bundles, _lm_eval, _nemo, _inspect):
        run = reader(path, name or path.name)
        if run is not None:
            return run
    msg = f"no results in {path}"
    raise ResultsError(msg, hint=f"known are {_KNOWN}")


def _ours(path: Path, name: str) -> ResultSet | None:
    from nel_action.gating.external.own_results import read_ours

    file = path / "results.json" if path.is_dir() else path
    if file.suffix != ".json" or not file.is_file() or file.name.startswith(("results_", "eval-")):
        return None
    return read_ours(file, name=name)


def _bundles(path: Path, name: str) -> ResultSet | None:
    from nel_action.gating.external.bundles import read_bundles

    return _where(path, ("eval-*.json", "*/eval-*.json"), lambda files: read_bundles(files, name=name))


def _lm_eval(path: Path, name: str) -> ResultSet | None:
    from nel_action.gating.external.harnesses import read_lm_eval

    return _where(path, ("results_*.json", "**/results_*.json"), lambda files: read_lm_eval(files, name=name))


def _nemo(path: Path, name: str) -> ResultSet | None:
    from nel_action.gating.external.harnesses import read_nemo

    return _where(path, ("results.yml", "**/results.yml"), lambda files: read_nemo(files, name=name))


def _inspect(path: Path, name: str) -> ResultSet | None:
    from nel_action.gating.external.harnesses import read_inspect

    patterns = ("*.eval", "*.json", "**/*.eval", "**/*.json")
    return _where(path, patterns, lambda files: read_inspect(files, name=name))


def _where(path: Path, patterns: Iterable[str], read: Callable[[list[Path]], ResultSet | None]) -> ResultSet | None:
    """Read the file itself where its name fits, or all files of a folder that fit the first pattern that any fits."""
    for pattern in patterns:
        found = sorted(path.glob(pattern)) if path.is_dir() else [path] * path.match(pattern)
        if found:
            return read(found)
    return None
