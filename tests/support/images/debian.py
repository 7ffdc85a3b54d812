"""This machine's Debian packages, their dependencies and their files."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

__all__ = ["closure", "database", "files", "owners", "query"]

REQUIRED: Final = ("apt", "bash", "ca-certificates", "debian-archive-keyring", "libgomp1", "libstdc++6", "netbase")
EXCLUDED: Final = tuple(f"/usr/share/{directory}/" for directory in ("doc", "info", "lintian", "locale", "man"))
GENERATED: Final = ("/usr/local/share/ca-certificates", "/etc/ssl/certs", "/etc/apt", "/etc/nsswitch.conf")
"""Paths that scripts of packages or the administrator created."""


def query(*argv: str, check: bool = True) -> str:
    """Run `dpkg-query` and return its output."""
    return subprocess.run(["/usr/bin/dpkg-query", *argv], check=check, capture_output=True, text=True).stdout


def closure(packages: Iterable[str]) -> list[str]:
    """Return the essential packages, the given packages, and all their dependencies."""
    form = "${Package}\t${Essential}\t${Provides}\t${Pre-Depends}, ${Depends}\n"
    providers: dict[str, set[str]] = {}
    rows = [line.split("\t") for line in query("-Wf", form).splitlines()]
    dependencies = {name: _names(depends) for name, _, _, depends in rows}
    for name, _, provides, _ in rows:
        # NOTE: all providers of a virtual package such as awk are included, because the chosen one is not recorded.
        for virtual in _names(provides) - set(dependencies):
            providers.setdefault(virtual, set()).add(name)
    pending = {*REQUIRED, *packages, *(name for name, essential, _, _ in rows if essential == "yes")}
    selected: set[str] = set()
    while pending:
        name = pending.pop()
        if name not in selected:
            selected.add(name)
            pending |= dependencies.get(name, set()) | providers.get(name, set())
    return sorted(selected & set(dependencies))


def _names(field: str) -> set[str]:
    """Return the packages of a dependency field, including all alternatives."""
    return {part.split("(")[0].split(":")[0].strip() for part in field.replace("|", ",").split(",")} - {""}


def owners(paths: Iterable[str]) -> set[str]:
    """Return the packages that own these files."""
    spellings = [form for path in paths for form in (path, path.removeprefix("/usr"))]
    return {line.split(":")[0] for line in query("-S", *spellings, check=False).splitlines()}


def files(packages: Iterable[str]) -> Iterator[str]:
    """Yield every file of these packages, its parent directories and links, and files that their scripts created."""
    seen = {"/"}
    for listed in [*query("-L", *packages).splitlines(), *_walk(GENERATED)]:
        if listed.startswith("/") and not listed.startswith(EXCLUDED) and os.path.lexists(listed):
            # NOTE: a package may list /bin/sh, which is reached through the link /bin -> usr/bin.
            steps = [Path(*Path(listed).parts[:depth]) for depth in range(2, len(Path(listed).parts) + 1)]
            for real in (str(step.parent.resolve() / step.name) for step in steps):
                if real not in seen:
                    seen.add(real)
                    yield real
    for link in Path("/etc/alternatives").iterdir():
        if os.path.realpath(link) in seen:
            record = Path("/var/lib/dpkg/alternatives", link.name)
            yield str(link)
            yield from record.read_text().splitlines()[1:2] if record.exists() else ()


def _walk(paths: Iterable[str]) -> Iterator[str]:
    for path in paths:
        yield path
        yield from map(str, sorted(Path(path).rglob("*")) if Path(path).is_dir() else ())


def database(packages: Iterable[str]) -> Iterator[str]:
    """Yield the files of the package database that describe these packages."""
    owned = set(packages)
    for path in sorted(Path("/var/lib/dpkg/info").iterdir()):
        if path.name == "format" or path.stem.split(":")[0] in owned:
            yield str(path)
