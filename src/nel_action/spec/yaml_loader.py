"""Loading of YAML files with the semantics of OmegaConf, and problems with line and column."""

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
"""Levels of nesting; libyaml's composer has no limit and would overflow the stack."""
MAX_NODES = 500_000
"""Values in a file with its aliases expanded; more is an error or an attack."""
PLAIN_TAGS = frozenset(
    f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null", "map", "seq", "merge")
)


class Loader(_Base):
    """PyYAML's safe loader with two changes of OmegaConf: `1e-5` is a number, `2026-11-22` is text."""


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
        SpecError: the file does not exist, cannot be read, is a directory, or is not UTF-8.
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
    """Parse a file into its nodes, which have source positions, and its values.

    Args:
        path: for messages.
        text: content of the file.

    Raises:
        SpecError: the text is not YAML, is empty, is not a mapping, or repeats a key.
    """
    loader = Loader(text)
    try:
        _check_depth(path, text)
        root = loader.get_single_node()
        if root is None:
            raise SpecError([Problem("is empty", Location(path), "an eval spec is a mapping: `evaluation:` and so on")])
        if not isinstance(root, yaml.MappingNode):
            location = mark_location(path, root.start_mark)
            raise SpecError([Problem("must be a mapping of keys (`evaluation:` and so on)", location)])
        if problems := list(_check(path, root)):
            raise SpecError(problems)
        return root, loader.construct_document(root)
    except yaml.MarkedYAMLError as error:
        raise SpecError([_yaml_problem(path, text, error)]) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise SpecError([Problem(f"is not YAML: {error.reason}", Location(path, line))]) from None
    except ValueError as error:
        # NOTE: PyYAML does not catch the errors of int() and similar functions.
        raise SpecError([Problem(f"is not YAML: {error}", Location(path))]) from None
    finally:
        loader.dispose()


def mark_location(path: Path, mark: Any) -> Location:  # noqa: ANN401 - one of PyYAML's two kinds of marks, or None
    """Convert a YAML mark, which counts from 0, to a location, which counts from 1."""
    return Location(path, mark.line + 1, mark.column + 1) if mark is not None else Location(path)


def _check_depth(path: Path, text: str) -> None:
    """Check the nesting before the text is composed.

    Raises:
        SpecError: it is nested more deeply than `MAX_DEPTH`.
    """
    if sum(map(text.count, ("[", "{", "-", "?", ":"))) <= MAX_DEPTH:
        return
    depth = 0
    for event in yaml.parse(text, Loader=Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise SpecError([Problem("is nested too deeply", mark_location(path, event.start_mark))])


def _check(path: Path, root: yaml.MappingNode) -> Iterator[Problem]:
    """Yield what YAML allows but a spec does not: repeated keys, keys that are no text, recursive aliases."""
    sizes: dict[int, int] = {}
    yield from _check_node(path, root, sizes, set())
    if sizes.get(id(root), 0) > MAX_NODES:
        yield Problem("its aliases expand to too many values", Location(path))


def _check_node(path: Path, node: yaml.Node, sizes: dict[int, int], parents: set[int]) -> Iterator[Problem]:
    if id(node) in parents:
        yield Problem("this alias refers to itself", mark_location(path, node.start_mark))
        return
    if id(node) in sizes:
        return
    if node.tag not in PLAIN_TAGS:
        location = mark_location(path, node.start_mark)
        hint = "a spec contains text, numbers, lists and mappings"
        yield Problem(f"the tag {node.tag} is not supported", location, hint)
    parents.add(id(node))
    children: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        yield from _check_keys(path, node)
        children = [child for pair in node.value for child in pair]
    elif isinstance(node, yaml.SequenceNode):
        children = node.value
    for child in children:
        yield from _check_node(path, child, sizes, parents)
    parents.discard(id(node))
    sizes[id(node)] = 1 + sum(sizes.get(id(child), 0) for child in children)


def _check_keys(path: Path, node: yaml.MappingNode) -> Iterator[Problem]:
    first: dict[str, int] = {}
    for key, _ in node.value:
        location = mark_location(path, key.start_mark)
        if key.tag == "tag:yaml.org,2002:merge":
            continue
        if not isinstance(key, yaml.ScalarNode) or key.tag != "tag:yaml.org,2002:str":
            text = f" '{key.value}'" if isinstance(key, yaml.ScalarNode) else ""
            yield Problem(f"the key{text} is not text in YAML", location, "put it in quotes")
        elif key.value in first:
            yield Problem(f"repeated key '{key.value}'; first in line {first[key.value]}", location)
        else:
            first[key.value] = key.start_mark.line + 1


def _yaml_problem(path: Path, text: str, error: yaml.MarkedYAMLError) -> Problem:
    mark = error.problem_mark or error.context_mark
    location = mark_location(path, mark)
    lines = text.splitlines()
    line = lines[mark.line] if mark is not None and mark.line < len(lines) else ""
    if "\t" in line[: len(line) - len(line.lstrip())]:
        return Problem("the line is indented with a tab", location, "indent YAML with spaces")
    if isinstance(error, yaml.composer.ComposerError) and "another document" in (error.problem or ""):
        return Problem("a second document starts here", location, "a spec is one YAML document")
    reason = error.problem or error.context or "it cannot be parsed"
    return Problem(f"is not YAML: {reason}", location)
