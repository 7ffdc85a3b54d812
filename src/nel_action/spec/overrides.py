"""Overrides of the command line: Hydra's syntax, and the launcher's abbreviations."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import yaml

from nel_action.errors import Location, Problem, SpecError
from nel_action.spec.introspection import is_known_key
from nel_action.spec.nested import Loc, get, put, remove
from nel_action.spec.source_positions import nearest
from nel_action.spec.yaml_loader import Loader

__all__ = ["Override", "apply_to_tasks", "parse_overrides"]

Mode = Literal["set", "add", "force", "delete"]

_PREFIXES: dict[str, Mode] = {"": "set", "+": "add", "++": "force", "~": "delete"}
_SYNTAX = re.compile(r"^(?P<prefix>\+\+|\+|~|)(?P<key>[A-Za-z_$/][^=\s]*)(?P<value>=.*)?$", re.DOTALL)
_TASKS = "evaluation.tasks."


@dataclass(frozen=True)
class Override:
    """A parsed `-o` option."""

    mode: Mode
    key: str
    """Hydra's name of the key (`execution.output_dir`, `deployment`)."""
    value: str | None
    """The text after `=`; None without `=`."""
    written: str
    """The key in the user's notation, for messages; never the value."""

    @property
    def loc(self) -> Loc:
        """Location of the key in the spec."""
        return tuple(int(part) if part.isdigit() else part for part in self.key.split("."))

    @property
    def location(self) -> Location:
        """Source position of the override."""
        return Location(Path(f"-o {self.written}"))

    @property
    def is_for_a_task(self) -> bool:
        """Whether it modifies the list of tasks, which Hydra cannot address by name."""
        return self.key.startswith(_TASKS)

    def __str__(self) -> str:
        prefix = next(prefix for prefix, mode in _PREFIXES.items() if mode == self.mode)
        return f"{prefix}{self.key}" + ("" if self.value is None else f"={self.value}")


def parse_overrides(texts: Iterable[str]) -> tuple[Override, ...]:
    """Parse overrides; `config.params.…` applies to all tasks, and known keys that the spec lacks need no `+`.

    Raises:
        SpecError: overrides are malformed.
    """
    parsed = []
    problems = []
    for text in texts:
        match = _SYNTAX.match(text.strip())
        if match is None or (match["value"] is None and match["prefix"] != "~"):
            key = text.split("=", 1)[0] or text
            hint = "write -o key=value, -o +key=value or -o ~key"
            problems.append(Problem(f"cannot parse the override '{key}'", Location(Path(f"-o {key}")), hint))
            continue
        mode, key = _PREFIXES[match["prefix"]], match["key"]
        value = match["value"][1:] if match["value"] is not None else None
        parsed.append(_expand(Override(mode, key, value, key)))
    if problems:
        raise SpecError(problems)
    return tuple(parsed)


def _expand(override: Override) -> Override:
    """Expand the launcher's abbreviations."""
    if override.key == "config" or override.key.startswith("config."):
        mode: Mode = override.mode if override.mode == "delete" else "force"
        return replace(override, mode=mode, key=f"evaluation.nemo_evaluator_config.{override.key}")
    if override.mode == "set" and "." in override.key and not override.is_for_a_task and is_known_key(override.loc):
        return replace(override, mode="force")
    return override


def apply_to_tasks(data: dict[str, Any], overrides: Sequence[Override]) -> list[tuple[Loc, str]]:
    """Apply overrides that address a task by name or index.

    Args:
        data: the composed spec, modified in place.
        overrides: those with `is_for_a_task`.

    Returns:
        The location of each modified key, and the key in the user's notation.

    Raises:
        SpecError: there is no such task, or several, or a value is not YAML.
    """
    problems: list[Problem] = []
    applied: list[tuple[Loc, str]] = []
    for override in overrides:
        loc = _find_task(data, override, problems)
        if loc is None:
            continue
        applied.append((loc, override.written))
        if override.mode == "delete":
            remove(data, loc)
            continue
        try:
            put(data, loc, yaml.load(override.value or '""', Loader=Loader))  # noqa: S506 - a safe loader
        except yaml.YAMLError:
            problems.append(Problem("the value is not YAML", override.location))
    if problems:
        raise SpecError(problems)
    return applied


def _find_task(data: dict[str, Any], override: Override, problems: list[Problem]) -> Loc | None:
    """Return the location for `evaluation.tasks.<name>.<key>`; a name may contain a dot, or be the part after it."""
    tasks = get(data, ("evaluation", "tasks"))
    tasks = tasks if isinstance(tasks, list) else []
    names = [str(task.get("name", "")) if isinstance(task, dict) else "" for task in tasks]
    parts = override.key.removeprefix(_TASKS).split(".")
    if parts[0].isdigit() and int(parts[0]) < len(tasks):
        return ("evaluation", "tasks", int(parts[0]), *parts[1:])
    for size in (2, 1):
        target = ".".join(parts[:size])
        indexes = [index for index, name in enumerate(names) if name == target]
        indexes = indexes or [index for index, name in enumerate(names) if name.endswith(f".{target}")]
        if len(indexes) == 1 and len(parts) >= size:
            return ("evaluation", "tasks", indexes[0], *parts[size:])
        if len(indexes) > 1:
            hint = f"use the index: evaluation.tasks.{indexes[0]}.…"
            problems.append(Problem(f"several tasks are named '{target}'", override.location, hint))
            return None
    similar = nearest(parts[0], [name for name in names if name])
    hint = f"did you mean '{similar}'?" if similar else f"the tasks are: {', '.join(filter(None, names)) or 'none'}"
    problems.append(Problem(f"no task '{parts[0]}' in evaluation.tasks", override.location, hint))
    return None
