"""What this machine's Debian packages are and which files they consist of."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

__all__ = ["closure", "database", "files", "here", "owners", "query"]

ALWAYS: Final = ("apt", "bash", "ca-certificates", "debian-archive-keyring", "libgomp1", "libstdc++6", "netbase")
LEFT_OUT: Final = tuple(f"/usr/share/{folder}/" for folder in ("doc", "info", "lintian", "locale", "man"))
MADE: Final = ("/usr/local/share/ca-certificates", "/etc/ssl/certs", "/etc/apt", "/etc/nsswitch.conf")
"""What packages' scripts and this machine's owner made."""


def here() -> bool:
    """Whether this machine is made of Debian packages."""
    return Path("/var/lib/dpkg/status").exists() and Path("/usr/bin/dpkg-query").exists()


def query(*words: str, check: bool = True) -> str:
    """Ask the package database."""
    return subprocess.run(["/usr/bin/dpkg-query", *words], check=check, capture_output=True, text=True).stdout


def closure(wanted: Iterable[str]) -> list[str]:
    """Return what is essential, what is wanted, and all that these need."""
    form = "${Package}\t${Essential}\t${Provides}\t${Pre-Depends}, ${Depends}\n"
    roles: dict[str, set[str]] = {}
    rows = [line.split("\t") for line in query("-Wf", form).splitlines()]
    needs = {name: _names(depends) for name, _, _, depends in rows}
    for name, _, provides, _ in rows:  # NOTE: a role, such as awk, needs all who play it: one of them was chosen here
        for role in _names(provides) - set(needs):
            roles.setdefault(role, set()).add(name)
    todo = {*ALWAYS, *wanted, *(name for name, essential, _, _ in rows if essential == "yes")}
    found: set[str] = set()
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo |= needs.get(name, set()) | roles.get(name, set())
    return sorted(found & set(needs))


def _names(field: str) -> set[str]:
    """Return the packages of a dependency field; of alternatives, all that are installed come along."""
    return {part.split("(")[0].split(":")[0].strip() for part in field.replace("|", ",").split(",")} - {""}


def owners(paths: Iterable[str]) -> set[str]:
    """Return the packages that these files belong to."""
    both = [form for path in paths for form in (path, path.removeprefix("/usr"))]
    return {line.split(":")[0] for line in query("-S", *both, check=False).splitlines()}


def files(packages: Iterable[str]) -> Iterator[str]:
    """Yield every file of these packages, each folder and link on the way to it, and what their scripts made."""
    seen = {"/"}
    for listed in [*query("-L", *packages).splitlines(), *_walk(MADE)]:
        if listed.startswith("/") and not listed.startswith(LEFT_OUT) and os.path.lexists(listed):
            # NOTE: a package may list /bin/sh, which lies behind the link /bin -> usr/bin.
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
    """Yield the database's own files about these packages."""
    owned = set(packages)
    for path in sorted(Path("/var/lib/dpkg/info").iterdir()):
        if path.name == "format" or path.stem.split(":")[0] in owned:
            yield str(path)
