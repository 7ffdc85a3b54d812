from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from nel_action.errors import NotFoundError, UsageError
from nel_action.harnesses import registry
from nel_action.harnesses.registry import BUILT_IN, harness, harness_names


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> dict[str, EntryPoint]:
    found: dict[str, EntryPoint] = {}
    monkeypatch.setattr(registry, "entry_points", lambda *, group: tuple(found.values()) if group else ())
    return found


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_a_built_in_harness_is_found_without_looking_at_installed_packages(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(registry, "entry_points")
    assert harness(name).name == name


def test_an_unknown_name_gets_the_nearest_ones() -> None:
    with pytest.raises(NotFoundError, match=r"no harness 'lmeval'\n  nearest: lm_eval"):
        harness("lmeval")


def test_a_name_near_to_none_gets_them_all() -> None:
    with pytest.raises(NotFoundError, match="there are: command, inspect, lm_eval, nemo"):
        harness("zzz")


def test_a_plugin_is_found_by_its_entry_point(plugins: dict[str, EntryPoint]) -> None:
    plugins["mine"] = EntryPoint("mine", "nel_action.harnesses.command:HARNESS", registry.GROUP)
    assert "mine" in harness_names()
    assert harness("mine").name == "command"


def test_a_plugin_cannot_take_a_built_in_name(plugins: dict[str, EntryPoint]) -> None:
    plugins["command"] = EntryPoint("command", "nowhere:NOTHING", registry.GROUP)
    assert harness("command").name == "command"
    assert harness_names().count("command") == 1


def test_a_broken_plugin_is_told_by_name(plugins: dict[str, EntryPoint]) -> None:
    plugins["broken"] = EntryPoint("broken", "nel_action.no_such_module:HARNESS", registry.GROUP)
    with pytest.raises(UsageError, match=r"harness 'broken' of .* cannot be loaded"):
        harness("broken")
