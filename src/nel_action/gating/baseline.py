"""The baseline that a policy's reference names."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from nel_action.errors import NotFoundError
from nel_action.gating.external import open_run
from nel_action.gating.result_set import ResultSet

__all__ = ["Resolver", "load_baseline"]

Resolver = Callable[[str], Path | None]
"""Resolve a reference to a run directory or results file; None if it has none."""

logger = logging.getLogger(__name__)

_INVOCATION: Final = re.compile(r"[0-9a-f]{4,16}")


def load_baseline(
    reference: str,
    *,
    folder: Path,
    invocation: Resolver | None = None,
    branch: Resolver | None = None,
    mlflow: Resolver | None = None,
) -> ResultSet | None:
    """Resolve and read a baseline.

    `mlflow:<run>` is always an MLflow run. Any other reference is an existing path, else an invocation, else a branch.

    Args:
        reference: a results file, a run directory, an invocation id or its prefix, a branch, or `mlflow:<run>`.
        folder: directory of the spec, which relative paths start from.
        invocation: resolves an invocation to its run directory on this machine.
        branch: resolves a branch to its latest passing run, which it may download.
        mlflow: resolves an MLflow run to its downloaded artifacts; provided by the `mlflow` extra.

    Returns:
        The baseline; None if a branch has no run yet.

    Raises:
        NotFoundError: the path, the invocation or the MLflow run does not exist.
        ResultsError: the results are incomplete.
    """
    scheme, _, mlflow_run = reference.partition(":")
    if scheme == "mlflow" and mlflow_run:
        return open_run(_resolve_mlflow(mlflow, mlflow_run, reference), name=reference)
    path = folder / reference
    if path.exists():
        return open_run(path, name=reference)
    if invocation and _INVOCATION.fullmatch(reference) and (run_dir := invocation(reference)):
        return open_run(run_dir, name=f"invocation {reference}")
    if "/" in reference and Path(reference).suffix in (".json", ".yml", ".yaml"):
        msg = f"baseline file not found: {path}"
        raise NotFoundError(msg, hint="commit the file that gate.baseline names, or name a branch")
    if branch is None:
        msg = f"baseline not found: {reference!r} is neither a path nor an invocation on this machine"
        raise NotFoundError(msg, hint="branches are available as baselines in a workflow only")
    run_dir = branch(reference)
    logger.info("baseline %s: %s", reference, run_dir or "no passing run yet")
    return open_run(run_dir, name=reference) if run_dir else None


def _resolve_mlflow(resolve: Resolver | None, run: str, reference: str) -> Path:
    path = resolve(run) if resolve else None
    if path is None:
        msg = f"baseline not found: {reference!r}; there is no such MLflow run"
        raise NotFoundError(msg, hint=None if resolve else "install the mlflow extra: nel-action[mlflow]")
    return path
