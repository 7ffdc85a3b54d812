"""Virtual environments for harnesses and model servers, created by `uv` and cached by content.

An environment is stored in `<home>/envs/<digest>`; the digest covers the installer's arguments, the contents of the
requirements files, the Python version and the platform. A file lock makes concurrent processes create it only once,
and a marker file that is written last distinguishes a complete environment from an interrupted one.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
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

__all__ = ["ensure_virtualenv", "find_uv", "find_virtualenv", "is_installer_variable", "virtualenv_digest"]

logger = logging.getLogger(__name__)

COMPLETE: Final = ".complete"
"""Marker file in a complete environment; contains the installer's arguments."""

INSTALLER_VARIABLES: Final = (
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
"""Variables of this process that the installer inherits."""

INSTALLER_PREFIXES: Final = ("UV_", "PIP_", "SSL_", "XDG_", "ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
"""Prefixes of further variables that the installer inherits."""

FILE_FLAGS: Final = ("-r", "-c", "--requirements", "--constraints")
"""Installer options whose value is a file."""

OUTPUT_LINES: Final = 6
"""Lines of the installer's output that an error message quotes."""

Requirements = Sequence[str] | Path
"""Arguments for the installer (`-r`, `FILE`, `package==1.0`), or the path of one requirements file."""


def find_virtualenv(home: Path, requirements: Requirements) -> Path | None:
    """Return the `bin` directory of an existing environment, or None.

    Raises:
        UsageError: a requirements file cannot be read.
    """
    directory = home / "envs" / virtualenv_digest(requirements)
    return directory / "bin" if (directory / COMPLETE).exists() else None


def ensure_virtualenv(
    home: Path, requirements: Requirements, *, on_output: Callable[[str], None] | None = None
) -> Path:
    """Return the `bin` directory of the environment, creating it if it does not exist.

    Args:
        home: `$NEL_ACTION_HOME`.
        requirements: arguments for the installer, or one requirements file. If a file contains hashes, they are
            required for every package.
        on_output: called with each line that the installer prints.

    Raises:
        UsageError: a requirements file cannot be read.
        EngineError: `uv` is not available, or the installation failed.
    """
    arguments = _arguments(requirements)
    if (existing := find_virtualenv(home, arguments)) is not None:
        return existing
    directory = home / "envs" / virtualenv_digest(arguments)
    with _lock(directory.with_name(f"{directory.name}.lock")):
        if not (directory / COMPLETE).exists():
            logger.info("creating the virtual environment %s", directory)
            shutil.rmtree(directory, ignore_errors=True)
            _create(directory, arguments, on_output or _ignore)
    return directory / "bin"


def virtualenv_digest(requirements: Requirements) -> str:
    """Return 20 hex digits that identify the contents of an environment.

    Raises:
        UsageError: a requirements file cannot be read.
    """
    arguments = _arguments(requirements)
    machine = f"{platform.system()} {platform.machine()} {platform.libc_ver()}"
    digest = hashlib.sha256(f"{sys.implementation.name} {sys.version_info[:2]} {machine}".encode())
    for previous, argument in pairwise(["", *arguments]):
        content = _read(Path(argument)) if previous in FILE_FLAGS else argument.encode()
        digest.update(len(content).to_bytes(8, "big") + content)
    return digest.hexdigest()[:20]


def find_uv(environ: Mapping[str, str] = os.environ) -> str:
    """Return the path of `uv`: from the installed package, else from PATH.

    Raises:
        EngineError: it is not installed.
    """
    try:
        from uv import find_uv_bin

        return find_uv_bin()
    except (ImportError, FileNotFoundError):
        if path := shutil.which("uv", path=environ.get("PATH")):
            return path
    msg = "cannot find uv, which creates the environments of harnesses that run without a container"
    raise EngineError(msg, hint="install it with: pip install 'nel-action[process]'")


def _ignore(line: str) -> None:
    """Discard a line of output."""


def _arguments(requirements: Requirements) -> tuple[str, ...]:
    return ("-r", str(requirements)) if isinstance(requirements, Path) else tuple(requirements)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        msg = f"cannot read the requirements file {file}: {error.strerror or error}"
        raise UsageError(msg) from error


def _create(directory: Path, arguments: Sequence[str], on_output: Callable[[str], None]) -> None:
    uv = find_uv()
    python = directory / "bin" / "python"
    # NOTE: always this interpreter, never one that uv downloads.
    _run([uv, "venv", "--no-python-downloads", "--python", _base_python(), str(directory)], on_output)
    install = [uv, "pip", "install", "--python", str(python), *arguments]
    _run([*install, "--require-hashes"] if _requires_hashes(arguments) else install, on_output)
    partial = directory / f"{COMPLETE}.part"
    partial.write_text("\n".join(arguments), encoding="utf-8")
    partial.rename(directory / COMPLETE)


def _base_python() -> str:
    return str(getattr(sys, "_base_executable", None) or sys.executable)


def _requires_hashes(arguments: Sequence[str]) -> bool:
    """Whether all packages come from requirements files and at least one file has hashes."""
    pairs = list(pairwise(["", *arguments]))
    if any(not argument.startswith("-") and previous not in FILE_FLAGS for previous, argument in pairs):
        return False
    return any(b"--hash=" in _read(Path(argument)) for previous, argument in pairs if previous in FILE_FLAGS)


def _run(argv: Sequence[str], on_output: Callable[[str], None]) -> None:
    lines: list[str] = []
    logger.debug("running %s", " ".join(argv))
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
                on_output(text)
    if process.returncode:
        raise _failure(argv, process.returncode, lines)


def _failure(argv: Sequence[str], status: int, lines: Sequence[str]) -> EngineError:
    """Quote the last lines of the installer's output and name the usual fix."""
    output = " ".join(lines[-OUTPUT_LINES:]) or f"uv exited with status {status}"
    hint = "check requirements and network; UV_CONFIG_FILE, UV_INDEX_URL, UV_OFFLINE and proxy variables are passed on"
    if "hash" in output.lower() and "mismatch" in output.lower():
        hint = "a package differs from the locked one; if the new package is correct, lock the requirements again"
    return EngineError(f"cannot create the environment ({' '.join(argv[1:3])}): {output}", hint=hint)


def _installer_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """Select the variables that configure the installer, leaving out the caller's secrets.

    uv reads no `uv.toml` or `pyproject.toml` in the current directory or above it: that may be the repository under
    test. UV_CONFIG_FILE names a file to read instead.
    """
    selected = {name: value for name, value in environ.items() if is_installer_variable(name)}
    return selected if "UV_CONFIG_FILE" in selected else {**selected, "UV_NO_CONFIG": "1"}


def is_installer_variable(name: str) -> bool:
    """Return whether a variable configures the installer."""
    return name in INSTALLER_VARIABLES or name.startswith(INSTALLER_PREFIXES)


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def main() -> None:
    """Create an environment and print the installer's output: `python -m … HOME ARGUMENT…`."""
    try:
        ensure_virtualenv(Path(sys.argv[1]), sys.argv[2:], on_output=lambda line: print(line, flush=True))  # noqa: T201
    except (EngineError, UsageError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
