"""What pins the model: the workflow's head commit, or the checkout's."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from nel_action.lifecycle.provenance import discover


def checkout(folder: Path, remote: str | None = None) -> str:
    def git(*words: str) -> str:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.invalid"]
        done = subprocess.run(["git", "-C", str(folder), *identity, *words], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "first")
    if remote:
        git("remote", "add", "origin", remote)
    return git("rev-parse", "HEAD")


@pytest.mark.parametrize(
    ("remote", "repository"),
    [
        ("https://user:secret@host.example/owner/name.git", "owner/name"),
        ("git@host.example:owner/name.git", "owner/name"),
        ("ssh://git@host.example:22/owner/name", "owner/name"),
        ("/somewhere/on/this/machine.git", None),
        ("file:///somewhere/on/this/machine", None),
        (None, None),
    ],
)
def test_a_checkout_says_it(tmp_path: Path, remote: str | None, repository: str | None) -> None:
    commit = checkout(tmp_path, remote)
    context = discover(tmp_path, {})
    assert (context.commit, context.repository) == (commit, repository)


def test_the_workflow_comes_before_the_checkout(tmp_path: Path) -> None:
    checkout(tmp_path)
    github = {"GITHUB_SHA": "a" * 40, "GITHUB_REPOSITORY": "o/r"}
    assert discover(tmp_path, github).commit == "a" * 40
    assert discover(tmp_path, github | {"NEL_ACTION_COMMIT": "b" * 40}).commit == "b" * 40
    assert discover(tmp_path, github).repository == "o/r"


def test_outside_of_both_nothing_is_known(tmp_path: Path) -> None:
    context = discover(tmp_path, {}, salt="s")
    assert (context.commit, context.repository, context.salt) == (None, None, "s")
