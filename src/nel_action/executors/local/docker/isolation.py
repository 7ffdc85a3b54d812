"""Settings that open this machine to a job: refused unless the runner's owner allows them with NEL_ACTION_ALLOW.

docs/security.md lists them; its table is the list of the tests.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nel_action.errors import UsageError

__all__ = ["ALLOW", "WORDS", "Opening", "allowed", "opening_mount"]

ALLOW: Final = "NEL_ACTION_ALLOW"
"""Variable of the runner: words of `WORDS`, separated by commas or whitespace, or `all`."""

WORDS: Final = ("mounts", "sockets", "namespaces", "privileges", "devices")

SOCKETS: Final = (
    "/run/docker.sock",
    "/run/docker",
    "/run/containerd",
    "/run/podman",
    "/run/crio",
    "/run/cri-dockerd.sock",
    "/run/buildkit",
    "/run/k3s",
    "/run/systemd",
    "/run/dbus",
    "/run/snapd.socket",
    "/run/libvirt",
    "/run/lxd.socket",
)
"""Sockets of programs that run as root, and directories that contain one; `/var/run` is another name of `/run`."""

USER_SOCKETS: Final = ("docker.sock", "podman", "containerd", "containerd-rootless", "buildkit", "buildkit-default")
"""The same below `/run/user/<ID>`, for engines without root."""

SOCKET_NAMES: Final = frozenset({"docker.sock", "containerd.sock", "podman.sock", "crio.sock", "buildkitd.sock"})
"""Names of sockets that are recognised in any directory."""

SYSTEM: Final = ("/proc", "/sys", "/boot", "/var/lib/docker", "/var/lib/containerd", "/var/lib/containers")
"""Directories that are refused with everything below them, and so are their parents; `/dev` is one of the devices."""

PRIVATE: Final = ("/etc", "/root", "/home", "/var/lib/kubelet")
"""Directories that are refused, but not what is below them."""


@dataclass(frozen=True, slots=True)
class Opening:
    """Why a setting opens the machine."""

    word: str
    """One of `WORDS`."""
    reason: str
    """What the job would get."""

    @property
    def hint(self) -> str:
        """How the runner's owner allows it."""
        return f"remove it; the owner of this runner can allow it with {ALLOW}={self.word} (docs/security.md)"


def allowed(environ: Mapping[str, str]) -> frozenset[str]:
    """Return the words that the runner's owner allows.

    Raises:
        UsageError: the variable contains an unknown word.
    """
    listed = environ.get(ALLOW, "").replace(",", " ").split()
    if unknown := sorted({*listed} - {*WORDS, "all"}):
        msg = f"{ALLOW}: unknown word {unknown[0]!r}"
        raise UsageError(msg, hint=f"use any of {', '.join(WORDS)}, or all")
    return frozenset(WORDS) if "all" in listed else frozenset(listed)


def opening_mount(source: str, environ: Mapping[str, str]) -> Opening | None:
    """Return why a mount of this path opens the machine; None if it does not, or if it is allowed.

    Args:
        source: absolute path on this machine, which need not exist.
        environ: variables of this process.
    """
    permitted = allowed(environ)
    # NOTE: also as it is written, since links below /proc lead elsewhere for the engine.
    paths = {Path("/", os.path.normpath(source).lstrip("/"))}
    try:
        paths.add(Path(os.path.realpath(source)))
    except OSError:
        unknown = Opening("mounts", "files that this user cannot examine")
        return None if unknown.word in permitted else unknown
    paths |= {Path("/run", *path.parts[3:]) for path in paths if path.parts[:3] == ("/", "var", "run")}
    openings = (opening for path in sorted(paths) for opening in _openings(path, environ))
    return next((opening for opening in openings if opening.word not in permitted), None)


def _openings(path: Path, environ: Mapping[str, str]) -> Iterator[Opening]:
    if path == Path("/"):
        yield Opening("mounts", "all files of this machine")
    if _within(path, Path("/dev")):
        yield Opening("devices", "devices of this machine")
    if _is_socket(path) or any(_overlaps(path, Path(os.path.realpath(socket))) for socket in _sockets(path, environ)):
        yield Opening("sockets", "control of this machine through a socket of the container engine or of the system")
    if any(_overlaps(path, Path(directory)) for directory in SYSTEM) or str(path) in PRIVATE:
        yield Opening("mounts", f"system files of this machine ({path})")
    home = environ.get("NEL_ACTION_HOME") or os.path.join(environ.get("HOME", "/root"), ".nel-action")  # noqa: PTH118
    if _overlaps(path, Path(os.path.realpath(home)) / "local"):
        yield Opening("mounts", "the secrets and results of other jobs (NEL_ACTION_HOME)")


def _within(path: Path, directory: Path) -> bool:
    return path.is_relative_to(directory)


def _overlaps(path: Path, other: Path) -> bool:
    """Whether one of two paths contains the other."""
    return path.is_relative_to(other) or other.is_relative_to(path)


def _sockets(path: Path, environ: Mapping[str, str]) -> Iterator[str]:
    """Yield the sockets of engines and of the system: the usual ones, those of users, and that of DOCKER_HOST."""
    yield from SOCKETS
    for variable in ("DOCKER_HOST", "CONTAINER_HOST", "CONTAINERD_ADDRESS", "BUILDKIT_HOST"):
        address = environ.get(variable, "").removeprefix("unix://")
        if address.startswith("/"):
            yield address
    if path.is_relative_to("/run/user"):
        user = path.parts[3] if len(path.parts) > 3 else "0"  # noqa: PLR2004 /run/user/ID
        yield from (f"/run/user/{user}/{name}" for name in USER_SOCKETS)
    if runtime := environ.get("XDG_RUNTIME_DIR"):
        yield from (f"{runtime}/{name}" for name in USER_SOCKETS)


def _is_socket(path: Path) -> bool:
    """Whether a path is a socket, or a directory that contains the socket of an engine under any name."""
    if path.name in SOCKET_NAMES:
        return True
    with suppress(OSError):
        if stat.S_ISSOCK(path.stat().st_mode):
            return True
        names = os.listdir(path) if path.is_dir() else ()  # noqa: PTH208 names only
        known = {_inode(socket) for socket in SOCKETS} - {None}
        return any(name in SOCKET_NAMES or _inode(path / name) in known for name in names)
    return False


def _inode(path: Path | str) -> tuple[int, int] | None:
    """Return what identifies a socket under any name; None if the path is none."""
    with suppress(OSError):
        details = os.stat(path)  # noqa: PTH116 text or path
        if stat.S_ISSOCK(details.st_mode):
            return details.st_dev, details.st_ino
    return None
