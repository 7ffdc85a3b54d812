"""Resolution of `gate.baseline`: a path, an invocation, `mlflow:<run>`, or a branch."""

from __future__ import annotations

import json
import logging
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from nel_action.driver.surroundings import BranchResolver, Rules, Surroundings
from nel_action.errors import AmbiguousError, NotFoundError
from nel_action.exporters.registry import fetch_baseline
from nel_action.gating.baseline import load_baseline
from nel_action.gating.result_set import ResultSet
from nel_action.ledger import Ledger, run_dir_of
from nel_action.model.run_files import RunFiles

__all__ = ["find_baseline", "latest_passing_run", "open_baseline"]

logger = logging.getLogger(__name__)

_COMMITS: Final = 200
"""Latest commits of a branch whose runs are considered."""


def find_baseline(rules: Rules, around: Surroundings, *, commit: str | None = None) -> ResultSet | None:
    """Return the baseline of a policy.

    Args:
        rules: the policy and its directory.
        around: home, environment and resolver of branches.
        commit: the commit under test; its own runs on this machine are no baseline for it.

    Returns:
        The baseline; None if the policy names none, or a branch without a passing run.

    Raises:
        NotFoundError: the policy names a path, an invocation or a branch that does not exist.
        ResultsError: the results are incomplete.
    """
    reference = rules.policy.baseline if rules.policy else None
    if reference is None:
        return None
    baseline = open_baseline(
        reference,
        folder=rules.folder,
        home=around.home,
        environ=around.environ,
        branches=around.branches,
        exclude=commit,
    )
    logger.info("baseline %s: %s", reference, baseline.root if baseline else "no passing run yet")
    return baseline


def open_baseline(
    reference: str,
    *,
    folder: Path,
    home: Path,
    environ: Mapping[str, str],
    branches: BranchResolver | None = None,
    exclude: str | None = None,
) -> ResultSet | None:
    """Read the results that a reference names.

    Args:
        reference: a path, an ID of an invocation of this machine, `mlflow:<run>`, or a branch.
        folder: directory that relative paths start from.
        home: `$NEL_ACTION_HOME`.
        environ: source of the address and the credentials of services.
        branches: resolves a branch; by default to the latest passing run on this machine.
        exclude: a commit whose runs on this machine are ignored.

    Returns:
        The results; None for a branch without a passing run.

    Raises:
        NotFoundError: nothing has this name.
        AmbiguousError: several invocations match.
        ResultsError: the results are incomplete.
    """

    def invocation(prefix: str) -> Path | None:
        try:
            return run_dir_of(prefix, home)
        except AmbiguousError:
            raise
        except NotFoundError:
            return None

    return load_baseline(
        reference,
        folder=folder,
        invocation=invocation,
        branch=branches or (lambda name: latest_passing_run(name, checkout=folder, home=home, exclude=exclude)),
        mlflow=lambda run: fetch_baseline("mlflow", run, home, environ),
    )


def latest_passing_run(branch: str, *, checkout: Path, home: Path, exclude: str | None = None) -> Path | None:
    """Return the run directory of the latest commit of a branch that has a passing run on this machine.

    Args:
        branch: name of the branch, or another git revision.
        checkout: a directory in the checkout.
        home: `$NEL_ACTION_HOME`.
        exclude: a commit whose runs are ignored.

    Raises:
        NotFoundError: the checkout has no such branch.
    """
    argv = ["git", "-C", str(checkout), "rev-list", f"--max-count={_COMMITS}", "--end-of-options", branch, "--"]
    completed = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30)
    if completed.returncode:
        msg = f"no baseline '{branch}': no such path, invocation or branch here"
        raise NotFoundError(msg, hint="gate.baseline takes a results file, a run directory, an invocation or a branch")
    age = {commit: index for index, commit in enumerate(completed.stdout.split())}
    with Ledger(home) as ledger:
        run_dirs = [row.run_dir for row in ledger.invocations()]
    passed = [
        (age[commit], run_dir)
        for run_dir in run_dirs
        # NOTE: if a commit were its own baseline, nothing could ever have changed.
        if (commit := _passing_commit(run_dir)) in age and commit != exclude
    ]
    return min(passed, key=lambda item: item[0])[1] if passed else None


def _passing_commit(run_dir: Path) -> str:
    """Return the commit of a run that passed its gate, else an empty string."""
    files = RunFiles(run_dir)
    try:
        gate, results = _read(files.gate), _read(files.results)
    except (OSError, ValueError):
        return ""
    return str(results.get("commit") or "") if gate.get("verdict") == "pass" else ""


def _read(path: Path) -> Mapping[str, object]:
    data = json.loads(path.read_bytes())
    return data if isinstance(data, dict) else {}
