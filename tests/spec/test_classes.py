"""The class of every spec key."""

from __future__ import annotations

import pytest

from nel_action.spec.classes import CLASSES, FROM_BASE, KeyClass, class_of, is_key_path, key_paths, takes_base_value
from nel_action.spec.model import Spec
from nel_action.spec.policy import GatePolicy


def has_row(path: str) -> bool:
    """Return whether a row of the table is the path or a section that contains it."""
    parts = path.split(".")
    return any(".".join(parts[:end]) in CLASSES for end in range(1, len(parts) + 1))


def test_every_key_has_a_class() -> None:
    paths = list(key_paths(Spec))
    assert len(paths) > 200
    assert [path for path in paths if not has_row(path)] == []


def test_every_row_is_a_key() -> None:
    paths = list(key_paths(Spec))
    assert [
        row
        for row in CLASSES
        if not any(path == row or path.startswith(f"{row}.") for path in paths)
        and not any(row.startswith(f"{path}.") or row == f"{path}.*" for path in paths)
    ] == []


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("target/revision", KeyClass.SUBJECT),
        ("target/api_endpoint/adapter_config/use_system_prompt", KeyClass.BENCHMARK),
        ("targets/my.model/api_endpoint/url", KeyClass.SUBJECT),
        ("evaluation/tasks/lm-evaluation-harness.ifeval/params/seed", KeyClass.BENCHMARK),
        ("evaluation/tasks/gsm8k/params/parallelism", KeyClass.OPERATIONAL),
        ("evaluation/tasks/gsm8k.params.parallelism/command", KeyClass.BENCHMARK),
        ("evaluation/tasks/gsm8k/params/extra/params/parallelism", KeyClass.BENCHMARK),
        ("evaluation/tasks/gsm8k/env_vars/timeout", KeyClass.BENCHMARK),
        ("evaluation/tasks/timeout/params/extra/timeout", KeyClass.BENCHMARK),
        ("deployment/env_vars/X", KeyClass.SUBJECT),
        ("execution/mounts/deployment/a.b", KeyClass.SUBJECT),
        ("execution/mounts/evaluation/a", KeyClass.BENCHMARK),
        ("execution/unknown_key_of_a_plug_in", KeyClass.BENCHMARK),
        ("execution/output_dir", KeyClass.OPERATIONAL),
        ("execution/hostname", KeyClass.OPERATIONAL),
    ],
)
def test_class_of_the_longest_row_applies(path: str, kind: KeyClass) -> None:
    assert class_of(path.split("/")) is kind


@pytest.mark.parametrize(
    "path", ["target.revision", "target", "evaluation.tasks.a.b.params", "evaluation", "env_vars.X"]
)
def test_paths_of_keys_and_sections_are_accepted(path: str) -> None:
    assert is_key_path(path)
    assert GatePolicy(pin=(path,), allow=(path,)).pin == (path,)


@pytest.mark.parametrize(
    "path", ["", "revision", "target_revision", "targt.revision", "evaluation.task", "execution.x y"]
)
def test_paths_that_name_no_key_are_refused(path: str) -> None:
    with pytest.raises(ValueError, match="no key of a spec"):
        GatePolicy(pin=(path,))


def test_keys_that_take_the_base_value_are_operational() -> None:
    classes = {row: CLASSES.get(row, CLASSES.get(f"{row}.*")) for row in FROM_BASE}
    assert classes == dict.fromkeys(FROM_BASE, KeyClass.OPERATIONAL)
    for path in ("execution/hostname", "gateway/enabled", "evaluation/tasks/a/gateway"):
        assert takes_base_value(path.split("/"))
    for path in ("execution/parallelism", "gate", "evaluation/tasks/gateway/params"):
        assert not takes_base_value(path.split("/"))
