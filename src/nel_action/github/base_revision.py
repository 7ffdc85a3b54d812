"""Files as the base branch has them: what decides a gate must not come from the change that it gates."""

from __future__ import annotations

import base64
import io
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from nel_action.errors import NelActionError
from nel_action.github.api import GitHubApi

__all__ = ["BaseFiles"]

FILE_LIMIT: Final = 5 * 1024 * 1024
"""Bytes of a file that is asked for from the API."""
FILES_LIMIT: Final = 200
SUFFIXES: Final = frozenset({".yaml", ".yml", ".json", ".gz", ".txt", ".jinja", ".j2", ".py"})
GIT_TIMEOUT: Final = 60.0
"""Seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseFiles:
    """Where the base's files can be had from."""

    api: GitHubApi | None
    """Asked where git does not have the commit; None asks nobody."""
    repository: str
    """`owner/name`."""
    work: Path
    """The checkout, whose own git is asked first: it costs nothing where the commit is at hand."""

    def fetch(self, sha: str, folders: list[str], into: Path) -> Path:
        """Put folders as they are at `sha` under `into`; those that are not there are left out.

        Args:
            sha: the base's commit.
            folders: relative to the repository's root, `.` for all of it.
            into: an empty folder.

        Raises:
            NelActionError: neither git nor the API can show that commit.
        """
        into.mkdir(parents=True, exist_ok=True)
        if _from_git(sha, folders, self.work, into):
            return into
        if self.api is None:
            msg = f"the base commit {sha[:7]} is not in this checkout, and there is no token to ask GitHub with"
            raise NelActionError(msg, hint="give the input `github-token`, or check out with fetch-depth: 0")
        _from_api(self.api, self.repository, sha, folders, into)
        return into


def _from_git(sha: str, folders: list[str], work: Path, into: Path) -> bool:
    if _git(work, "cat-file", "-e", f"{sha}^{{commit}}") is None:
        return False
    listed = _git(work, "ls-tree", "--name-only", sha, "--", *folders)
    there = [folder for folder in folders if folder == "." or folder in (listed or b"").decode().splitlines()]
    if not there:
        return True
    archive = _git(work, "archive", "--format=tar", sha, "--", *there)
    if archive is None:
        return False
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(into, filter="data")
    return True


def _git(work: Path, *words: str) -> bytes | None:
    """Run git; None where it is not there or says no."""
    command = ["git", "-c", "safe.directory=*", "-C", str(work), *words]
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=GIT_TIMEOUT)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _from_api(api: GitHubApi, repository: str, sha: str, folders: list[str], into: Path) -> None:
    git = f"/repos/{repository}/git"
    tree = api.get(f"{git}/commits/{sha}")["tree"]["sha"]
    listed = api.get(f"{git}/trees/{tree}", recursive="1")
    wanted = [item for item in listed["tree"] if _wanted(item, folders)]
    if listed.get("truncated") or len(wanted) > FILES_LIMIT:
        msg = f"the base at {sha[:7]} has too many files to ask for one by one"
        raise NelActionError(msg, hint="check out with fetch-depth: 0, or keep the spec in a folder of its own")
    for item in wanted:
        content = base64.b64decode(api.get(f"{git}/blobs/{item['sha']}")["content"])
        target = into / PurePosixPath(item["path"])
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


def _wanted(item: dict[str, Any], folders: list[str]) -> bool:
    path = PurePosixPath(item.get("path") or "")
    inside = any(folder == "." or path.is_relative_to(folder) for folder in folders)
    small = int(item.get("size") or 0) <= FILE_LIMIT and path.suffix in SUFFIXES
    return item.get("type") == "blob" and item.get("mode") != "120000" and inside and small
