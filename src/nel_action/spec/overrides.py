"""Overrides of the command line: Hydra's, and the launcher's short ways of writing them."""

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
_SHAPE = re.compile(r"^(?P<prefix>\+\+|\+|~|)(?P<key>[A-Za-z_$/][^=\s]*)(?P<value>=.*)?$", re.DOTALL)
_TASKS = "evaluation.tasks."


@dataclass(frozen=True)
class Override:
    """One `-o`, taken apart."""

    mode: Mode
    key: str
    """As Hydra knows it (`execution.output_dir`, `deployment`)."""
    value: str | None
    """What follows the `=`; None where there is no `=`."""
    written: str
    """The key as the user wrote it, which messages show; never the value."""

    @property
    def loc(self) -> Loc:
        """The place that it sets."""
        return tuple(int(part) if part.isdigit() else part for part in self.key.split("."))

    @property
    def location(self) -> Location:
        """Where it was written."""
        return Location(Path(f"-o {self.written}"))

    @property
    def is_for_a_task(self) -> bool:
        """Whether it goes into the list of tasks, which Hydra cannot address by name."""
        return self.key.startswith(_TASKS)

    def __str__(self) -> str:
        prefix = next(prefix for prefix, mode in _PREFIXES.items() if mode == self.mode)
        return f"{prefix}{self.key}" + ("" if self.value is None else f"={self.value}")


def parse_overrides(texts: Iterable[str]) -> tuple[Override, ...]:
    """Take overrides apart; `config.params.…` goes to every task, and keys that a spec may have need no `+`.

    Raises:
        SpecError: one has no such shape.
    """
    parsed = []
    problems = []
    for text in texts:
        match = _SHAPE.match(text.strip())
        if match is None or (match["value"] is None and match["prefix"] != "~"):
            word = text.split("=", 1)[0] or text
            hint = "write -o key=value, -o +key=value or -o ~key"
            problems.append(Problem(f"cannot read the override '{word}'", Location(Path(f"-o {word}")), hint))
            continue
        mode, key = _PREFIXES[match["prefix"]], match["key"]
        value = match["value"][1:] if match["value"] is not None else None
        parsed.append(_in_full(Override(mode, key, value, key)))
    if problems:
        raise SpecError(problems)
    return tuple(parsed)


def _in_full(override: Override) -> Override:
    """Write the launcher's short ways in full."""
    if override.key == "config" or override.key.startswith("config."):
        mode: Mode = override.mode if override.mode == "delete" else "force"
        return replace(override, mode=mode, key=f"evaluation.nemo_evaluator_config.{override.key}")
    if override.mode == "set" and "." in override.key and not override.is_for_a_task and is_known_key(override.loc):
        return replace(override, mode="force")
    return override


def apply_to_tasks(data: dict[str, Any], overrides: Sequence[Override]) -> list[tuple[Loc, str]]:
    """Set values in the list of tasks, addressed by name or index; return each place with the key as written.

    Raises:
        SpecError: no such task, several of that name, or a value that is not YAML.
    """
    problems: list[Problem] = []
    places: list[tuple[Loc, str]] = []
    for override in overrides:
        loc = _find_task(data, override, problems)
        if loc is None:
            continue
        places.append((loc, override.written))
        if override.mode == "delete":
            remove(data, loc)
            continue
        try:
            put(data, loc, yaml.load(override.value or '""', Loader=Loader))  # noqa: S506 - a safe loader
        except yaml.YAMLError:
            problems.append(Problem("the value is not YAML", override.location))
    if problems:
        raise SpecError(problems)
    return places


def _find_task(data: dict[str, Any], override: Override, problems: list[Problem]) -> Loc | None:
    """Turn `evaluation.tasks.<name>.<key>` into a place; names may have one dot, or be the part after it."""
    tasks = get(data, ("evaluation", "tasks"))
    tasks = tasks if isinstance(tasks, list) else []
    names = [str(task.get("name", "")) if isinstance(task, dict) else "" for task in tasks]
    parts = override.key.removeprefix(_TASKS).split(".")
    if parts[0].isdigit() and int(parts[0]) < len(tasks):
        return ("evaluation", "tasks", int(parts[0]), *parts[1:])
    for size in (2, 1):
        wanted = ".".join(parts[:size])
        hits = [index for index, name in enumerate(names) if name == wanted]
        hits = hits or [index for index, name in enumerate(names) if name.endswith(f".{wanted}")]
        if len(hits) == 1 and len(parts) >= size:
            return ("evaluation", "tasks", hits[0], *parts[size:])
        if len(hits) > 1:
            hint = f"use the index: evaluation.tasks.{hits[0]}.…"
            problems.append(Problem(f"several tasks are named '{wanted}'", override.location, hint))
            return None
    near = nearest(parts[0], [name for name in names if name])
    hint = f"did you mean '{near}'?" if near else f"there are {', '.join(filter(None, names)) or 'none'}"
    problems.append(Problem(f"no task '{parts[0]}' in evaluation.tasks", override.location, hint))
    return None
