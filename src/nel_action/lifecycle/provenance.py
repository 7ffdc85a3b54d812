"""Provenance: the commit and the repository that identify the model under test, and where they were read."""

from __future__ import annotations

import re
import secrets
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nel_action.planning.jobs import Context

__all__ = ["COMMIT_VARIABLES", "discover_context"]

OWN_VARIABLE: Final = "NEL_ACTION_COMMIT"
"""Takes precedence, and is accepted as it is."""

COMMIT_VARIABLES: Final = (
    "GITHUB_SHA",
    "CI_COMMIT_SHA",
    "GIT_COMMIT",
    "BUILDKITE_COMMIT",
    "BUILD_SOURCEVERSION",
    "CIRCLE_SHA1",
    "BITBUCKET_COMMIT",
    "DRONE_COMMIT_SHA",
    "TRAVIS_COMMIT",
    "SEMAPHORE_GIT_SHA",
    "CIRRUS_CHANGE_IN_REPO",
    "CODEBUILD_RESOLVED_SOURCE_VERSION",
    "APPVEYOR_REPO_COMMIT",
    "BUILD_VCS_NUMBER",
)
"""Variables of GitHub, GitLab, Jenkins, Buildkite, Azure, CircleCI, Bitbucket, Drone, Travis, Semaphore, Cirrus,
CodeBuild, AppVeyor and TeamCity, in this order."""

_COMMIT: Final = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
"""A complete object ID, SHA-1 or SHA-256; Buildkite's variable may also contain `HEAD`."""
_REMOTE: Final = re.compile(r"^(?:\w+://(?!/)|[\w.-]+@).*?([\w.-]+/[\w.-]+?)(?:\.git)?/?$")
"""The URL of a git remote; group 1 is `owner/name`. A directory on this machine does not match."""
_GIT_TIMEOUT: Final = 10.0
"""Seconds; a checkout whose state is not known by then counts as changed."""


@dataclass(frozen=True, slots=True)
class _Commit:
    """A commit, its source for people, and whether the files are known to be those of the commit."""

    commit: str
    source: str
    clean: bool


def discover_context(base_dir: Path, environ: Mapping[str, str], *, salt: str = "") -> Context:
    """Return the repository and the commit that pin the model under test.

    `NEL_ACTION_COMMIT` and `NEL_ACTION_REPOSITORY` take precedence, since `GITHUB_SHA` of a pull request is the merge
    commit and not the head. The variables of CI systems come next, then the git checkout that contains the spec. A
    checkout with changes of tracked files does not pin the model, and neither does one whose changes cannot be listed.

    Args:
        base_dir: directory of the spec.
        environ: variables of this process.
        salt: becomes part of every job key.
    """
    origin = _from_variables(environ) or _from_checkout(base_dir) or _from_files(base_dir)
    repository = environ.get("NEL_ACTION_REPOSITORY") or environ.get("GITHUB_REPOSITORY") or _remote(base_dir)
    nonce = secrets.token_hex(8)
    if origin is None:
        return Context(repository=repository, salt=salt, nonce=nonce)
    return Context(
        repository=repository,
        commit=origin.commit,
        commit_source=origin.source,
        modified=not origin.clean,
        salt=salt,
        nonce=nonce,
    )


def _from_variables(environ: Mapping[str, str]) -> _Commit | None:
    if commit := environ.get(OWN_VARIABLE, "").strip():
        return _Commit(commit, OWN_VARIABLE, clean=True)
    for name in COMMIT_VARIABLES:
        commit = environ.get(name, "").strip().lower()
        if _COMMIT.fullmatch(commit):
            return _Commit(commit, name, clean=True)
    return None


def _from_checkout(directory: Path) -> _Commit | None:
    commit = _git(directory, "rev-parse", "--verify", "--quiet", "HEAD")
    if not commit:
        return None
    changes = _git(directory, "status", "--porcelain", "--untracked-files=no")
    if changes is None:
        return _Commit(commit, "checkout (changes unknown)", clean=False)
    return _Commit(commit, "checkout (modified)" if changes else "checkout", clean=not changes)


def _from_files(directory: Path) -> _Commit | None:
    """Read the commit from `.git`, where git is not installed or refuses a checkout of another user."""
    for parent in (directory.absolute(), *directory.absolute().parents):
        try:
            if (git_dir := _git_dir(parent / ".git")) is not None:
                commit = _resolve(git_dir, "HEAD")
                return _Commit(commit, "checkout (changes unknown)", clean=False) if commit else None
        except (OSError, ValueError):
            return None
    return None


def _git_dir(path: Path) -> Path | None:
    """Return the directory of the checkout's own git files; `.git` of a worktree or a submodule is a file."""
    if path.is_dir():
        return path
    if not path.is_file():
        return None
    return path.parent / path.read_text(encoding="utf-8").removeprefix("gitdir:").strip()


def _resolve(git_dir: Path, reference: str) -> str | None:
    """Return the commit of a reference, loose or packed; None if there is none."""
    common = git_dir / "commondir"
    shared = git_dir / common.read_text(encoding="utf-8").strip() if common.is_file() else git_dir
    for _ in range(5):  # symbolic references; git follows as many
        text = next(_texts(git_dir, shared, reference), "")
        if not text.startswith("ref:"):
            return text if _COMMIT.fullmatch(text) else None
        reference = text.removeprefix("ref:").strip()
    return None


def _texts(git_dir: Path, shared: Path, reference: str) -> Iterator[str]:
    """Yield the contents of a reference, the checkout's own first."""
    for directory in (git_dir, shared):
        if (directory / reference).is_file():
            yield (directory / reference).read_text(encoding="utf-8").strip()
    packed = shared / "packed-refs"
    for line in packed.read_text(encoding="utf-8").splitlines() if packed.is_file() else ():
        commit, _, name = line.partition(" ")
        if name.strip() == reference:
            yield commit


def _remote(directory: Path) -> str | None:
    """Return `owner/name` of the remote `origin`; never its URL, which may contain a password."""
    url = _git(directory, "config", "--get", "remote.origin.url")
    match = _REMOTE.search(url) if url else None
    return match.group(1) if match else None


def _git(directory: Path, *arguments: str) -> str | None:
    """Return the output of a git command; None without git, outside a checkout, or if the command fails."""
    argv = ["git", "--no-optional-locks", "-C", str(directory), *arguments]
    try:
        completed = subprocess.run(
            argv, capture_output=True, text=True, errors="replace", check=False, timeout=_GIT_TIMEOUT
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return completed.stdout.strip() if completed.returncode == 0 else None
