"""Files at the base commit, read from the checkout's git or through the API."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from tests.doubles.github.server import GitHubDouble

from nel_action.errors import NelActionError
from nel_action.github.api import GitHubApi
from nel_action.github.base_revision import BaseFiles

REPOSITORY = "Codertocat/Hello-World"


def git(work: Path, *arguments: str) -> str:
    argv = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-C", str(work), *arguments]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def work(tmp_path: Path) -> Path:
    work = tmp_path / "work"
    (work / "evals").mkdir(parents=True)
    (work / "evals/gate.yaml").write_text("min: 0.7\n")
    (work / "README.md").write_text("readme\n")
    git(work, "init", "-q", "-b", "main")
    git(work, "add", ".")
    git(work, "commit", "-q", "-m", "base")
    return work


def test_fetch_reads_base_commit_from_git_not_from_work_tree(work: Path, tmp_path: Path) -> None:
    base = git(work, "rev-parse", "HEAD")
    (work / "evals/gate.yaml").write_text("min: 0.0\n")
    git(work, "commit", "-qam", "head")
    files = BaseFiles(api=None, repository=REPOSITORY, work=work)
    into = files.fetch(base, ["evals", "gone"], tmp_path / "base")
    assert (into / "evals/gate.yaml").read_text() == "min: 0.7\n"
    assert not (into / "README.md").exists()
    assert (files.fetch(base, ["."], tmp_path / "all") / "README.md").exists()


def test_fetch_skips_folder_that_base_does_not_contain(work: Path, tmp_path: Path) -> None:
    base = git(work, "rev-parse", "HEAD")
    into = BaseFiles(api=None, repository=REPOSITORY, work=work).fetch(base, ["new"], tmp_path / "base")
    assert list(into.iterdir()) == []


def commit_on_server(hub: GitHubDouble, **files: str) -> str:
    store = hub.store
    items = [
        {"path": path, "mode": "100644", "type": "blob", "sha": store.put_object("blob", text), "size": len(text)}
        for path, text in files.items()
    ]
    return store.put_object("commit", {"tree": store.put_object("tree", items), "parents": [], "message": "base"})


def test_fetch_uses_api_in_shallow_checkout(api: GitHubApi, hub: GitHubDouble, work: Path, tmp_path: Path) -> None:
    sha = commit_on_server(hub, **{"evals/gate.yaml": "min: 0.7\n", "evals/weights.bin": "x", "other/x.yaml": "y"})
    into = BaseFiles(api=api, repository=REPOSITORY, work=work).fetch(sha, ["evals"], tmp_path / "base")
    assert [str(path.relative_to(into)) for path in into.rglob("*") if path.is_file()] == ["evals/gate.yaml"]
    assert (into / "evals/gate.yaml").read_text() == "min: 0.7\n"


def test_fetch_refuses_to_download_too_many_files(
    api: GitHubApi, hub: GitHubDouble, work: Path, tmp_path: Path
) -> None:
    sha = commit_on_server(hub, **{f"evals/{number}.yaml": "x" for number in range(201)})
    with pytest.raises(NelActionError, match="too many files"):
        BaseFiles(api=api, repository=REPOSITORY, work=work).fetch(sha, ["evals"], tmp_path / "base")


def test_fetch_without_git_and_token_suggests_full_checkout(tmp_path: Path) -> None:
    with pytest.raises(NelActionError, match="fetch-depth: 0"):
        BaseFiles(api=None, repository=REPOSITORY, work=tmp_path).fetch("a" * 40, ["."], tmp_path / "base")
