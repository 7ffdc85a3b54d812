"""What is said of the project outside its code: locks, scripts, files that come along."""

from __future__ import annotations

import re
import subprocess
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
LOCKS = sorted(path.stem for path in (ROOT / "requirements").glob("*.txt"))


@cache
def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def project() -> dict[str, Any]:
    data: dict[str, Any] = pyproject()["project"]
    return data


def wanted(extra: str) -> list[Requirement]:
    if extra == "build":
        return [Requirement(line) for line in pyproject()["build-system"]["requires"]]
    lists = [project()["dependencies"], project()["optional-dependencies"].get(extra, [])]
    return [Requirement(line) for lines in lists for line in lines]


@cache
def locked(name: str) -> dict[str, dict[str, int]]:
    """Package → version → number of hashes."""
    pins: dict[str, dict[str, int]] = {}
    for block in re.split(r"\n(?=[a-z0-9])", (ROOT / "requirements" / f"{name}.txt").read_text()):
        if pin := re.match(r"([a-z0-9-]+)==([^\s;]+)", block):
            pins.setdefault(pin[1], {})[pin[2]] = block.count("--hash=sha256:")
    return pins


def tracked() -> list[Path]:
    command = ["git", "ls-files", "-z"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [ROOT / name for name in names.split("\0") if name]


def test_every_extra_has_a_lock() -> None:
    assert set(LOCKS) == {"build", "core", *project()["optional-dependencies"]}


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_holds_what_its_extra_asks_for(name: str) -> None:
    pins = locked(name)
    for requirement in wanted(name):
        if requirement.name == project()["name"]:
            assert all(locked(extra).items() <= pins.items() for extra in requirement.extras)
        else:
            assert all(version in requirement.specifier for version in pins[canonicalize_name(requirement.name)])


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_hashes_everything_and_agrees_with_the_others(name: str) -> None:
    for package, versions in locked(name).items():
        assert all(versions.values()), package
        assert all(locked(other).get(package, versions) == versions for other in LOCKS), package


def test_scripts_are_short_and_executable() -> None:
    for script in (path for path in tracked() if path.parent == ROOT / "scripts"):
        assert script.stat().st_mode & 0o111, script
        assert script.read_text().startswith(("#!/usr/bin/env ", "#!/bin/sh\n")), script


def test_no_download_host_is_written_anywhere() -> None:
    # NOTE: spelt in pieces, so that this file passes its own test.
    hosts = re.compile(
        rb"py" + rb"pi\.(org|python)|pythonho" + rb"sted\.org|registry\.npm" + rb"js|proxy\.gol" + rb"ang"
    )
    assert [path for path in tracked() if path.is_file() and hosts.search(path.read_bytes())] == []


def test_the_readme_lists_every_command_and_no_other() -> None:
    from nel_action.cli.app import COMMANDS

    rows = re.findall(r"^\| ((?:`[^`]+`(?:, )?)+) \|", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert {word.split()[0] for row in rows for word in re.findall(r"`([a-z][^`]*)`", row)} >= set(COMMANDS)


def test_no_package_shares_its_name_with_a_public_function() -> None:
    """Importing `nel_action.<package>` would replace the function of that name."""
    import nel_action

    modules = {path.stem for path in (ROOT / "src" / "nel_action").iterdir()}
    assert modules.isdisjoint(set(nel_action.__all__) - {"__version__"})
