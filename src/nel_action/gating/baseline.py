"""What to compare with: found by the reference that a policy names."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from nel_action.errors import NotFoundError
from nel_action.gating.external import open_run
from nel_action.gating.result_set import ResultSet

__all__ = ["Resolver", "load_baseline"]

Resolver = Callable[[str], Path | None]
"""From a reference to the run directory or results file that it stands for; None where it stands for nothing."""

_INVOCATION: Final = re.compile(r"[0-9a-f]{4,16}")


def load_baseline(
    reference: str,
    *,
    folder: Path,
    invocation: Resolver | None = None,
    branch: Resolver | None = None,
    mlflow: Resolver | None = None,
) -> ResultSet | None:
    """Find and read what a reference stands for.

    A path that exists comes first, then an invocation, then a branch; `mlflow:<run>` is always MLflow's.

    Args:
        reference: a results file, a run directory, an invocation id or its prefix, a branch, or `mlflow:<run>`.
        folder: where relative paths start: the spec's folder.
        invocation: finds an invocation's run directory on this machine.
        branch: finds the newest passing run of a branch; may fetch it first.
        mlflow: finds the artifacts of an MLflow run; the `mlflow` extra brings one.

    Returns:
        The baseline; None where the reference is good and there is no run under it yet (a first run).

    Raises:
        NotFoundError: the reference is a path, an invocation or an MLflow run that does not exist.
        ResultsError: its results are not whole.
    """
    scheme, _, rest = reference.partition(":")
    if scheme == "mlflow" and rest:
        return open_run(_must(mlflow, rest, reference, "no MLflow run"), name=reference)
    path = folder / reference
    if path.exists():
        return open_run(path, name=reference)
    if invocation and _INVOCATION.fullmatch(reference) and (found := invocation(reference)):
        return open_run(found, name=f"invocation {reference}")
    if "/" in reference and Path(reference).suffix in (".json", ".yml", ".yaml"):
        msg = f"no baseline at {path}"
        raise NotFoundError(msg, hint="gate.baseline names a file that is not there; commit it, or name a branch")
    if branch is None:
        msg = f"no baseline {reference!r}: no such path or invocation here, and branches cannot be looked up"
        raise NotFoundError(msg, hint="branches are looked up in a workflow, where GitHub can be asked")
    found = branch(reference)
    return open_run(found, name=reference) if found else None


def _must(resolve: Resolver | None, what: str, reference: str, missing: str) -> Path:
    found = resolve(what) if resolve else None
    if found is None:
        msg = f"{missing} for the baseline {reference!r}"
        raise NotFoundError(msg, hint=None if resolve else "install the extra that brings MLflow: nel-action[mlflow]")
    return found
