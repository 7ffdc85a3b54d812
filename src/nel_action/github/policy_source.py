"""Which policy judges: the base's; and what the change would have made of it, in words for the comment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from nel_action.driver.judging import Rules
from nel_action.spec.model import Spec

__all__ = ["select_rules"]

SHOWN: Final = 20
"""Changes that are named one by one."""


def select_rules(head: Spec, base: Spec | None, *, base_name: str | None, folder: Path) -> Rules:
    """Take policy and required tasks from the base's spec, and say where the change's own differ.

    Args:
        head: the spec of the change, which says what is run.
        base: the spec as the base has it; None where it has none (or nothing is being merged).
        base_name: the base in words; None where nothing is being merged.
        folder: where the policy's relative paths start.
    """
    tasks = tuple(task.name for task in head.evaluation.tasks)
    if base_name is None:
        return Rules(policy=head.gate, expected=tasks, folder=folder)
    if base is None:
        note = f"{base_name} has no such spec yet: this change brings its own rules, and they were applied"
        return Rules(policy=head.gate, expected=tasks, folder=folder, notes=(note,))
    missing = tuple(task.name for task in base.evaluation.tasks if task.name not in tasks and base.gate is not None)
    gone = [f"this change no longer runs {name}, which {base_name} gates" for name in missing]
    notes = (*_changes(base, head, base_name), *gone)
    return Rules(policy=base.gate, expected=tasks + missing, folder=folder, notes=notes)


def _changes(base: Spec, head: Spec, name: str) -> list[str]:
    rules = list(_differences("gate", _plain(base.gate), _plain(head.gate)))
    how = list(_differences("evaluation", _plain(base.evaluation), _plain(head.evaluation)))
    notes = []
    if rules:
        notes.append(f"this change edits its own gate; the rules of {name} were applied")
    if how:
        notes.append("this change edits how benchmarks are run")
    notes += [*rules, *how][:SHOWN]
    more = len(rules) + len(how) - SHOWN
    return [*notes, f"and {more} more changes"] if more > 0 else notes


def _plain(part: Any) -> Any:  # noqa: ANN401 - any part of a spec
    return part.model_dump(mode="json", exclude_defaults=True) if part is not None else {}


def _differences(path: str, old: Any, new: Any) -> Iterator[str]:  # noqa: ANN401 - JSON
    """Name each key that differs, with what it was and what it would be."""
    if old == new:
        return
    if isinstance(old or {}, dict) and isinstance(new or {}, dict) and (old or new):
        old, new = old or {}, new or {}
        for key in sorted(old.keys() | new.keys()):
            yield from _differences(f"{path}.{key}", old.get(key), new.get(key))
    elif isinstance(old, list) and isinstance(new, list) and _named(old) and _named(new):
        yield from _differences(path, {item["name"]: item for item in old}, {item["name"]: item for item in new})
    else:
        yield f"{path}: {_shown(old)} → {_shown(new)}"


def _named(items: list[Any]) -> bool:
    names = [item.get("name") for item in items if isinstance(item, dict)]
    return len(names) == len(items) == len(set(names))


def _shown(value: object) -> str:
    return "not set" if value is None else str(value)[:100]
