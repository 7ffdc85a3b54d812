"""Baselines that are files of the repository: read from the base, wherever they are in its tree."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from typing import Final

from nel_action.errors import NelActionError
from nel_action.github.base_revision import Absent, BaseTree, Present, Unreadable
from nel_action.github.checkout import Inside, place

__all__ = ["copy_baseline"]

SAMPLES: Final = "samples"
"""Start of the names of the files and directories that hold the items of a results file next to them."""


def copy_baseline(tree: BaseTree, copy: Path, folder: Path, reference: str, *, top: Path) -> str:
    """Copy a baseline that is a file or directory of the base, and return the reference to it.

    Args:
        tree: files of the base.
        copy: the base's copy of the repository.
        folder: directory that relative paths start from.
        reference: value of `gate.baseline`.
        top: top level of the checkout, which an absolute path may lead to.

    Returns:
        The reference, relative to `folder` if it is a path of the repository.

    Raises:
        NelActionError: the path exists in some form that cannot be read, such as a link.
    """
    path = _repository_path(copy, folder, reference, top)
    if path is None:
        return reference
    relative = os.path.relpath(copy / path, folder) if Path(reference).is_absolute() else reference
    files = list(tree.below(path))
    if not files or str(path) == ".":
        match tree.find(path):
            case Absent():
                return relative
            case Unreadable(reason):
                msg = f"baseline {reference} of the base cannot be read: {reason}"
                raise NelActionError(msg, hint="commit the results as files, and name them in gate.baseline")
            case Present(entry):
                siblings = (other for other in tree.below(path.parent) if _holds_items(other.path, path.parent))
                files = [entry, *siblings]
    tree.copy(files, copy)
    return relative


def _repository_path(copy: Path, folder: Path, reference: str, top: Path) -> PurePosixPath | None:
    """Return the path that a reference means in the repository; None if it cannot be a path of it."""
    if not reference or ":" in reference.partition("/")[0]:
        return None
    if Path(reference).is_absolute():
        placement = place(Path(reference), top)
        if isinstance(placement, Inside):
            return placement.path
        if Path(os.path.realpath(reference)).is_relative_to(os.path.realpath(top)):
            msg = f"baseline {reference} leads through a link into the checkout"
            raise NelActionError(msg, hint="name the file by its path in the repository")
        return None
    absolute = Path(os.path.normpath(folder / reference))
    if not absolute.is_relative_to(copy):
        msg = f"baseline {reference} is outside of the repository"
        raise NelActionError(msg, hint="commit the results, or name a branch or an absolute path")
    return PurePosixPath(absolute.relative_to(copy).as_posix())


def _holds_items(path: str, folder: PurePosixPath) -> bool:
    relative = PurePosixPath(path).relative_to(folder)
    return relative.parts[0].startswith(SAMPLES)
