"""Files of the base revision: a pull request must not supply the policy that judges it."""

from __future__ import annotations

import base64
import io
import logging
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from nel_action.errors import NelActionError
from nel_action.github.api import GitHubApi

__all__ = ["BaseFiles"]

FILE_LIMIT: Final = 5 * 1024 * 1024
"""Bytes of a file that is downloaded through the API."""
FILES_LIMIT: Final = 200
"""Files that are downloaded through the API."""
SUFFIXES: Final = frozenset({".yaml", ".yml", ".json", ".gz", ".txt", ".jinja", ".j2", ".py"})
"""Types of files that are downloaded through the API."""
GIT_TIMEOUT: Final = 60.0
"""Seconds."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseFiles:
    """Sources of files at an earlier commit: the checkout's git, then the API."""

    api: GitHubApi | None
    """Used if the checkout does not contain the commit; None without a token."""
    repository: str
    """`owner/name`."""
    work: Path
    """The checkout."""

    def fetch(self, sha: str, folders: list[str], into: Path) -> Path:
        """Copy folders as they are at a commit; folders that the commit does not contain are skipped.

        Args:
            sha: the commit.
            folders: relative to the repository's root; `.` for the entire repository.
            into: an empty folder.

        Returns:
            `into`.

        Raises:
            NelActionError: neither git nor the API can read the commit.
        """
        into.mkdir(parents=True, exist_ok=True)
        if _from_git(sha, folders, self.work, into):
            logger.debug("%s of %s read from git", folders, sha)
            return into
        if self.api is None:
            msg = f"base commit {sha[:7]} cannot be read: it is not in this checkout, and no token is set"
            raise NelActionError(msg, hint="set the input `github-token`, or check out with fetch-depth: 0")
        _from_api(self.api, self.repository, sha, folders, into)
        logger.debug("%s of %s read through the API", folders, sha)
        return into


def _from_git(sha: str, folders: list[str], work: Path, into: Path) -> bool:
    """Copy folders from the checkout's git; return False if it does not contain the commit."""
    if _git(work, "cat-file", "-e", f"{sha}^{{commit}}") is None:
        return False
    names = (_git(work, "ls-tree", "--name-only", sha, "--", *folders) or b"").decode().splitlines()
    existing = [folder for folder in folders if folder == "." or folder in names]
    if not existing:
        return True
    archive = _git(work, "archive", "--format=tar", sha, "--", *existing)
    if archive is None:
        return False
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(into, filter="data")
    return True


def _git(work: Path, *arguments: str) -> bytes | None:
    """Run git and return its output; None if git is not installed or fails."""
    argv = ["git", "-c", "safe.directory=*", "-C", str(work), *arguments]
    try:
        done = subprocess.run(argv, capture_output=True, check=False, timeout=GIT_TIMEOUT)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _from_api(api: GitHubApi, repository: str, sha: str, folders: list[str], into: Path) -> None:
    git = f"/repos/{repository}/git"
    tree = api.get(f"{git}/commits/{sha}")["tree"]["sha"]
    listing = api.get(f"{git}/trees/{tree}", recursive="1")
    entries = [entry for entry in listing["tree"] if _is_needed(entry, folders)]
    if listing.get("truncated") or len(entries) > FILES_LIMIT:
        msg = f"base commit {sha[:7]} has too many files to download: more than {FILES_LIMIT}"
        raise NelActionError(msg, hint="check out with fetch-depth: 0, or move the spec to a folder of its own")
    for entry in entries:
        content = base64.b64decode(api.get(f"{git}/blobs/{entry['sha']}")["content"])
        target = into / PurePosixPath(entry["path"])
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


def _is_needed(entry: dict[str, Any], folders: list[str]) -> bool:
    """Whether a tree entry is a small file of a known type in one of the folders, and no symbolic link."""
    path = PurePosixPath(entry.get("path") or "")
    inside = any(folder == "." or path.is_relative_to(folder) for folder in folders)
    small = int(entry.get("size") or 0) <= FILE_LIMIT and path.suffix in SUFFIXES
    return entry.get("type") == "blob" and entry.get("mode") != "120000" and inside and small
