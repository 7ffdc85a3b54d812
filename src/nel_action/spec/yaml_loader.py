"""Reading one YAML file as OmegaConf does, with every mistake in it told by line and column."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from nel_action.errors import Location, Problem, SpecError

if TYPE_CHECKING:
    _Base = yaml.SafeLoader
else:
    _Base = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

__all__ = ["Loader", "mark_location", "parse", "read_text"]

MAX_DEPTH = 200
"""Levels of nesting; libyaml's tree builder has no limit of its own and would crash the process."""
MAX_NODES = 500_000
"""Values in a file with its aliases written out; more is a mistake or an attack."""
PLAIN_TAGS = frozenset(
    f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null", "map", "seq", "merge")
)


class Loader(_Base):
    """PyYAML's safe loader with OmegaConf's two changes: `1e-5` is a number, `2026-11-22` is text."""


Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in _Base.yaml_implicit_resolvers.items()
}
Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9]+(?:_[0-9]+)*(?:\.[0-9_]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def read_text(path: Path) -> str:
    """Return the text of a spec.

    Raises:
        SpecError: there is no such file, it is a folder, it may not be read, or it is not UTF-8.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise SpecError([Problem("no such file", Location(path))]) from None
    except IsADirectoryError:
        hint = "name a file in it, or use --config-dir and --config-name"
        raise SpecError([Problem("is a folder, not a file", Location(path), hint)]) from None
    except OSError as error:
        raise SpecError([Problem(f"cannot be read: {error.strerror}", Location(path))]) from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        raise SpecError([Problem("is not UTF-8 text", Location(path, line, column))]) from None


def parse(path: Path, text: str) -> tuple[yaml.MappingNode, dict[str, Any]]:
    """Return the tree of a file, with its marks, and its values.

    Raises:
        SpecError: it is not YAML, is empty, is not a mapping, or repeats a key.
    """
    loader = Loader(text)
    try:
        _refuse_depth(path, text)
        root = loader.get_single_node()
        if root is None:
            raise SpecError([Problem("is empty", Location(path), "an eval spec is a mapping: `evaluation:` and so on")])
        if not isinstance(root, yaml.MappingNode):
            place = mark_location(path, root.start_mark)
            raise SpecError([Problem("must be a mapping of keys (`evaluation:` and so on)", place)])
        if problems := list(_check(path, root)):
            raise SpecError(problems)
        return root, loader.construct_document(root)
    except yaml.MarkedYAMLError as error:
        raise SpecError([_yaml_problem(path, text, error)]) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise SpecError([Problem(f"is not YAML: {error.reason}", Location(path, line))]) from None
    except ValueError as error:
        # NOTE: PyYAML lets int() and the like speak for themselves.
        raise SpecError([Problem(f"is not YAML: {error}", Location(path))]) from None
    finally:
        loader.dispose()


def mark_location(path: Path, mark: Any) -> Location:  # noqa: ANN401 - one of PyYAML's two kinds of marks, or None
    """Turn a YAML mark, which counts from 0, into a location, which counts from 1."""
    return Location(path, mark.line + 1, mark.column + 1) if mark is not None else Location(path)


def _refuse_depth(path: Path, text: str) -> None:
    if sum(map(text.count, ("[", "{", "-", "?", ":"))) <= MAX_DEPTH:
        return
    depth = 0
    for event in yaml.parse(text, Loader=Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise SpecError([Problem("is nested too deeply", mark_location(path, event.start_mark))])


def _check(path: Path, root: yaml.MappingNode) -> Iterator[Problem]:
    """Find what YAML allows and a spec does not: repeated keys, keys that are no text, endless aliases."""
    sizes: dict[int, int] = {}
    yield from _check_node(path, root, sizes, set())
    if sizes.get(id(root), 0) > MAX_NODES:
        yield Problem("its aliases stand for too many values", Location(path))


def _check_node(path: Path, node: yaml.Node, sizes: dict[int, int], above: set[int]) -> Iterator[Problem]:
    if id(node) in above:
        yield Problem("this alias refers to itself", mark_location(path, node.start_mark))
        return
    if id(node) in sizes:
        return
    if node.tag not in PLAIN_TAGS:
        place = mark_location(path, node.start_mark)
        yield Problem(f"the tag {node.tag} is not plain YAML", place, "a spec holds text, numbers, lists and mappings")
    above.add(id(node))
    children: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        yield from _check_keys(path, node)
        children = [child for pair in node.value for child in pair]
    elif isinstance(node, yaml.SequenceNode):
        children = node.value
    for child in children:
        yield from _check_node(path, child, sizes, above)
    above.discard(id(node))
    sizes[id(node)] = 1 + sum(sizes.get(id(child), 0) for child in children)


def _check_keys(path: Path, node: yaml.MappingNode) -> Iterator[Problem]:
    first: dict[str, int] = {}
    for key, _ in node.value:
        place = mark_location(path, key.start_mark)
        if key.tag == "tag:yaml.org,2002:merge":
            continue
        if not isinstance(key, yaml.ScalarNode) or key.tag != "tag:yaml.org,2002:str":
            text = f" '{key.value}'" if isinstance(key, yaml.ScalarNode) else ""
            yield Problem(f"the key{text} is not text to YAML", place, "put it in quotes")
        elif key.value in first:
            yield Problem(f"key '{key.value}' is written twice; first in line {first[key.value]}", place)
        else:
            first[key.value] = key.start_mark.line + 1


def _yaml_problem(path: Path, text: str, error: yaml.MarkedYAMLError) -> Problem:
    mark = error.problem_mark or error.context_mark
    place = mark_location(path, mark)
    lines = text.splitlines()
    line = lines[mark.line] if mark is not None and mark.line < len(lines) else ""
    if "\t" in line[: len(line) - len(line.lstrip())]:
        return Problem("a tab indents this line", place, "YAML is indented with spaces")
    if isinstance(error, yaml.composer.ComposerError) and "another document" in (error.problem or ""):
        return Problem("a second document begins here", place, "a spec is one YAML document")
    what = error.problem or error.context or "it cannot be read"
    return Problem(f"is not YAML: {what}", place)
