"""The files that benchmarks consist of, in a commit and in the checkout of it."""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

from nel_action.errors import NelActionError
from nel_action.github.base_revision import BaseTree, TreeEntry, object_id
from nel_action.github.checkout import Inside, git, place
from nel_action.planning.fingerprint import KeyPath, benchmark_paths
from nel_action.spec.model import Spec

__all__ = ["Side", "object_ids"]

LFS_OID: Final = re.compile(rb"^oid sha256:(?P<oid>[0-9a-f]{64})$", re.MULTILINE)
"""Line of a pointer of Git LFS, which a commit contains instead of a large file."""
LFS_HEADER: Final = b"version https://git-lfs.github.com/spec/v1\n"
REQUIREMENTS_LIMIT: Final = 200
"""Requirements files that include one another."""


@dataclass(frozen=True, slots=True)
class Side:
    """A spec in a commit."""

    spec: Spec
    folder: PurePosixPath = field(default_factory=PurePosixPath)
    """Directory that the spec's paths start from, relative to the top level."""
    tree: BaseTree | None = None
    """Files of the commit; None if only the specs are compared."""
    top: Path | None = None
    """Top level of the checkout, which absolute paths may lead to."""
    checked_out: bool = False
    """Whether the checkout is of this commit; its files must then be those of the commit."""
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Values of the variables that references of the spec name; they may be directories of the checkout."""
    same_attributes: bool = True
    """Whether git converts files of the checkout by the attributes of the base."""


def object_ids(side: Side, name: str) -> Mapping[tuple[KeyPath, str], str]:
    """Return the object ID of every file of all benchmarks, by key and file.

    The target of a link is not compared, so that a link always differs. A file of the checkout that is not that of the
    commit, because of attributes or of an earlier step of the workflow, differs as well.

    Args:
        side: the commit.
        name: of the side, `base` or `head`.
    """
    if side.tree is None:
        return {}
    ids: dict[tuple[KeyPath, str], str] = {}
    for keys, path in _paths(side, side.tree):
        for entry in side.tree.entries.values():
            inside = entry.path == path or entry.path.startswith(f"{path}/") or path == "."
            leads_to = not entry.is_file and path.startswith(f"{entry.path}/")
            if inside or leads_to:
                relative = posixpath.relpath(entry.path, path) if inside and entry.path != path else entry.path
                ids[keys, relative] = entry.sha if entry.is_file else f"link or submodule of the {name}: {entry.sha}"
                if entry.is_file and side.checked_out and side.top is not None:
                    ids[keys, relative] = _checked_out(side, entry)
    return ids


def _paths(side: Side, tree: BaseTree) -> Iterator[tuple[KeyPath, str]]:
    """Yield the key and the path in the repository of everything that a benchmark may consist of."""
    for keys, path in benchmark_paths(side.spec, side.environ):
        relative = _repository_path(side, path)
        if relative is None:
            continue
        yield keys, relative
        if keys[-1] == "requirements":
            yield from ((keys, included) for included in _included(tree, relative))


def _repository_path(side: Side, path: str) -> str | None:
    """Return a path relative to the top level; None for one outside of the repository."""
    if not path.startswith("/"):
        return posixpath.normpath(str(side.folder / path))
    if side.top is None:
        return None
    placement = place(Path(path), side.top)
    if isinstance(placement, Inside):
        return str(placement.path)
    # NOTE: a link in the checkout is itself a part of the benchmark.
    lexical = posixpath.normpath(path)
    return posixpath.relpath(lexical, side.top) if lexical.startswith(f"{side.top}/") else None


def _included(tree: BaseTree, path: str) -> Iterator[str]:
    """Yield everything that a requirements file refers to: other files, and packages of the repository."""
    pending, seen = [path], {path}
    while pending and len(seen) < REQUIREMENTS_LIMIT:
        entry = tree.entries.get(current := pending.pop())
        if entry is None or not entry.is_file:
            continue
        content = tree.read([entry])[entry.path].decode(errors="replace")
        for token in re.split(r"[\s=@]+|file:(?://)?", content):
            target = posixpath.normpath(posixpath.join(posixpath.dirname(current), token.partition("[")[0]))
            exists = target in tree.entries or any(other.startswith(f"{target}/") for other in tree.entries)
            if token and target not in seen and target != "." and exists:
                seen.add(target)
                pending.append(target)
                yield target


def _checked_out(side: Side, entry: TreeEntry) -> str:
    """Return the entry's object ID if the checkout has its content, else a description of what the checkout has."""
    assert side.tree is not None  # noqa: S101 - checked by the caller
    assert side.top is not None  # noqa: S101 - checked by the caller
    path = side.top / entry.path
    if path.is_symlink() or not path.is_file():
        return "no file in the checkout"
    content = path.read_bytes()
    own = object_id(content, len(entry.sha))
    if own == entry.sha or _is_content_of_pointer(side.tree, entry, content):
        return entry.sha
    # NOTE: the ends of lines, for example, are converted by attributes that the base has as well.
    original = git(side.top, "hash-object", "--", entry.path) if side.same_attributes else None
    return entry.sha if original == f"{entry.sha}\n".encode() else f"content of the checkout: {own}"


def _is_content_of_pointer(tree: BaseTree, entry: TreeEntry, content: bytes) -> bool:
    try:
        pointer = tree.read([entry])[entry.path]
    except NelActionError:
        return False
    match = LFS_OID.search(pointer) if pointer.startswith(LFS_HEADER) else None
    return match is not None and match["oid"].decode() == hashlib.sha256(content).hexdigest()
