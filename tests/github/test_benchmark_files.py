"""Files that a benchmark consists of, wherever the spec names them, in a commit and in its checkout."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml
from tests.github.conftest import MakeContext
from tests.github.test_escape import Repository, write

from nel_action.driver.surroundings import Rules
from nel_action.github.base_revision import BaseFiles, BaseTree, TreeEntry, object_id
from nel_action.github.benchmark_files import Side, object_ids
from nel_action.spec.model import Spec

pytestmark = pytest.mark.slow

PLACES: dict[str, Callable[[Path], dict[str, Any]]] = {
    "command": lambda work: {"command": ["python", str(work / "lib/score.py")]},
    "option": lambda work: {"command": ["python", "-c", "x", f"--data={work}/lib/score.py"]},
    "shell": lambda work: {"command": ["bash", "-c", f"cd {work}/lib && python score.py"]},
    "variable": lambda work: {"env_vars": {"PYTHONPATH": f"lit:/usr/lib:{work}/lib"}, "command": ["x"]},
    "parameter": lambda work: {"params": {"extra": {"include": [f"{work}/lib"]}}, "command": ["x"]},
    "folder": lambda work: {"task_dir": str(work / "lib"), "command": ["x"]},
    "parent": lambda _work: {"task_dir": "../lib", "command": ["x"]},
    "requirements": lambda _work: {"requirements": "../requirements.txt", "command": ["x"]},
    "interpolated": lambda _work: {"command": ["python", "${oc.env:CHECKOUT}/lib/score.py"]},
}
"""How a task may depend on the directory `lib` of the repository."""


class Benchmark:
    """A repository whose spec names files of it; `task` is the task of the spec."""

    def __init__(self, repository: Repository) -> None:
        self.repository, self.work = repository, repository.work
        write(self.work / "lib/score.py", "print(0.3)\n")
        write(self.work / "requirements.txt", "-r more/nested.txt\n")
        write(self.work / "more/nested.txt", "-e ../lib\n")
        write(self.work / "other/file.txt", "unrelated\n")

    def write_spec(self, task: dict[str, Any], **sections: Any) -> None:  # noqa: ANN401
        spec = {
            "execution": {"type": "local", "runtime": "process"},
            "target": {"api_endpoint": {"model_id": "m", "url": "http://127.0.0.1:9/v1/chat/completions"}},
            "evaluation": {"tasks": [{"name": "own", "harness": "command", **task}]},
            "gate": {"tasks": {"own": {"min": 0.7}}},
        }
        write(self.work / "evals/gate.yaml", yaml.safe_dump(spec | sections))

    def commit_base(self) -> None:
        self.repository.base = self.repository.commit()

    def rules(self) -> Rules:
        return self.repository.rules(environ={"CHECKOUT": str(self.work)})

    def blocked(self) -> list[str]:
        return [reason for _, reason in self.rules().blocked]


@pytest.fixture
def benchmark(make_context: MakeContext, monkeypatch: pytest.MonkeyPatch) -> Benchmark:
    work = make_context().root
    monkeypatch.chdir(work)
    return Benchmark(Repository(work, make_context))


def test_edited_file_is_noticed_if_a_variable_of_the_runner_names_its_directory(benchmark: Benchmark) -> None:
    benchmark.write_spec({"env_vars": {"WORK": "host:WORK"}, "command": ["bash", "-c", "python $WORK/score.py"]})
    benchmark.commit_base()
    write(benchmark.work / "lib/score.py", "print(0.95)\n")
    benchmark.repository.commit()
    rules = benchmark.repository.rules(environ={"WORK": str(benchmark.work / "lib")})
    ((task, reason),) = rules.blocked
    assert (task, "score.py was changed" in reason) == ("own", True)


@pytest.mark.parametrize("place", PLACES)
def test_edited_file_is_noticed_wherever_the_spec_names_it(benchmark: Benchmark, place: str) -> None:
    benchmark.write_spec(PLACES[place](benchmark.work))
    benchmark.commit_base()
    write(benchmark.work / "other/file.txt", "changed\n")
    benchmark.repository.commit()
    assert benchmark.blocked() == []
    write(benchmark.work / "lib/score.py", "print(0.95)\n")
    benchmark.repository.commit()
    (reason,) = benchmark.blocked()
    assert "score.py was changed" in reason


@pytest.mark.parametrize("relative", [False, True])
def test_mounted_directory_of_the_repository_is_part_of_the_benchmark(benchmark: Benchmark, *, relative: bool) -> None:
    source = "../lib" if relative else str(benchmark.work / "lib")
    execution = {"type": "local", "mounts": {"evaluation": {source: "/data"}}}
    task = {"container": "example.org/image:1", "command": ["x"]}
    benchmark.write_spec(task, execution=execution)
    benchmark.commit_base()
    write(benchmark.work / "lib/score.py", "print(0.95)\n")
    benchmark.repository.commit()
    assert [task for task, _ in benchmark.rules().blocked] == [""]


def test_attributes_that_convert_a_file_of_the_benchmark_are_noticed(benchmark: Benchmark) -> None:
    benchmark.write_spec({"task_dir": "../lib", "command": ["x"]})
    benchmark.commit_base()
    write(benchmark.work / ".gitattributes", "lib/*.py working-tree-encoding=UTF-16LE\n")
    (benchmark.work / "lib/score.py").write_bytes("print(0.3)\n".encode("utf-16-le"))
    benchmark.repository.commit()
    (reason,) = benchmark.blocked()
    assert "score.py was changed" in reason


def test_unrelated_attributes_change_nothing(benchmark: Benchmark) -> None:
    benchmark.write_spec({"task_dir": "../lib", "command": ["x"]})
    benchmark.commit_base()
    write(benchmark.work / ".gitattributes", "*.md linguist-documentation\n")
    benchmark.repository.commit()
    assert benchmark.blocked() == []


def test_attributes_of_the_base_are_no_change(benchmark: Benchmark) -> None:
    benchmark.write_spec({"task_dir": "../lib", "command": ["x"]})
    write(benchmark.work / ".gitattributes", "lib/*.py text eol=crlf\n")
    benchmark.commit_base()
    (benchmark.work / "lib/score.py").write_bytes(b"print(0.3)\r\n")
    assert benchmark.blocked() == []


@pytest.mark.parametrize("change", ["edit", "remove", "link"])
def test_file_that_differs_from_its_commit_is_noticed(benchmark: Benchmark, change: str) -> None:
    benchmark.write_spec({"task_dir": "../lib", "command": ["x"]})
    benchmark.commit_base()
    path = benchmark.work / "lib/score.py"
    path.unlink()
    if change == "edit":
        path.write_text("print(0.95)\n")
    if change == "link":
        path.symlink_to("../other/file.txt")
    (reason,) = benchmark.blocked()
    assert "score.py was changed" in reason


def test_files_of_git_lfs_are_compared_by_their_pointers(benchmark: Benchmark) -> None:
    content = b"large\n"
    oid = hashlib.sha256(content).hexdigest()
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(content)}\n"
    benchmark.write_spec({"task_dir": "../lib", "command": ["x"]})
    write(benchmark.work / "lib/data.bin", pointer)
    benchmark.commit_base()
    (benchmark.work / "lib/data.bin").write_bytes(content)
    assert benchmark.blocked() == []
    (benchmark.work / "lib/data.bin").write_bytes(b"other\n")
    assert len(benchmark.blocked()) == 1


def test_unpacked_archive_without_git_is_compared_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own/score.py").write_text("print(0.3)\n")
    entry = TreeEntry("own/score.py", "100644", object_id(b"print(0.3)\n", 40))
    tree = BaseTree("0" * 40, {entry.path: entry}, BaseFiles(api=None, repository="o/r", work=tmp_path))
    task = {"name": "own", "harness": "command", "command": ["x"], "task_dir": "own"}
    spec = Spec.model_validate_json(json.dumps({"evaluation": {"tasks": [task]}}))
    side = Side(spec, PurePosixPath(), tree, tmp_path, checked_out=True)
    assert set(object_ids(side, "head").values()) == {entry.sha}
    (tmp_path / "own/score.py").write_text("print(0.95)\n")
    (value,) = object_ids(side, "head").values()
    assert value.startswith("content of the checkout")
