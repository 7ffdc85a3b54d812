from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from nel_action.lifecycle.prepare import discover_context


def make_checkout(directory: Path, remote: str | None = None) -> str:
    """Create a git repository with one commit and return the commit."""

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.invalid"]
        argv = ["git", "-C", str(directory), *identity, *arguments]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()

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
def test_discover_context_reads_commit_and_repository_from_the_checkout(
    tmp_path: Path, remote: str | None, repository: str | None
) -> None:
    commit = make_checkout(tmp_path, remote)
    context = discover_context(tmp_path, {})
    assert (context.commit, context.repository) == (commit, repository)


def test_discover_context_prefers_the_workflow_to_the_checkout(tmp_path: Path) -> None:
    make_checkout(tmp_path)
    github = {"GITHUB_SHA": "a" * 40, "GITHUB_REPOSITORY": "o/r"}
    assert discover_context(tmp_path, github).commit == "a" * 40
    assert discover_context(tmp_path, github | {"NEL_ACTION_COMMIT": "b" * 40}).commit == "b" * 40
    assert discover_context(tmp_path, github).repository == "o/r"


def test_discover_context_is_empty_outside_of_workflow_and_checkout(tmp_path: Path) -> None:
    context = discover_context(tmp_path, {}, salt="s")
    assert (context.commit, context.repository, context.salt) == (None, None, "s")
