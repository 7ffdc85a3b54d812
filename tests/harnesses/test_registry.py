from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from nel_action.errors import NotFoundError, UsageError
from nel_action.harnesses import registry
from nel_action.harnesses.registry import BUILT_IN, harness, harness_names


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> dict[str, EntryPoint]:
    entries: dict[str, EntryPoint] = {}
    monkeypatch.setattr(registry, "entry_points", lambda *, group: tuple(entries.values()) if group else ())
    return entries


def test_every_package_of_this_folder_is_a_harness() -> None:
    assert BUILT_IN == ("command", "inspect", "lm_eval", "nemo")


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
