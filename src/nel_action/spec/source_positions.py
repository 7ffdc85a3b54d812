"""Source positions of keys, in files, groups and overrides; and the known name most similar to an unknown one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from nel_action.errors import Location
from nel_action.spec.nested import Loc
from nel_action.spec.yaml_loader import mark_location, parse, read_text

__all__ = ["Document", "Sources", "dotted", "nearest", "read_group"]


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is most similar to `name`; None if none is similar."""
    by_case = {candidate.casefold(): candidate for candidate in known}
    matches = get_close_matches(name.casefold(), by_case, n=1, cutoff=0.6)
    return by_case[matches[0]] if matches else None


def dotted(loc: Sequence[str | int]) -> str:
    """Format a location for messages: `evaluation.tasks[0].name`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc)
    return text.removeprefix(".")


@dataclass(frozen=True)
class Document:
    """A YAML file: its values and their source positions."""

    path: Path
    root: yaml.MappingNode
    data: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> Document:
        """Read a file.

        Raises:
            SpecError: the file does not exist or is not a valid YAML mapping; the error lists all problems.
        """
        root, data = parse(path, read_text(path))
        return cls(path, root, data)

    def position(self, loc: Sequence[str | int]) -> tuple[Location, int]:
        """Return the source position of a key, or of its nearest parent in this file.

        Returns:
            The position, and the number of parts of `loc` that the file contains.
        """
        node: yaml.Node = self.root
        mark, depth = None, 0
        for depth, part in enumerate(loc):
            child = _child(node, part)
            if child is None:
                return mark_location(self.path, mark), depth
            key, node = child
            mark = key.start_mark
        return mark_location(self.path, mark), depth + 1 if loc else 0

    def text(self, loc: Sequence[str | int]) -> str | None:
        """Return the source text of a scalar, before YAML converts it; None for other values."""
        node: yaml.Node = self.root
        for part in loc:
            child = _child(node, part)
            if child is None:
                return None
            _, node = child
        return str(node.value) if isinstance(node, yaml.ScalarNode) else None


def _child(node: yaml.Node, part: str | int) -> tuple[yaml.Node, yaml.Node] | None:
    """Return the node with the position of a key or index, and the node of its value."""
    if isinstance(node, yaml.SequenceNode):
        if isinstance(part, int) and part < len(node.value):
            return node.value[part], node.value[part]
        return None
    if not isinstance(node, yaml.MappingNode):
        return None
    merged: list[yaml.Node] = []
    for key, value in node.value:
        if key.tag == "tag:yaml.org,2002:merge":
            merged.extend(value.value if isinstance(value, yaml.SequenceNode) else [value])
        elif key.value == str(part):
            return key, value
    return next((child for other in merged if (child := _child(other, part))), None)


@cache
def read_group(path: Path) -> Document:
    """Read the file of a group; cached, because groups do not change while the program runs."""
    return Document.read(path)


@dataclass
class Sources:
    """The files and overrides of a composed spec."""

    user: Document
    """The user's file."""
    layers: list[tuple[Loc, Document]]
    """Files of groups, each with the location at which it was inserted."""
    overrides: list[tuple[Loc, str]]
    """Keys set by the command line, and their text before `=`."""
    moved: list[tuple[Loc, Loc]]
    """New and old location of renamed keys, in the order of the renaming."""

    def locate(self, loc: Sequence[str | int]) -> Location:
        """Return the source position of a key: an override, the user's file, or the file of a group."""
        written = self._written_location(tuple(loc))
        if (override := self._override(written) or self._override(tuple(loc))) is not None:
            return Location(Path(f"-o {override}"))
        best, depth = self.user.position(written)
        for prefix, document in self.layers:
            if written[: len(prefix)] == prefix:
                location, inner = document.position(written[len(prefix) :])
                if inner and len(prefix) + inner > depth:
                    best, depth = location, len(prefix) + inner
        return best

    def user_position(self, loc: Sequence[str | int]) -> Location:
        """Return the source position in the user's file at which a missing value belongs."""
        return self.user.position(self._written_location(tuple(loc)))[0]

    def is_overridden(self, loc: Loc) -> bool:
        """Return whether the command line sets a key or one of its parents."""
        return self._override(loc) is not None

    def _override(self, loc: Loc) -> str | None:
        return next((text for key, text in reversed(self.overrides) if loc[: len(key)] == key), None)

    def _written_location(self, loc: Loc) -> Loc:
        """Return the location under which the user wrote a renamed key."""
        for new, old in reversed(self.moved):
            if loc[: len(new)] == new:
                loc = old + loc[len(new) :]
        return loc
