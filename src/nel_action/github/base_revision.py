"""Files of the base revision: a pull request must not supply the policy that judges it.

A path of the base is in one of three states: present, absent, or not readable. Absent is a positive statement: the
tree of the commit was read completely, and no entry of it can be what the path means.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Final

from nel_action.errors import NelActionError
from nel_action.github.api import GitHubApi
from nel_action.github.checkout import git

__all__ = ["Absent", "BaseFiles", "BaseTree", "Lookup", "Present", "TreeEntry", "Unreadable", "object_id"]

FILE_LIMIT: Final = 50 * 1024 * 1024
"""Bytes of a file that is read from the base."""
DOWNLOADS_LIMIT: Final = 200
"""Files that are downloaded one by one, because the checkout does not contain them."""
BLOB: Final = re.compile(rb"(?P<sha>[0-9a-f]{40,64}) blob (?P<size>\d+)")
"""A line of `git cat-file --batch-check` about a file."""
SHA256_DIGITS: Final = 64
LINK: Final = "120000"
SUBMODULE: Final = "160000"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """A file, link or submodule of a commit."""

    path: str
    """Relative to the top level."""
    mode: str
    """`100644`, `100755`, `120000` for a link, `160000` for a submodule."""
    sha: str
    """Object ID; equal content has equal IDs."""

    @property
    def is_file(self) -> bool:
        """Whether this is a regular file."""
        return self.mode not in {LINK, SUBMODULE}


@dataclass(frozen=True, slots=True)
class Present:
    """The base contains this file."""

    entry: TreeEntry


@dataclass(frozen=True, slots=True)
class Absent:
    """The base's tree was read, and does not contain the path."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Whether the base contains the file, or what is in it, cannot be determined."""

    reason: str


Lookup = Present | Absent | Unreadable


