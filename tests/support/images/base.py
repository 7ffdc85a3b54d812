"""A base image that needs no registry, created from this machine's Debian packages and Python.

    python -m tests.support.images.base        creates it and prints its name

It replaces `python:3.x-slim` in tests. It contains Debian's package database, so that `apt-get install` works in it.
"""

from __future__ import annotations

import io
import os
import platform
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.support.images import debian
from tests.support.images.build import LABEL, build, digest, docker, image_exists

__all__ = ["base_image"]

DIRECTORIES: Final = ("dev", "home", "opt", "proc", "root", "run", "srv", "sys", "var/log", "var/cache/apt/archives")
USERS: Final = """\
root:x:0:0::/root:/bin/bash
_apt:x:42:65534::/nonexistent:/bin/false
nobody:x:65534:65534::/:/bin/false
"""
GROUPS: Final = "root:x:0:\nmail:x:8:\nstaff:x:50:\nshadow:x:42:\nnogroup:x:65534:\n"
AUTHORITIES: Final = "/etc/ssl/certs/ca-certificates.crt"
VARIABLES: Final = (
    f"LANG=C.UTF-8 PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin SSL_CERT_FILE={AUTHORITIES} PIP_CERT={AUTHORITIES}"
)
SYSTEM_PYTHON: Final = ("python3", "python3-venv")
PREFIX: Final = Path(sys.base_prefix)


def base_image(*packages: str) -> str:
    """Return the name of the image, which also contains these Debian packages; create it if it does not exist."""
    release = Path("/etc/debian_version").read_text().strip()
    content = f"{release} {platform.python_version()} {PREFIX} {' '.join(packages)}".strip()
    name = f"nel-action-test/base:{digest(Path(__file__), Path(debian.__file__), text=content)}"
    if not image_exists(name):
        raw = docker("import", "--change", f"LABEL {LABEL}", "-", stdin=_root(packages)).strip()
        build(name, f"FROM {raw}\nENV {VARIABLES}\nRUN ldconfig\n")
        docker("rmi", "--no-prune", raw, check=False)
    return name


def _root(extra: Sequence[str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        tree, packages = Tree(tar), debian.closure({*_python_packages(), *extra})
        for directory in DIRECTORIES:
            tree.add_directory(directory)
        for directory in ("tmp", "var/tmp"):
            tree.add_directory(directory, mode=0o1777)
        tree.add_file("etc/passwd", USERS)
        tree.add_file("etc/group", GROUPS)
        tree.add_file("var/lib/dpkg/status", debian.query("-s", *packages))
        for path in (*debian.database(packages), *debian.files(packages)):
            tree.copy_file(path, path)
        _add_python(tree)
    return buffer.getvalue()


class Tree:
    """A root file system under construction; root owns everything, and the first entry of a name is kept."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self._names = {""}

    def copy_file(self, source: str, name: str) -> None:
        if self._is_new(name):
            self._tar.add(source, name, recursive=False, filter=_as_root)

    def add_directory(self, name: str, *, mode: int = 0o755) -> None:
        self._add(name, tarfile.DIRTYPE, mode=mode)

    def add_link(self, name: str, target: str) -> None:
        self._add(name, tarfile.SYMTYPE, target=target)

    def add_file(self, name: str, text: str) -> None:
        self._add(name, tarfile.REGTYPE, data=text.encode())

    def _add(self, name: str, kind: bytes, *, mode: int = 0o644, target: str = "", data: bytes = b"") -> None:
        if self._is_new(name):
            member = tarfile.TarInfo(name)
            member.type, member.mode, member.linkname, member.size = kind, mode, target, len(data)
            self._tar.addfile(member, io.BytesIO(data))

    def _is_new(self, name: str) -> bool:
        short = name.strip("/")
        new = short not in self._names
        self._names.add(short)
        return new


def _as_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def _python_packages() -> set[str]:
    """Return the packages that contain Python, or the libraries that its extension modules are linked with."""
    if Path("/usr") == PREFIX:
        return set(SYSTEM_PYTHON)
    modules = map(str, PREFIX.glob("lib/python3.*/lib-dynload/*.so"))
    output = subprocess.run(["/usr/bin/ldd", *modules], check=True, capture_output=True, text=True).stdout
    return debian.owners({os.path.realpath(path) for path in output.split() if path.startswith(("/lib/", "/usr/lib/"))})


def _add_python(tree: Tree) -> None:
    """Add Python under /usr/local, without its tests, caches and installed packages other than pip."""
    if Path("/usr") == PREFIX:
        tree.add_link("usr/local/bin/python", "/usr/bin/python3")
        return
    short = "python" + ".".join(platform.python_version_tuple()[:2])
    packages = f"lib/{short}/site-packages/"
    excluded = (f"lib/{short}/test/", f"lib/{short}/config-")
    for source in (PREFIX / "bin" / short, *sorted((PREFIX / "lib").rglob("*"))):
        relative = source.relative_to(PREFIX).as_posix()
        if "__pycache__" in relative or relative.endswith(".a") or relative.startswith(excluded):
            continue
        if not relative.startswith(packages) or relative.startswith(f"{packages}pip"):
            tree.copy_file(str(source), f"/usr/local/{relative}")
    tree.add_link("usr/local/bin/python3", short)
    tree.add_link("usr/local/bin/python", short)


if __name__ == "__main__":
    print(base_image())  # noqa: T201 output of a program
