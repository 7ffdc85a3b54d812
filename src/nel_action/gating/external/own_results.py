"""Our own `results.json`."""

from __future__ import annotations

import json
from pathlib import Path

from nel_action.gating.result_set import ResultSet
from nel_action.model.results import read_results

__all__ = ["read_ours"]


def read_ours(file: Path, *, name: str) -> ResultSet | None:
    """Read a results file; None where it is JSON of another kind.

    Raises:
        ResultsError: it is truncated, malformed or of another major version.
    """
    try:
        data = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        data = {"invocation": None}
    if not isinstance(data, dict) or "invocation" not in data:
        return None
    results = read_results(file)
    commit = f" {results.commit[:7]}" if results.commit else ""
    return ResultSet.from_results(results, file.parent, name=f"{name}{commit}")
