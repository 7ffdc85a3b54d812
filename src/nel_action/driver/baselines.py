"""Resolution of `gate.baseline`: a path, an invocation, `mlflow:<run>`, or a branch."""

from __future__ import annotations

import json
import logging
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from nel_action.driver.surroundings import BranchResolver, Rules, Surroundings
from nel_action.errors import AmbiguousError, NotFoundError, ResultsError
from nel_action.exporters.registry import fetch_baseline
from nel_action.gating.baseline import Located, content_digest, locate_baseline
from nel_action.gating.external import open_run
from nel_action.gating.result_set import ResultSet
from nel_action.ledger import Ledger, now, run_dir_of
from nel_action.model.baseline import PinnedBaseline
from nel_action.model.run_files import RunFiles

__all__ = ["latest_passing_run", "open_baseline", "open_pinned", "pin_baselines"]

logger = logging.getLogger(__name__)

_COMMITS: Final = 200
"""Latest commits of a branch whose runs are considered."""
_AGAIN: Final = "run the gate again: it resolves the baseline anew, and finds the submitted jobs by their keys"


def pin_baselines(
    rules: Rules, around: Surroundings, *, commit: str | None, pinned: tuple[PinnedBaseline, ...] = ()
) -> tuple[PinnedBaseline, ...]:
    """Resolve the baselines of all rules; those that are pinned already stay as they are.

    Args:
        rules: the policies and their directories.
        around: home, environment and resolver of branches.
        commit: the commit under test; its own runs on this machine are no baseline for it.
        pinned: baselines that were resolved earlier.

    Raises:
        NotFoundError: a policy names a path, an invocation or a branch that does not exist.
        ResultsError: the results are incomplete.
    """
    pins = list(pinned)
    for each in rules.all:
        reference = each.policy.baseline if each.policy and each.unmeasurable is None else None
        if reference is not None and not any(pin.belongs_to(reference, each.base) for pin in pins):
            pins.append(_pin(reference, each, around, commit))
    return tuple(pins)


def _pin(reference: str, rules: Rules, around: Surroundings, commit: str | None) -> PinnedBaseline:
    located = _locate(
        reference,
        folder=rules.folder,
        home=around.home,
        environ=around.environ,
        branches=around.branches,
        exclude=commit,
    )
    unresolved = PinnedBaseline(reference=reference, base=rules.base, resolved=now())
    if located is None:
        return unresolved
    run = open_run(located.path, name=located.name)
    pin = replace(
        unresolved,
        name=run.name,
        path=str(located.path.absolute()),
        source=around.artifacts.source_of(located.path) if around.artifacts else None,
        digest=content_digest(run, located.path),
        commit=run.results.commit,
        created=run.results.created or None,
    )
    logger.info("baseline %s: %s, %s", reference, pin.name, pin.digest)
    return pin


def open_pinned(rules: Rules, around: Surroundings, pins: tuple[PinnedBaseline, ...]) -> ResultSet | None:
    """Read the baseline that was resolved at submission, and no other.

    Args:
        rules: the policy.
        around: where other machines find it.
        pins: the baselines of the invocation.

    Returns:
        The baseline; None if the policy names none, or a branch that had no passing run.

    Raises:
        ResultsError: it does not exist any more, or is not the same; both digests are named.
    """
    reference = rules.policy.baseline if rules.policy else None
    if reference is None:
        return None
    pin = next((pin for pin in pins if pin.belongs_to(reference, rules.base)), None)
    if pin is None:
        msg = f"baseline {reference}: it was not resolved when the jobs were submitted"
        raise ResultsError(msg, hint=_AGAIN)
    if pin.path is None:
        return None
    path = _find_again(pin, rules, around)
    if path is None:
        msg = f"baseline {pin.name}: it had the digest {pin.digest} at submission and does not exist any more"
        raise ResultsError(msg, hint=_AGAIN)
    run = open_run(path, name=reference)
    digest = content_digest(run, path)
    if digest != pin.digest:
        msg = f"baseline {pin.name}: it had the digest {pin.digest} at submission, and has {digest} now"
        raise ResultsError(msg, hint=_AGAIN)
    return replace(run, name=pin.name, digest=digest)


def _find_again(pin: PinnedBaseline, rules: Rules, around: Surroundings) -> Path | None:
    """Return the path of a pinned baseline on this machine; None if it does not exist."""
    paths = [Path(pin.path or ""), rules.folder / pin.reference]
    if (path := next((path for path in paths if path.exists()), None)) is not None:
        return path
    if pin.source is not None and around.artifacts is not None:
        return around.artifacts.fetch(pin.source)
    scheme, _, run = pin.reference.partition(":")
    return fetch_baseline("mlflow", run, around.home, around.environ) if scheme == "mlflow" and run else None


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
    located = _locate(reference, folder=folder, home=home, environ=environ, branches=branches, exclude=exclude)
    return open_run(located.path, name=located.name) if located else None


def _locate(
    reference: str,
    *,
    folder: Path,
    home: Path,
    environ: Mapping[str, str],
    branches: BranchResolver | None = None,
    exclude: str | None = None,
) -> Located | None:
    """Resolve a reference; the arguments are those of `open_baseline`."""

    def invocation(prefix: str) -> Path | None:
        try:
            return run_dir_of(prefix, home)
        except AmbiguousError:
            raise
        except NotFoundError:
            return None

    return locate_baseline(
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
