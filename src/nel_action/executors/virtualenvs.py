"""Isolated Python environments for harnesses and servers, made by `uv` and kept under their digest.

An environment lives in `<home>/envs/<digest>`, where the digest covers the installer's words, the text of the
requirement files, the Python version and the machine. Two processes that want the same one make it once: a lock
keeps the second waiting, and a marker that is written last tells a whole one from the rest of a killed attempt.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

from nel_action.errors import EngineError, UsageError

__all__ = ["environment", "environment_digest", "find_uv", "installed"]

COMPLETE: Final = ".complete"
"""Written last; holds the path of the environment's programs."""

PASSED_ON: Final = (
    "HOME",
    "PATH",
    "LANG",
    "TMPDIR",
    "USER",
    "NETRC",
    "all_proxy",
    "http_proxy",
    "https_proxy",
    "no_proxy",
)
"""What the installer sees of our variables, besides those that configure it."""

PASSED_ON_PREFIXES: Final = ("UV_", "PIP_", "SSL_", "XDG_", "ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
"""The same, by their beginning."""

FILE_FLAGS: Final = ("-r", "-c", "--requirements", "--constraints")
"""Words before the name of a file."""

Requirements = Sequence[str] | Path
"""Words for the installer (`-r`, `FILE`, `package==1.0`), or one requirements file."""


def installed(home: Path, requirements: Requirements) -> Path | None:
    """Return where the environment's programs are, or None where it has not been made yet."""
    words = _words(requirements)
    folder = home / "envs" / environment_digest(words)
    return folder / "bin" if (folder / COMPLETE).exists() else None


def environment(home: Path, requirements: Requirements, *, on_progress: Callable[[str], None] | None = None) -> Path:
    """Return the folder with the environment's programs; make the environment first where it is not there.

    Args:
        home: `$NEL_ACTION_HOME`.
        requirements: words for the installer, or one requirements file. Hashes are required where a file has them.
        on_progress: called with each line that the installer says.

    Raises:
        UsageError: a requirements file cannot be read.
        EngineError: there is no `uv`, or it could not install.
    """
    words = _words(requirements)
    if (ready := installed(home, words)) is not None:
        return ready
    folder = home / "envs" / environment_digest(words)
    with _lock(folder.with_name(f"{folder.name}.lock")):
        if not (folder / COMPLETE).exists():
            shutil.rmtree(folder, ignore_errors=True)
            _make(folder, words, on_progress or _silent)
    return folder / "bin"


def environment_digest(requirements: Requirements) -> str:
    """Return 20 hex digits that stand for everything the environment's contents depend on.

    Raises:
        UsageError: a requirements file cannot be read.
    """
    words = _words(requirements)
    machine = f"{platform.system()} {platform.machine()} {platform.libc_ver()}"
    digest = hashlib.sha256(f"{sys.implementation.name} {sys.version_info[:2]} {machine}".encode())
    for before, word in pairwise(["", *words]):
        text = _read(Path(word)) if before in FILE_FLAGS else word.encode()
        digest.update(len(text).to_bytes(8, "big") + text)
    return digest.hexdigest()[:20]


def find_uv(environ: Mapping[str, str] = os.environ) -> str:
    """Return the path of `uv`: the installed package's, or the one on PATH.

    Raises:
        EngineError: there is none.
    """
    try:
        from uv import find_uv_bin

        return find_uv_bin()
    except (ImportError, FileNotFoundError):
        if found := shutil.which("uv", path=environ.get("PATH")):
            return found
    msg = "cannot find uv, which makes the environments that harnesses run in without a container"
    raise EngineError(msg, hint="install it with: pip install 'nel-action[process]'")


def _silent(line: str) -> None:
    """Say nothing."""


def _words(requirements: Requirements) -> tuple[str, ...]:
    return ("-r", str(requirements)) if isinstance(requirements, Path) else tuple(requirements)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        msg = f"cannot read the requirements file {file}: {error.strerror or error}"
        raise UsageError(msg) from error


def _make(folder: Path, words: Sequence[str], on_progress: Callable[[str], None]) -> None:
    uv = find_uv()
    python = folder / "bin" / "python"
    # NOTE: the interpreter is ours, never one that uv would download
    _run([uv, "venv", "--no-python-downloads", "--python", _base_python(), str(folder)], on_progress)
    install = [uv, "pip", "install", "--python", str(python), *words]
    _run([*install, "--require-hashes"] if _hashed(words) else install, on_progress)
    partial = folder / f"{COMPLETE}.part"
    partial.write_text("\n".join(words), encoding="utf-8")
    partial.rename(folder / COMPLETE)


def _base_python() -> str:
    return str(getattr(sys, "_base_executable", None) or sys.executable)


def _hashed(words: Sequence[str]) -> bool:
    """Whether all that is asked for comes from files with hashes."""
    pairs = list(pairwise(["", *words]))
    if any(not word.startswith("-") and before not in FILE_FLAGS for before, word in pairs):
        return False
    return any(b"--hash=" in _read(Path(word)) for before, word in pairs if before in FILE_FLAGS)


def _run(argv: Sequence[str], on_progress: Callable[[str], None]) -> None:
    lines: list[str] = []
    with subprocess.Popen(
        argv,
        env=_installer_environ(os.environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        for line in process.stdout or ():
            if text := line.strip():
                lines.append(text)
                on_progress(text)
    if process.returncode:
        raise _failure(argv, process.returncode, lines)


def _failure(argv: Sequence[str], status: int, lines: Sequence[str]) -> EngineError:
    """Say what the installer said last, and what usually helps."""
    said = " ".join(lines[-6:]) or f"uv ended with status {status}"
    hint = "check the requirements and the network; UV_INDEX_URL, UV_OFFLINE and proxy variables are passed on"
    if "hash" in said.lower() and "mismatch" in said.lower():
        hint = "a package is not the one that was locked; lock the requirements again if that is right"
    return EngineError(f"cannot make the environment ({' '.join(argv[1:3])}): {said}", hint=hint)


def _installer_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """Pass on what configures the installer, and none of the caller's secrets."""
    return {name: value for name, value in environ.items() if name in PASSED_ON or name.startswith(PASSED_ON_PREFIXES)}


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def main() -> None:
    """`python -m nel_action.executors.virtualenvs HOME WORD…`: make one, and say each step."""
    try:
        environment(Path(sys.argv[1]), sys.argv[2:], on_progress=lambda line: print(line, flush=True))  # noqa: T201
    except (EngineError, UsageError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
