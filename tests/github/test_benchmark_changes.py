"""What a change of the benchmark, the model or the operation does to the rules of a gate."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from nel_action.driver.surroundings import Rules
from nel_action.github.base_revision import BaseFiles, BaseTree, TreeEntry
from nel_action.github.benchmark_changes import apply_changes, find_changes, select_rules
from nel_action.github.benchmark_files import Side
from nel_action.spec.model import Spec
from nel_action.spec.policy import Tier

TASK = {"name": "math", "harness": "command", "command": ["python", "own/score.py"], "task_dir": "own"}
FILES = {"evals/own/score.py": "1", "evals/own/a/b.txt": "2", "evals/spec.yaml": "3", "lib/x.py": "4"}


def tree(files: dict[str, str], mode: str = "100644", *, other: str | None = None) -> BaseTree:
    """Return a tree; the file `other` has the mode."""
    entries = {path: TreeEntry(path, mode if path == other else "100644", sha) for path, sha in files.items()}
    return BaseTree("0" * 40, entries, BaseFiles(api=None, repository="o/r", work=Path()))


def rules_between(
    base: dict[str, Any],
    head: dict[str, Any],
    gate: dict[str, Any] | None = None,
    trees: tuple[BaseTree, BaseTree] | None = None,
) -> Rules:
    """Return the rules for a change of a spec and of the files of its commit."""
    policy = {"tasks": {"math": {"min": 0.7}}} | (gate or {})
    specs = [
        Spec.model_validate_json(json.dumps({"evaluation": {"tasks": [TASK]}, "gate": policy} | part))
        for part in (base, head)
    ]
    folder = PurePosixPath("evals")
    before, after = (
        Side(spec, folder, tree) for spec, tree in zip(specs, trees or (tree(FILES), tree(FILES)), strict=True)
    )
    changes = find_changes(before, after)
    rules = select_rules(after.spec, before.spec, base_name="main", folder=Path(), changes=changes)
    return apply_changes(rules, before.spec, after.spec, changes, "main")


@pytest.mark.parametrize(
    ("files", "note"),
    [
        ({"evals/own/score.py": "9"}, "evaluation.tasks.math.task_dir: score.py was changed"),
        ({"evals/own/a/b.txt": "9"}, "evaluation.tasks.math.task_dir: a/b.txt was changed"),
        ({"evals/own/new.py": "9"}, "evaluation.tasks.math.task_dir: new.py was added"),
    ],
)
def test_edited_file_makes_its_task_unmeasurable(files: dict[str, str], note: str) -> None:
    trees = (tree(FILES), tree(FILES | files))
    rules = rules_between({}, {}, trees=trees)
    assert {task for task, _ in rules.blocked} == {"math"}
    assert note in rules.notes
    allowed = {"allow": ["evaluation.tasks.math.task_dir", "evaluation.tasks.math.command"]}
    assert rules_between({}, {}, allowed, trees).blocked == ()


def test_other_files_of_the_repository_may_change() -> None:
    trees = (tree(FILES), tree(FILES | {"evals/spec.yaml": "9", "lib/x.py": "9", "evals/owner/z": "9"}))
    assert rules_between({}, {}, trees=trees).blocked == ()


@pytest.mark.parametrize("path", ["evals/own/a/b.txt", "evals/own"])
@pytest.mark.parametrize("mode", ["120000", "160000"])
def test_links_and_submodules_cannot_be_compared(path: str, mode: str) -> None:
    files = {name: sha for name, sha in FILES.items() if not name.startswith(f"{path}/")} | {path: "5"}
    trees = (tree(files, mode, other=path), tree(files, mode, other=path))
    assert {task for task, _ in rules_between({}, {}, trees=trees).blocked} == {"math"}


@pytest.mark.parametrize(
    ("part", "path"),
    [
        ({"env_vars": {"X": "lit:1"}}, "env_vars.X"),
        ({"evaluation": {"tasks": [{"name": "math"}], "params": {"seed": 3}}}, "evaluation.params.seed"),
        ({"execution": {"type": "local", "runtime": "process"}}, "execution.runtime"),
        ({"target": {"api_endpoint": {"adapter_config": {"a": 1}}}}, "target.api_endpoint.adapter_config.a"),
        ({"auxiliary_deployments": {"judge": {"type": "vllm", "image": "x"}}}, "auxiliary_deployments.judge.type"),
    ],
)
def test_changed_benchmark_is_unmeasurable_unless_its_key_is_allowed(part: dict[str, Any], path: str) -> None:
    rules = rules_between({}, part)
    assert any(reason.startswith(f"this change edits the benchmark: {path}: ") for _, reason in rules.blocked)
    rules = rules_between({}, part, {"allow": [path, "evaluation", "auxiliary_deployments.judge"]})
    assert rules.blocked == ()


def test_changed_subject_is_listed_and_refused_only_if_pinned() -> None:
    base = {"target": {"revision": "a" * 300, "api_endpoint": {"url": "http://one/v1/chat/completions"}}}
    head = {"target": {"revision": "a" * 299 + "b", "api_endpoint": {"url": "http://two/v1/chat/completions"}}}
    rules = rules_between(base, head)
    assert rules.blocked == ()
    assert f"target.revision: {'a' * 300} → {'a' * 299}b" in rules.notes
    assert "target.api_endpoint.url: http://one/v1/chat/completions → http://two/v1/chat/completions" in rules.notes
    pinned = rules_between(base, head, {"pin": ["target.revision"]})
    assert [task for task, _ in pinned.blocked] == [""]


def test_head_cannot_allow_or_unpin_its_own_keys() -> None:
    own = {"tasks": {"math": {"min": 0.1}}, "allow": ["env_vars"], "pin": []}
    assert rules_between({}, {"env_vars": {"X": "lit:1"}, "gate": own}).blocked


def test_removed_model_makes_the_gate_unmeasurable() -> None:
    two: dict[str, Any] = {"targets": {"small": {}, "large": {}}}
    rules = rules_between(two, {"targets": {"small": {}}})
    assert rules.blocked == (("", "this change no longer evaluates the model large, which main requires"),)


def test_task_that_only_the_head_has_decides_nothing() -> None:
    base = {"evaluation": {"tasks": [{"name": "math"}]}}
    head = {"evaluation": {"tasks": [{"name": "math"}, {"name": "new", "harness": "command", "command": ["x"]}]}}
    rules = rules_between(base, head)
    assert rules.blocked == ()
    assert rules.policy is not None
    assert rules.policy.tasks["new"].tier is Tier.ADVISORY


def test_operational_changes_are_listed_and_compared() -> None:
    rules = rules_between({}, {"name": "x", "execution": {"type": "local", "parallelism": 7}})
    assert rules.blocked == ()
    assert "execution.parallelism: not set → 7" in rules.notes
