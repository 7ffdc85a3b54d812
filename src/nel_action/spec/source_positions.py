"""Where in a file a key stands, and which known word an unknown one is nearest to."""

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


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that `word` most likely stands for, if any is near."""
    by_case = {name.casefold(): name for name in known}
    near = get_close_matches(word.casefold(), by_case, n=1, cutoff=0.6)
    return by_case[near[0]] if near else None


def dotted(loc: Sequence[str | int]) -> str:
    """Write a place the way people say it: `evaluation.tasks[0].name`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc)
    return text.removeprefix(".")


@dataclass(frozen=True)
class Document:
    """One YAML file: its values and the place of each."""

    path: Path
    root: yaml.MappingNode
    data: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> Document:
        """Read a file.

        Raises:
            SpecError: it is not there, or not a YAML mapping; all that is wrong with it is told.
        """
        root, data = parse(path, read_text(path))
        return cls(path, root, data)

    def place(self, loc: Sequence[str | int]) -> tuple[Location, int]:
        """Return the place of a key, or of its nearest ancestor here, and how many parts of `loc` it answers to."""
        node: yaml.Node = self.root
        mark, depth = None, 0
        for depth, part in enumerate(loc):
            found = _step(node, part)
            if found is None:
                return mark_location(self.path, mark), depth
            at, node = found
            mark = at.start_mark
        return mark_location(self.path, mark), depth + 1 if loc else 0

    def text(self, loc: Sequence[str | int]) -> str | None:
        """Return a plain value as it was written, before YAML made a number or a truth value of it."""
        node: yaml.Node = self.root
        for part in loc:
            found = _step(node, part)
            if found is None:
                return None
            _, node = found
        return str(node.value) if isinstance(node, yaml.ScalarNode) else None


def _step(node: yaml.Node, part: str | int) -> tuple[yaml.Node, yaml.Node] | None:
    """Go one part down; return where that part is written, and its value."""
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
    return next((found for other in merged if (found := _step(other, part))), None)


@cache
def read_group(path: Path) -> Document:
    """Read a group's file once; it is not changed while the program runs."""
    return Document.read(path)


@dataclass
class Sources:
    """Everything that a composed spec was made of, so that each key's place can be told."""

    user: Document
    layers: list[tuple[Loc, Document]]
    """Further files, each with the key that it was put under."""
    overrides: list[tuple[Loc, str]]
    """Keys that the command line set, and what stood there before the `=`."""
    moved: list[tuple[Loc, Loc]]
    """New place and old place of what was renamed; later ones were moved last."""

    def locate(self, loc: Sequence[str | int]) -> Location:
        """Return the best place for a key: an override, the user's file, or the group that brought it."""
        wanted = self._as_written(tuple(loc))
        if (override := self._override(wanted)) is not None:
            return Location(Path(f"-o {override}"))
        best, depth = self.user.place(wanted)
        for prefix, document in self.layers:
            if wanted[: len(prefix)] == prefix:
                place, inner = document.place(wanted[len(prefix) :])
                if inner and len(prefix) + inner > depth:
                    best, depth = place, len(prefix) + inner
        return best

    def user_place(self, loc: Sequence[str | int]) -> Location:
        """Return the place in the user's own file, where what is missing would be written."""
        return self.user.place(self._as_written(tuple(loc)))[0]

    def is_overridden(self, loc: Loc) -> bool:
        """Tell whether the command line said something of a place."""
        return self._override(loc) is not None

    def _override(self, loc: Loc) -> str | None:
        return next((text for key, text in reversed(self.overrides) if loc[: len(key)] == key), None)

    def _as_written(self, loc: Loc) -> Loc:
        for new, old in reversed(self.moved):
            if loc[: len(new)] == new:
                loc = old + loc[len(new) :]
        return loc
