from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import nel_action
from nel_action.errors import NotFoundError, UsageError
from nel_action.harnesses import registry
from nel_action.harnesses.registry import BUILT_IN, harness, harness_names


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> dict[str, EntryPoint]:
    entries: dict[str, EntryPoint] = {}
    monkeypatch.setattr(registry, "entry_points", lambda *, group: tuple(entries.values()) if group else ())
    return entries


NEW_HARNESS = """
from nel_action.harnesses.interface import Harness

class Dice(Harness):
    name = "dice"
    def command(self, task, binding): ...
    def read(self, task, artifacts): ...

HARNESS = Dice()
"""


def test_built_in_harnesses_are_the_packages_of_the_folder() -> None:
    assert {"command", "inspect", "lm_eval", "nemo"} <= set(BUILT_IN)


def test_a_new_folder_is_all_that_a_new_built_in_harness_needs(tmp_path: Path) -> None:
    package = Path(nel_action.__file__).parent
    copy = shutil.copytree(package, tmp_path / "nel_action", ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "harnesses/dice").mkdir()
    (copy / "harnesses/dice/__init__.py").write_text(NEW_HARNESS)
    program = "from nel_action.harnesses.registry import *; print(BUILT_IN, harness('dice').detect(None))"
    environ = {**os.environ, "PYTHONPATH": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=False)
    assert run.stdout == "('command', 'dice', 'inspect', 'lm_eval', 'nemo') ()\n", run.stderr


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_built_in_harness_is_loaded_without_reading_package_metadata(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(registry, "entry_points")
    assert harness(name).name == name


def test_an_unknown_name_is_answered_with_similar_names() -> None:
    with pytest.raises(NotFoundError, match=r"no harness 'lmeval'\n  nearest: lm_eval"):
        harness("lmeval")


def test_a_name_similar_to_none_is_answered_with_all_names() -> None:
    with pytest.raises(NotFoundError, match="available: command, inspect, lm_eval, nemo"):
        harness("zzz")


def test_a_plugin_is_loaded_by_its_entry_point(plugins: dict[str, EntryPoint]) -> None:
    plugins["mine"] = EntryPoint("mine", "nel_action.harnesses.command:HARNESS", registry.GROUP)
    assert "mine" in harness_names()
    assert harness("mine").name == "command"


def test_a_plugin_cannot_take_a_built_in_name(plugins: dict[str, EntryPoint]) -> None:
    plugins["command"] = EntryPoint("command", "nowhere:NOTHING", registry.GROUP)
    assert harness("command").name == "command"
    assert harness_names().count("command") == 1


def test_a_plugin_that_cannot_be_imported_is_reported_by_name(plugins: dict[str, EntryPoint]) -> None:
    plugins["broken"] = EntryPoint("broken", "nel_action.no_such_module:HARNESS", registry.GROUP)
    with pytest.raises(UsageError, match=r"cannot load harness 'broken' of .*no_such_module"):
        harness("broken")


def test_a_plugin_that_lacks_methods_is_reported_with_their_names(plugins: dict[str, EntryPoint]) -> None:
    plugins["incomplete"] = EntryPoint("incomplete", "nel_action.errors:Location", registry.GROUP)
    with pytest.raises(UsageError, match="lacks name, requirements, check, command, progress, read, detect\n"):
        harness("incomplete")
