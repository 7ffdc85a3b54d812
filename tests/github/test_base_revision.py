"""Files at the base commit, listed and read by git or through the API, in three states."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path, PurePosixPath

import pytest
from tests.doubles.github.server import GitHubDouble

from nel_action.errors import NelActionError
from nel_action.github.api import GitHubApi
from nel_action.github.base_revision import Absent, BaseFiles, BaseTree, Present, Unreadable

REPOSITORY = "Codertocat/Hello-World"
GATE = PurePosixPath("evals/gate.yaml")


def git(work: Path, *arguments: str) -> str:
    argv = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-C", str(work), *arguments]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()


def commit(work: Path) -> str:
    git(work, "add", "-A")
    git(work, "commit", "-q", "-m", "change")
    return git(work, "rev-parse", "HEAD")


@pytest.fixture
def work(tmp_path: Path) -> Path:
    work = tmp_path / "work"
    (work / "evals").mkdir(parents=True)
    (work / "evals/gate.yaml").write_text("min: 0.7\n")
    (work / "README.md").write_text("readme\n")
    git(work, "init", "-q", "-b", "main")
    commit(work)
    return work


def open_tree(work: Path, sha: str, api: GitHubApi | None = None) -> BaseTree:
    return BaseFiles(api=api, repository=REPOSITORY, work=work).open(sha)


def read(tree: BaseTree, path: PurePosixPath) -> bytes:
    state = tree.find(path)
    assert isinstance(state, Present)
    return tree.read([state.entry])[str(path)]


def test_content_is_that_of_the_commit_not_of_the_work_tree(work: Path) -> None:
    base = git(work, "rev-parse", "HEAD")
    (work / "evals/gate.yaml").write_text("min: 0.0\n")
    commit(work)
    assert read(open_tree(work, base), GATE) == b"min: 0.7\n"


def test_path_that_no_entry_can_mean_is_absent(work: Path) -> None:
    tree = open_tree(work, git(work, "rev-parse", "HEAD"))
    assert tree.find(PurePosixPath("evals/new.yaml")) == Absent()
    assert tree.find(PurePosixPath("README.md/gate.yaml")) == Absent()


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("link.yaml", "symbolic link"),
        ("linked/gate.yaml", "symbolic link"),
        ("LINKED/gate.yaml", "symbolic link"),
        ("module/gate.yaml", "submodule"),
        ("module", "submodule"),
        ("evals", "directory"),
        ("Evals/Gate.yaml", "case"),
        ("cafe\u0301.yaml", "normalisation"),
        ("../evals/gate.yaml", "outside"),
        ("/evals/gate.yaml", "outside"),
    ],
)
def test_path_that_could_mean_something_else_is_unreadable(work: Path, path: str, reason: str) -> None:
    (work / "link.yaml").symlink_to("evals/gate.yaml")
    (work / "linked").symlink_to("evals")
    (work / "caf\u00e9.yaml").write_text("x: 1\n")
    git(work, "add", "-A")
    git(work, "update-index", "--add", "--cacheinfo", f"160000,{'a' * 40},module")
    git(work, "commit", "-q", "-m", "links")
    state = open_tree(work, git(work, "rev-parse", "HEAD")).find(PurePosixPath(path))
    assert isinstance(state, Unreadable)
    assert reason in state.reason


@pytest.mark.parametrize("name", ["ev als", "\u00e9val", 'ev"als', "ev\tals", "ev\\als", "*", "évals/ü/日本"])
def test_names_that_git_quotes_are_found(work: Path, name: str) -> None:
    (work / name).mkdir(parents=True)
    (work / name / "gate.yaml").write_text("min: 0.6\n")
    tree = open_tree(work, commit(work))
    assert read(tree, PurePosixPath(name, "gate.yaml")) == b"min: 0.6\n"


def test_names_that_are_not_unicode_are_listed(work: Path) -> None:
    name = os.fsdecode(b"caf\xe9.yaml")
    (work / name).write_text("x: 1\n")
    assert isinstance(open_tree(work, commit(work)).find(PurePosixPath(name)), Present)


def test_export_attributes_have_no_effect(work: Path) -> None:
    (work / ".gitattributes").write_text("evals export-ignore\n*.yaml export-subst eol=crlf\n")
    assert read(open_tree(work, commit(work)), GATE) == b"min: 0.7\n"


def test_replaced_objects_have_no_effect(work: Path) -> None:
    base = git(work, "rev-parse", "HEAD")
    (work / "evals/gate.yaml").write_text("min: 0.0\n")
    git(work, "replace", base, commit(work))
    assert read(open_tree(work, base), GATE) == b"min: 0.7\n"


def test_bare_repository_in_the_tree_is_not_used(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = git(work, "rev-parse", "HEAD")
    git(work, "init", "-q", "--bare", "evals")
    monkeypatch.setenv("GIT_DIR", str(work / "evals"))
    assert read(open_tree(work, base), GATE) == b"min: 0.7\n"


def test_object_that_is_not_what_its_id_says_is_not_used(work: Path) -> None:
    tree = open_tree(work, git(work, "rev-parse", "HEAD"))
    sha = tree.entries[str(GATE)].sha
    forged = git(work, "hash-object", "-w", "README.md")
    source, target = (work / ".git/objects" / name[:2] / name[2:] for name in (forged, sha))
    target.chmod(0o600)
    target.write_bytes(source.read_bytes())
    with pytest.raises(NelActionError, match="cannot be read"):
        read(tree, GATE)


def commit_on_server(hub: GitHubDouble, **files: str) -> str:
    store = hub.store
    items = [
        {"path": path, "mode": "100644", "type": "blob", "sha": store.put_object("blob", text), "size": len(text)}
        for path, text in files.items()
    ]
    return store.put_object("commit", {"tree": store.put_object("tree", items), "parents": [], "message": "base"})


def test_commit_outside_of_a_shallow_checkout_is_read_through_the_api(
    api: GitHubApi, hub: GitHubDouble, work: Path
) -> None:
    sha = commit_on_server(hub, **{"evals/gate.yaml": "min: 0.6\n", "other/x": "y"})
    assert read(open_tree(work, sha, api), GATE) == b"min: 0.6\n"


def test_files_of_a_large_base_come_from_the_checkout_except_changed_ones(
    api: GitHubApi, hub: GitHubDouble, work: Path
) -> None:
    for number in range(3000):
        (work / "evals" / f"{number}.yaml").write_text(f"x: {number}\n")
    (work / "evals/gate.yaml").write_text("changed: 1\n")
    commit(work)
    listing = git(work, "ls-tree", "-r", "HEAD").splitlines()
    items = [dict(zip(("mode", "type", "sha", "path"), line.split(), strict=True)) for line in listing]
    gate = next(item for item in items if item["path"] == str(GATE))
    gate["sha"] = hub.store.put_object("blob", "min: 0.6\n")
    tree_sha = hub.store.put_object("tree", items)
    sha = hub.store.put_object("commit", {"tree": tree_sha, "parents": [], "message": "base"})
    tree = open_tree(work, sha, api)
    content = tree.read(tree.below(PurePosixPath("evals")))
    assert (len(content), content[str(GATE)], content["evals/7.yaml"]) == (3001, b"min: 0.6\n", b"x: 7\n")
    assert len(hub.requests("GET .*/git/blobs/")) == 1


def test_incomplete_listing_is_no_listing(api: GitHubApi, hub: GitHubDouble, work: Path) -> None:
    sha = commit_on_server(hub, **{"evals/gate.yaml": "x"})
    hub.store.truncated = True
    with pytest.raises(NelActionError, match="too many files"):
        open_tree(work, sha, api)


def test_base_without_git_and_token_suggests_full_checkout(tmp_path: Path) -> None:
    with pytest.raises(NelActionError, match="cannot be read") as caught:
        open_tree(tmp_path, "a" * 40)
    assert "fetch-depth: 0" in str(caught.value)
