"""Fingerprints: complete, independent of defaults, sensitive to every file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nel_action.planning.fingerprint import benchmark_paths, compare_specs, flatten, task_fingerprint
from nel_action.spec.classes import KeyClass
from nel_action.spec.model import Spec

TASK = {"name": "math", "harness": "command", "command": ["sh", "run.sh"], "task_dir": "own", "dataset_dir": "data"}


def spec_of(**sections: object) -> Spec:
    return Spec.model_validate_json(json.dumps({"evaluation": {"tasks": [TASK]}} | sections))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("own/sub/score.py", "data/items.jsonl", "run.sh", "lib/helper.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("content")
    (tmp_path / "own/lib").symlink_to("../lib")
    return tmp_path


@pytest.mark.parametrize(
    "change",
    ["own/sub/score.py", "own/new.py", "data/items.jsonl", "run.sh", "lib/helper.py"],
)
def test_every_file_of_a_benchmark_changes_its_fingerprint(change: str, folder: Path) -> None:
    before = task_fingerprint(spec_of(), 0, folder)
    (folder / change).write_text("changed")
    after = task_fingerprint(spec_of(), 0, folder)
    assert [name for name in after if before.get(name) != after[name]]


def test_caches_and_the_policy_do_not_change_it(folder: Path) -> None:
    before = task_fingerprint(spec_of(), 0, folder)
    (folder / "own/__pycache__").mkdir()
    (folder / "own/__pycache__/x.pyc").write_text("x")
    assert task_fingerprint(spec_of(gate={"tasks": {"math": {"min": 0.1}}}, name="x"), 0, folder) == before


def test_subject_and_operation_are_no_part_of_it(folder: Path) -> None:
    before = task_fingerprint(spec_of(), 0, folder)
    other = spec_of(target={"revision": "x"}, execution={"type": "local", "parallelism": 3})
    assert task_fingerprint(other, 0, folder) == before


def test_type_of_a_section_is_compared_although_it_is_the_default_of_its_model() -> None:
    server = {"image": "x", "command": "serve"}
    first, second = (spec_of(deployment={"type": kind, **server}) for kind in ("vllm", "sglang"))
    (difference,) = compare_specs(first, second, base_files={}, head_files={})
    assert difference.text == "deployment.type: vllm → sglang"
    assert difference.kind is KeyClass.SUBJECT


def test_repeated_task_names_are_compared_one_by_one() -> None:
    tasks = [{"name": "a"}, {"name": "a", "params": {"seed": 1}}]
    changed = [{"name": "a"}, {"name": "a", "params": {"seed": 2}}]
    first, second = (spec_of(evaluation={"tasks": value}) for value in (tasks, changed))
    (difference,) = compare_specs(first, second, base_files={}, head_files={})
    assert (difference.path, difference.task) == ("evaluation.tasks.a#2.params.seed", "a")


def test_long_values_that_differ_at_their_end_differ() -> None:
    first, second = (spec_of(evaluation={"tasks": [TASK], "params": {"extra": {"x": "y" * 999 + end}}}) for end in "ab")
    assert task_fingerprint(first, 0, Path("/none")) != task_fingerprint(second, 0, Path("/none"))
    assert flatten(first) != flatten(second)


@pytest.mark.parametrize("name", ["math.params", "math.params.extra", "math#2", "math.params.parallelism"])
def test_name_of_another_task_hides_no_change(name: str) -> None:
    tasks = [TASK | {"params": {"extra": {"x": value}}} for value in (1, 2)]
    first = spec_of(evaluation={"tasks": [tasks[0]]})
    second = spec_of(evaluation={"tasks": [tasks[1], TASK | {"name": name}]})
    changes = compare_specs(first, second, base_files={}, head_files={})
    assert [(change.kind, change.text) for change in changes if change.task == "math"] == [
        (KeyClass.BENCHMARK, "evaluation.tasks.math.params.extra.x: 1 → 2")
    ]


@pytest.mark.parametrize(
    "name", ["a#1", "a#2", "a.timeout", "a.params.parallelism", "evaluation.tasks.a", "#", ".", "a\x00"]
)
def test_tasks_of_any_name_are_compared(name: str) -> None:
    first, second = (
        spec_of(evaluation={"tasks": [{"name": name, "harness": harness}]}) for harness in ("command", "lm_eval")
    )
    (difference,) = compare_specs(first, second, base_files={}, head_files={})
    assert (difference.task, difference.kind) == (name, KeyClass.BENCHMARK)


def test_absolute_paths_in_every_key_of_the_benchmark_are_part_of_it() -> None:
    task = TASK | {
        "command": ["bash", "-c", "cd /w/a && python /w/b.py --data=/w/c"],
        "env_vars": {"PYTHONPATH": "lit:/w/d:/w/e"},
        "params": {"extra": {"include": ["/w/f"], "nested": {"/w/g": 1}}},
    }
    execution = {"type": "local", "mounts": {"evaluation": {"/w/h": "/data"}, "deployment": {"/w/i": "/model"}}}
    paths = {path for _, path in benchmark_paths(spec_of(evaluation={"tasks": [task]}, execution=execution))}
    assert {f"/w/{name}" for name in "abcdefgh"} - {"/w/b"} | {"/w/b.py"} <= paths
    assert "/w/i" not in paths
