"""The checkout: its top level, and the paths in it, followed by name and never through a link."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

__all__ = ["Inside", "Outside", "Placement", "find_top_level", "git", "head_commit", "place"]

GIT_TIMEOUT: Final = 60.0
"""Seconds."""
SAFE_CONFIG: Final = (
    "safe.directory=*",
    "safe.bareRepository=explicit",
    "core.fsmonitor=false",
    "protocol.allow=never",  # a partial clone must not fetch missing objects from here
)


@dataclass(frozen=True, slots=True)
class Inside:
    """A path of the repository; no component of it is a link."""

    path: PurePosixPath
    """Relative to the top level."""


@dataclass(frozen=True, slots=True)
class Outside:
    """A path that does not lead to a file of the repository by its name alone."""

    reason: str


Placement = Inside | Outside


def place(path: Path, top: Path, *, workdir: Path | None = None) -> Placement:
    """Return where a path is in the repository, by its components as they are written.

    The head of a pull request determines where links point to, so a path with a link in it is outside.

    Args:
        path: the path, as a process in the current directory opens it.
        top: top level of the checkout.
        workdir: the current directory as the workflow names it; the operating system names the target of a link.
    """
    lexical = Path(os.path.normpath((workdir or Path.cwd()) / path))
    root = Path(os.path.normpath(top.absolute()))
    if not lexical.is_relative_to(root):
        # NOTE: the runner may name its own folders through a link, which no pull request controls.
        root, lexical = Path(os.path.realpath(root)), _with_real_root(lexical, root)
    if not lexical.is_relative_to(root):
        return Outside("it is outside of the repository")
    relative = lexical.relative_to(root)
    if Path(os.path.realpath(path)) != Path(os.path.realpath(root)) / relative:
        return Outside("it leads through a symbolic link")
    return Inside(PurePosixPath(relative.as_posix()))


def _with_real_root(path: Path, root: Path) -> Path:
    """Return the path with the part above the checkout resolved, and the part in the checkout as it is written."""
    real = Path(os.path.realpath(root))
    for folder in (*reversed(path.parents), path):
        if os.path.realpath(folder) == str(real):
            return real / path.relative_to(folder)
    return path


def find_top_level(workspace: Path, workdir: Path, commits: Sequence[str]) -> Path:
    """Return the top level of the checkout that a directory belongs to.

    Of nested repositories, such as submodules, the one whose HEAD is a commit of the event; else the outermost.

    Args:
        workspace: `$GITHUB_WORKSPACE`.
        workdir: the directory, as the workflow names it.
        commits: commits that a checkout of this event may have as HEAD.
    """
    start, outer = Path(os.path.normpath(workdir.absolute())), Path(os.path.normpath(workspace.absolute()))
    folders = [folder for folder in (start, *start.parents) if folder.is_relative_to(outer)] or [start]
    candidates = [folder for folder in folders if (folder / ".git").exists()]
    return next(
        (folder for folder in candidates if len(candidates) > 1 and head_commit(folder) in commits),
        candidates[-1] if candidates else outer,
    )


def head_commit(top: Path) -> str | None:
    """Return the commit that is checked out; None if it cannot be read."""
    output = git(top, "rev-parse", "--verify", "HEAD^{commit}")
    return output.decode().strip() if output else None


def git(top: Path, *arguments: str, data: bytes | None = None) -> bytes | None:
    """Run git on a checkout's own repository and return its output; None if git is not installed or fails.

    Args:
        top: top level of the checkout; the repository is never searched for.
        arguments: of git.
        data: standard input.
    """
    options = [option for setting in SAFE_CONFIG for option in ("-c", setting)]
    argv = ["git", *options, f"--git-dir={top / '.git'}", f"--work-tree={top}", *arguments]
    try:
        done = subprocess.run(
            argv,
            cwd=top,
            env=_environ(os.environ),
            input=data or b"",
            capture_output=True,
            check=False,
            timeout=GIT_TIMEOUT,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _environ(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without variables that redirect git, and with replaced objects ignored."""
    own = {name: value for name, value in environ.items() if not name.startswith("GIT_")}
    return own | {"GIT_NO_REPLACE_OBJECTS": "1", "GIT_NO_LAZY_FETCH": "1", "GIT_TERMINAL_PROMPT": "0"}
