"""Which change this is: repository and commit, from the workflow's environment or from git."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from nel_action.planning.jobs import Context

__all__ = ["discover"]


def discover(base_dir: Path, environ: Mapping[str, str], *, salt: str = "") -> Context:
    """Tell what pins the model under test.

    `NEL_ACTION_COMMIT` and `NEL_ACTION_REPOSITORY` come first (a workflow sets them to the pull request's head,
    which `GITHUB_SHA` is not), then GitHub's own variables, then the checkout around the spec.
    """
    commit = environ.get("NEL_ACTION_COMMIT") or environ.get("GITHUB_SHA") or _git(base_dir, "rev-parse", "HEAD")
    repository = environ.get("NEL_ACTION_REPOSITORY") or environ.get("GITHUB_REPOSITORY") or _remote(base_dir)
    return Context(repository=repository, commit=commit, salt=salt)


def _remote(folder: Path) -> str | None:
    """Return `owner/name` of the checkout's origin; never the URL, which may hold a password."""
    url = _git(folder, "config", "--get", "remote.origin.url")
    # NOTE: a remote that is a folder on this machine names nothing that another machine would know.
    found = re.search(r"^(?:\w+://(?!/)|[\w.-]+@).*?([\w.-]+/[\w.-]+?)(?:\.git)?/?$", url) if url else None
    return found.group(1) if found else None


def _git(folder: Path, *words: str) -> str | None:
    """Return what git answers, or None outside a checkout or without git."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, check=False, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
