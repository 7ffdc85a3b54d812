"""Source positions of keys, and YAML scalars read as OmegaConf reads them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from nel_action.spec.nested import Loc
from nel_action.spec.source_positions import Document, dotted, nearest
from nel_action.spec.yaml_loader import Loader, parse

pytestmark = pytest.mark.slow

KEYS = st.text(st.characters(codec="utf-8", categories=["L"]), min_size=1, max_size=5).filter(
    lambda key: yaml.safe_load(key) == key
)
TREES = st.recursive(
    st.integers() | st.just("text") | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=15,
)


def all_locations(data: object, loc: Loc = ()) -> Iterator[Loc]:
    """Yield the locations of all keys and items."""
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for part, value in items:
        yield (*loc, part)
        yield from all_locations(value, (*loc, part))


@given(tree=st.dictionaries(KEYS, TREES, min_size=1, max_size=4), style=st.sampled_from(["block", "flow"]))
@settings(deadline=None)
def test_position_of_every_key(tree: dict[str, Any], style: str) -> None:
    text = yaml.safe_dump(tree, default_flow_style=style == "flow", allow_unicode=True, sort_keys=False)
    root, data = parse(Path("s.yaml"), text)
    assert data == tree
    document = Document(Path("s.yaml"), root, data)
    lines = text.splitlines()
    for loc in all_locations(tree):
        position, depth = document.position(loc)
        assert depth == len(loc)
        assert position.line is not None
        assert position.column is not None
        if isinstance(loc[-1], str):
            assert lines[position.line - 1][position.column - 1 :].lstrip("\"'").startswith(loc[-1])


def test_position_of_missing_key_is_that_of_nearest_parent(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text("a:\n  b: [x, {c: 1}]\n")
    document = Document.read(file)
    assert str(document.position(("a", "b", 1, "c"))[0]) == f"{file}:2:11"
    assert str(document.position(("a", "b", 1, "zz"))[0]) == f"{file}:2:10"
    assert str(document.position(("a", "zz", 3))[0]) == f"{file}:1:1"
    assert str(document.position(("zz",))[0]) == f"{file}"


def test_position_of_merged_key_is_where_it_is_written(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text("x: &x\n  a: 1\ny:\n  <<: *x\n  b: 2\n")
    document = Document.read(file)
    assert document.data["y"] == {"a": 1, "b": 2}
    assert str(document.position(("y", "a"))[0]) == f"{file}:2:3"


@given(
    text=st.one_of(
        st.from_regex(r"[-+]?[0-9_.]{0,6}([eE][-+]?[0-9]{0,3})?(:[0-5]?[0-9])?", fullmatch=True),
        st.sampled_from(["yes", "No", "on", "~", "null", "0x1f", "0b1", "017", ".inf", "-.INF", ".nan", "2026-11-22"]),
    )
)
@settings(deadline=None, max_examples=300)
def test_scalars_equal_those_of_omegaconf(text: str) -> None:
    def read_with_loader(source: str) -> dict[str, object]:
        loaded: dict[str, object] = yaml.load(source, Loader=Loader)  # noqa: S506 - a safe loader
        return loaded

    def read_with_omegaconf(source: str) -> object:
        return OmegaConf.to_container(OmegaConf.create(source))["a"]  # type: ignore[call-overload, index]

    source = f"a: {text}\n"
    try:
        expected = read_with_omegaconf(source)
    except (ValueError, yaml.YAMLError) as error:
        with pytest.raises(type(error)):
            read_with_loader(source)
        return
    value = read_with_loader(source)["a"]
    assert type(value) is type(expected)
    assert repr(value) == repr(expected)


def test_nearest_returns_most_similar_name() -> None:
    assert nearest("max_dorp", ["min", "max", "max_drop"]) == "max_drop"
    assert nearest("GSM8K", ["gsm8k"]) == "gsm8k"
    assert nearest("zzz", ["min", "max"]) is None


def test_dotted_formats_locations() -> None:
    assert dotted(("evaluation", "tasks", 0, "name")) == "evaluation.tasks[0].name"
    assert dotted(()) == ""
