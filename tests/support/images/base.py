"""A base image without an image registry: this machine's own Debian packages and Python, packed as they are.

    python -m tests.support.images.base        makes it, says its name

It stands in for `python:3.x-slim` where the tests run, and is labelled so. Debian's package database comes along, so
that `apt-get install` works in it.
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
from tests.support.images.build import LABEL, build, digest, docker, have

__all__ = ["base_image"]

FOLDERS: Final = ("dev", "home", "opt", "proc", "root", "run", "srv", "sys", "var/log", "var/cache/apt/archives")
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
    """Return the name of the image, made first where the engine does not have it; it has these Debian packages too."""
    release = Path("/etc/debian_version").read_text().strip()
    about = f"{release} {platform.python_version()} {PREFIX} {' '.join(packages)}".strip()
    name = f"nel-action-test/base:{digest(Path(__file__), Path(debian.__file__), text=about)}"
    if not have(name):
        raw = docker("import", "--change", f"LABEL {LABEL}", "-", stdin=_root(packages)).strip()
        build(name, f"FROM {raw}\nENV {VARIABLES}\nRUN ldconfig\n")
        docker("rmi", "--no-prune", raw, check=False)
    return name


def _root(more: Sequence[str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        tree, packages = Tree(tar), debian.closure({*_wanted(), *more})
        for folder in FOLDERS:
            tree.folder(folder)
        for folder in ("tmp", "var/tmp"):
            tree.folder(folder, mode=0o1777)
        tree.text("etc/passwd", USERS)
        tree.text("etc/group", GROUPS)
        tree.text("var/lib/dpkg/status", debian.query("-s", *packages))
        for path in (*debian.database(packages), *debian.files(packages)):
            tree.copy(path, path)
        _python(tree)
    return buffer.getvalue()


class Tree:
    """A file system in the making: everything is root's, and the first of two under one name stays."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self._names = {""}

    def copy(self, source: str, name: str) -> None:
        if self._new(name):
            self._tar.add(source, name, recursive=False, filter=_as_root)

    def folder(self, name: str, *, mode: int = 0o755) -> None:
        self._put(name, tarfile.DIRTYPE, mode=mode)

    def link(self, name: str, target: str) -> None:
        self._put(name, tarfile.SYMTYPE, target=target)

    def text(self, name: str, text: str) -> None:
        self._put(name, tarfile.REGTYPE, data=text.encode())

    def _put(self, name: str, kind: bytes, *, mode: int = 0o644, target: str = "", data: bytes = b"") -> None:
        if self._new(name):
            member = tarfile.TarInfo(name)
            member.type, member.mode, member.linkname, member.size = kind, mode, target, len(data)
            self._tar.addfile(member, io.BytesIO(data))

    def _new(self, name: str) -> bool:
        short = name.strip("/")
        new = short not in self._names
        self._names.add(short)
        return new


def _as_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def _wanted() -> set[str]:
    """Return the packages that Python consists of, or that its extension modules are linked with."""
    if Path("/usr") == PREFIX:
        return set(SYSTEM_PYTHON)
    modules = map(str, PREFIX.glob("lib/python3.*/lib-dynload/*.so"))
    words = subprocess.run(["/usr/bin/ldd", *modules], check=True, capture_output=True, text=True).stdout.split()
    return debian.owners({os.path.realpath(word) for word in words if word.startswith(("/lib/", "/usr/lib/"))})


def _python(tree: Tree) -> None:
    """Put Python under /usr/local, without its tests, caches and installed packages; pip stays."""
    if Path("/usr") == PREFIX:
        tree.link("usr/local/bin/python", "/usr/bin/python3")
        return
    short = "python" + ".".join(platform.python_version_tuple()[:2])
    packages = f"lib/{short}/site-packages/"
    dropped = (f"lib/{short}/test/", f"lib/{short}/config-")
    for source in (PREFIX / "bin" / short, *sorted((PREFIX / "lib").rglob("*"))):
        inside = source.relative_to(PREFIX).as_posix()
        if "__pycache__" in inside or inside.endswith(".a") or inside.startswith(dropped):
            continue
        if not inside.startswith(packages) or inside.startswith(f"{packages}pip"):
            tree.copy(str(source), f"/usr/local/{inside}")
    tree.link("usr/local/bin/python3", short)
    tree.link("usr/local/bin/python", short)


if __name__ == "__main__":
    print(base_image())  # noqa: T201 a program's answer