@dataclass(frozen=True)
class BaseTree:
    """All files of one commit."""

    sha: str
    entries: Mapping[str, TreeEntry]
    """By path; links and submodules included."""
    files: BaseFiles

    @cached_property
    def _by_folded_path(self) -> Mapping[str, TreeEntry]:
        return {_fold(path): entry for path, entry in self.entries.items()}

    def find(self, path: PurePosixPath) -> Lookup:
        """Return the state of a file.

        Args:
            path: relative to the top level.
        """
        if path.is_absolute() or ".." in path.parts:
            return Unreadable(f"{path} is outside of the repository")
        for parent in path.parents:
            entry = self.entries.get(str(parent)) or self._by_folded_path.get(_fold(str(parent)))
            if entry is not None and not entry.is_file:
                return Unreadable(f"{entry.path} is a {_kind(entry)}")
        entry = self.entries.get(str(path))
        if entry is not None:
            return Present(entry) if entry.is_file else Unreadable(f"{path} is a {_kind(entry)}")
        if any(self.below(path)):
            return Unreadable(f"{path} is a directory")
        similar = self._by_folded_path.get(_fold(str(path)))
        if similar is not None:
            # NOTE: some file systems treat both names as one.
            return Unreadable(f"{path} and {similar.path} differ in case or Unicode normalisation only")
        return Absent()

    def below(self, folder: PurePosixPath) -> Iterator[TreeEntry]:
        """Yield the regular files in a directory and its subdirectories."""
        prefix = "" if str(folder) == "." else f"{folder}/"
        return (entry for path, entry in self.entries.items() if path.startswith(prefix) and entry.is_file)

    def read(self, entries: Iterable[TreeEntry]) -> dict[str, bytes]:
        """Return the content of files by path.

        Raises:
            NelActionError: a file cannot be read or is too large.
        """
        return self.files.read(entries)

    def copy(self, entries: Iterable[TreeEntry], into: Path) -> None:
        """Write files below a directory, at their paths in the repository.

        Raises:
            NelActionError: a file cannot be read or is too large.
        """
        for path, content in self.read(entries).items():
            target = into / PurePosixPath(path)
            if ".." in PurePosixPath(path).parts or not target.is_relative_to(into):
                msg = f"commit {self.sha[:7]} contains an invalid path: '{path}'"
                raise NelActionError(msg)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseFiles:
    """Sources of files at an earlier commit: the checkout's git, then the API."""

    api: GitHubApi | None
    """Used for what the checkout does not contain; None without a token."""
    repository: str
    """`owner/name`."""
    work: Path
    """Top level of the checkout."""

    def open(self, sha: str) -> BaseTree:
        """Read the complete listing of a commit.

        Raises:
            NelActionError: neither git nor the API can read the commit.
        """
        listing = self._list_by_git(sha)
        if listing is None:
            listing = self._list_by_api(sha)
        return BaseTree(sha, {entry.path: entry for entry in listing}, self)

    def _list_by_git(self, sha: str) -> list[TreeEntry] | None:
        """Return the listing from the checkout's git; None if it does not contain the commit."""
        output = git(self.work, "ls-tree", "-r", "-z", "--full-tree", f"{sha}^{{commit}}")
        if output is None:
            return None
        logger.debug("tree of %s read from git", sha)
        return [_parse_line(line) for line in output.split(b"\0") if line]

    def _list_by_api(self, sha: str) -> list[TreeEntry]:
        if self.api is None:
            msg = f"base commit {sha[:7]} cannot be read: it is not in this checkout, and no token is set"
            raise NelActionError(msg, hint="set the input `github-token`, or check out with fetch-depth: 0")
        path = f"/repos/{self.repository}/git"
        tree = self.api.get(f"{path}/commits/{sha}")["tree"]["sha"]
        listing = self.api.get(f"{path}/trees/{tree}", recursive="1")
        if listing.get("truncated"):
            msg = f"base commit {sha[:7]} has too many files for the API"
            raise NelActionError(msg, hint="check out with fetch-depth: 0")
        logger.debug("tree of %s read through the API", sha)
        return [_parse_item(item) for item in listing["tree"] if item.get("type") != "tree"]

    def read(self, entries: Iterable[TreeEntry]) -> dict[str, bytes]:
        """Return the content of files by path: from the checkout's objects, else through the API.

        Raises:
            NelActionError: a file cannot be read or is too large.
        """
        requested = list(entries)
        content = self._read_by_git({entry.sha for entry in requested})
        missing = {entry.sha: entry for entry in requested if entry.sha not in content}
        if len(missing) > DOWNLOADS_LIMIT:
            msg = f"{len(missing)} files of the base are not in this checkout, more than {DOWNLOADS_LIMIT}"
            raise NelActionError(msg, hint="check out with fetch-depth: 0, and without sparse-checkout or filter")
        for entry in missing.values():
            content[entry.sha] = self._download(entry)
        return {entry.path: content[entry.sha] for entry in requested}

    def _read_by_git(self, shas: set[str]) -> dict[str, bytes]:
        """Return the objects that the checkout contains; each is verified against its ID."""
        if not shas:
            return {}
        requests = "".join(f"{sha}\n" for sha in sorted(shas)).encode()
        sizes = git(self.work, "cat-file", "--batch-check", data=requests)
        known = [BLOB.fullmatch(line) for line in (sizes or b"").splitlines()]
        small = [match["sha"].decode() for match in known if match and int(match["size"]) <= FILE_LIMIT]
        output = git(self.work, "cat-file", "--batch", data="".join(f"{sha}\n" for sha in small).encode())
        return dict(_parse_batch(output or b"", small))

    def _download(self, entry: TreeEntry) -> bytes:
        if self.api is None:
            msg = f"{entry.path} of the base cannot be read: it is not in this checkout, and no token is set"
            raise NelActionError(msg, hint="set the input `github-token`, or check out with fetch-depth: 0")
        answer = self.api.get(f"/repos/{self.repository}/git/blobs/{entry.sha}")
        content = base64.b64decode(answer["content"])
        if len(content) > FILE_LIMIT:
            msg = f"{entry.path} of the base is too large: {len(content)} bytes, more than {FILE_LIMIT}"
            raise NelActionError(msg)
        return content


def _parse_line(line: bytes) -> TreeEntry:
    """Parse mode, type, object and, after a tab, the path: an unquoted line of `git ls-tree -z`."""
    facts, _, path = line.partition(b"\t")
    mode, _kind_of, sha = facts.decode().split()
    return TreeEntry(os.fsdecode(path), mode, sha)


def _parse_item(item: Mapping[str, Any]) -> TreeEntry:
    return TreeEntry(str(item["path"]), str(item["mode"]), str(item["sha"]))


def _parse_batch(output: bytes, shas: list[str]) -> Iterator[tuple[str, bytes]]:
    """Yield ID and content of each object in the output of `git cat-file --batch` that is what its ID says."""
    start = 0
    for sha in shas:
        end = output.find(b"\n", start)
        facts = BLOB.fullmatch(output[start:end]) if end >= 0 else None
        if facts is None:
            return
        size = int(facts["size"])
        content = output[end + 1 : end + 1 + size]
        start = end + 1 + size + 1
        if object_id(content, len(sha)) == sha:
            yield sha, content


def object_id(content: bytes, digits: int) -> str:
    """Return git's ID of a file's content; SHA-1 with 40 digits, SHA-256 with 64."""
    data = b"blob %d\0" % len(content) + content
    return (hashlib.sha256(data) if digits == SHA256_DIGITS else hashlib.sha1(data)).hexdigest()  # noqa: S324 - git's


def _kind(entry: TreeEntry) -> str:
    return "symbolic link" if entry.mode == LINK else "submodule"


def _fold(path: str) -> str:
    return unicodedata.normalize("NFC", path).casefold()
