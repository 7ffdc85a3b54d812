from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from nel_action.lifecycle.provenance import COMMIT_VARIABLES, discover_context


def make_checkout(directory: Path, remote: str | None = None) -> str:
    """Create a git repository with one commit and return the commit."""

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.invalid"]
        argv = ["git", "-C", str(directory), *identity, *arguments]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    git("add", "--all")
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
    assert context.commit_source is None


@pytest.mark.parametrize("name", COMMIT_VARIABLES)
def test_discover_context_reads_the_variable_of_each_ci_system(tmp_path: Path, name: str) -> None:
    context = discover_context(tmp_path, {name: "a" * 40})
    assert (context.commit, context.commit_source, context.modified) == ("a" * 40, name, False)


@pytest.mark.parametrize("value", ["HEAD", "main", "", "abc123"])
def test_discover_context_ignores_a_variable_that_is_not_a_complete_commit(tmp_path: Path, value: str) -> None:
    assert discover_context(tmp_path, {"BUILDKITE_COMMIT": value}).commit is None
    assert discover_context(tmp_path, {"BUILDKITE_COMMIT": value, "BUILD_VCS_NUMBER": "b" * 64}).commit == "b" * 64


def test_discover_context_reports_a_checkout_with_changed_tracked_files(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text("a", encoding="utf-8")
    commit = make_checkout(tmp_path)
    assert discover_context(tmp_path, {}).commit_source == "checkout"
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "untracked").touch()
    assert not discover_context(tmp_path, {}).modified
    (tmp_path / "model.py").write_text("b", encoding="utf-8")
    context = discover_context(tmp_path, {})
    assert (context.commit, context.commit_source, context.modified) == (commit, "checkout (modified)", True)
    assert not discover_context(tmp_path, {"GITHUB_SHA": "a" * 40}).modified


@pytest.mark.parametrize("references", ["loose", "packed"])
@pytest.mark.parametrize("kind", ["branch", "detached", "worktree", "subfolder"])
def test_discover_context_reads_the_commit_without_git_but_does_not_call_it_unmodified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, references: str
) -> None:
    main = tmp_path / "main"
    main.mkdir()
    commit = make_checkout(main)
    git = [str(shutil.which("git")), "-C", str(main)]
    folder = main
    if kind == "detached":
        subprocess.run([*git, "checkout", "-q", "--detach"], check=True)
    if kind == "worktree":
        folder = tmp_path / "tree"
        subprocess.run([*git, "worktree", "add", "-q", str(folder), "-b", "other"], check=True)
    if kind == "subfolder":
        folder = main / "evals"
        folder.mkdir()
    if references == "packed":
        subprocess.run([*git, "pack-refs", "--all"], check=True)
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    context = discover_context(folder, {})
    assert (context.commit, context.commit_source, context.modified) == (commit, "checkout (changes unknown)", True)


def test_discover_context_reads_a_checkout_that_git_refuses_because_another_user_owns_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = make_checkout(tmp_path)
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    context = discover_context(tmp_path, {})
    assert (context.commit, context.modified) == (commit, True)


def test_discover_context_is_empty_for_a_damaged_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    (tmp_path / ".git").write_bytes(b"gitdir: /nowhere\n")
    assert discover_context(tmp_path, {}).commit is None
    (tmp_path / ".git").write_bytes(b"\xff\xfe")
    assert discover_context(tmp_path, {}).commit is None
