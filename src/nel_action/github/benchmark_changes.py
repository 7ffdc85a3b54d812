"""Differences between base and head in what is measured, and what they make unmeasurable."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel

from nel_action.driver.surroundings import Rules
from nel_action.gating.policy import task_policy
from nel_action.github.benchmark_files import Side, object_ids
from nel_action.planning.fingerprint import KeyDifference, KeyPath, compare_specs, matches
from nel_action.spec.classes import KeyClass, takes_base_value
from nel_action.spec.model import Spec
from nel_action.spec.policy import GatePolicy, Tier

if TYPE_CHECKING:
    from nel_action.spec.compose import LoadedSpec

__all__ = ["apply_changes", "find_changes", "select_rules", "with_base_values"]

Model = TypeVar("Model", bound=BaseModel)


def find_changes(base: Side, head: Side) -> tuple[KeyDifference, ...]:
    """Return all differences in keys, and in the files that benchmarks consist of."""
    head = replace(head, same_attributes=_attributes(base) == _attributes(head))
    return compare_specs(base.spec, head.spec, base_files=object_ids(base, "base"), head_files=object_ids(head, "head"))


def _attributes(side: Side) -> dict[str, str]:
    entries = side.tree.entries if side.tree is not None else {}
    return {path: entry.sha for path, entry in entries.items() if PurePosixPath(path).name == ".gitattributes"}


def with_base_values(head: LoadedSpec, base: Spec) -> LoadedSpec:
    """Return the head's spec with the base's values of the operational keys that affect the verdict.

    Another executor is replaced with all of its settings.

    Args:
        head: the spec of the change.
        base: the spec of the base.
    """
    spec = head.spec
    if spec.execution.type != base.execution.type:
        spec = spec.model_copy(update={"execution": base.execution})
    spec = _copy_values(spec, base, ())
    own = {task.name: {"gateway": task.gateway, "budget": task.budget} for task in reversed(base.evaluation.tasks)}
    tasks = tuple(
        task.model_copy(update=own[task.name]) if task.name in own else task for task in spec.evaluation.tasks
    )
    spec = spec.model_copy(update={"evaluation": spec.evaluation.model_copy(update={"tasks": tasks})})
    if spec == head.spec:
        return head
    return replace(head, spec=spec, resolved=_with_sections(head.resolved, spec))


def _copy_values(head: Model, base: BaseModel, keys: KeyPath) -> Model:
    """Return a section with the base's values of the keys that take them."""
    update: dict[str, Any] = {}
    for name in type(head).model_fields:
        own, other = getattr(head, name), getattr(base, name, None)
        if takes_base_value((*keys, name)):
            update[name] = other
        elif isinstance(own, BaseModel) and isinstance(other, BaseModel):
            update[name] = _copy_values(own, other, (*keys, name))
    changed = {name: value for name, value in update.items() if value != getattr(head, name)}
    return head.model_copy(update=changed) if changed else head


def _with_sections(resolved: Mapping[str, Any], spec: Spec) -> dict[str, Any]:
    """Return the resolved spec with the sections that contain a value of the base.

    Args:
        resolved: the resolved spec of the change.
        spec: with the values of the base.
    """
    copy: dict[str, Any] = json.loads(json.dumps(resolved))
    dump = spec.model_dump(mode="json", exclude_defaults=True, by_alias=True)
    copy["execution"] = {"type": spec.execution.type, **dump.get("execution", {})}
    _replace_keys(copy, dump, ("gateway", "prices", "budget"))
    for task, own in zip(copy["evaluation"]["tasks"], dump["evaluation"]["tasks"], strict=True):
        _replace_keys(task, own, ("gateway", "budget"))
    return copy


def _replace_keys(section: dict[str, Any], values: Mapping[str, Any], keys: Sequence[str]) -> None:
    """Set keys of a section to other values, and remove those without one.

    Args:
        section: changed in place.
        values: the values.
        keys: names.
    """
    for key in keys:
        section.pop(key, None)
        if key in values:
            section[key] = values[key]


def apply_changes(rules: Rules, base: Spec, head: Spec, changes: Sequence[KeyDifference], base_name: str) -> Rules:
    """Return rules by which a change of the benchmark is unmeasurable, and new tasks decide nothing.

    Args:
        rules: rules of the base with their final policy.
        base: the spec of the base.
        head: the spec of the change.
        changes: all differences between the two.
        base_name: branch and commit of the base.
    """
    if rules.policy is None:
        return rules
    required = {task.name for task in base.evaluation.tasks}
    new = [name for name in rules.expected if name not in required]
    blocked = tuple(_blocked(base, head, changes, base_name, rules.policy))
    return replace(rules, policy=_without_new_tasks(rules.policy, new), blocked=(*rules.blocked, *blocked))


def _without_new_tasks(policy: GatePolicy, names: Sequence[str]) -> GatePolicy:
    """Return the policy with tasks that only the change has as advisory: they are shown and decide nothing."""
    advisory = {name: task_policy(policy, name).model_copy(update={"tier": Tier.ADVISORY}) for name in names}
    return policy.model_copy(update={"tasks": {**policy.tasks, **advisory}})


def _blocked(
    base: Spec, head: Spec, differences: Sequence[KeyDifference], base_name: str, policy: GatePolicy
) -> Iterator[tuple[str, str]]:
    """Yield everything that this change makes unmeasurable.

    Args:
        base: the spec of the base.
        head: the spec of the change.
        differences: all differences between the two.
        base_name: branch and commit of the base.
        policy: allowed and pinned keys.

    Yields:
        Task and reason; an empty name denotes all tasks.
    """
    required = {task.name for task in base.evaluation.tasks}
    for difference in differences:
        if matches(difference.path, policy.pin):
            yield "", f"{difference.path} is pinned by {base_name} and differs ({difference.text})"
        elif (
            difference.kind is KeyClass.BENCHMARK
            and not matches(difference.path, policy.allow)
            and (difference.task is None or difference.task in required)
        ):
            hint = f"add `{difference.path}` to `gate.allow` on the base to accept this"
            yield difference.task or "", f"this change edits the benchmark: {difference.text}; {hint}"
    for label in base.targets:
        if label not in head.targets:
            yield "", f"this change no longer evaluates the model {label}, which {base_name} requires"


def select_rules(
    head: Spec,
    base: Spec,
    *,
    base_name: str,
    folder: Path,
    changes: Sequence[KeyDifference] | None = None,
) -> Rules:
    """Return policy and required tasks of the base's spec, with a note on each difference from the head's spec.

    Args:
        head: the spec of the change, which determines what is run.
        base: the spec of the base.
        base_name: branch and commit of the base, for notes.
        folder: directory to which paths in the policy are relative.
        changes: differences between the specs and their files; those between the specs by default.
    """
    changes = find_changes(Side(base), Side(head)) if changes is None else changes
    tasks = tuple(task.name for task in head.evaluation.tasks)
    missing = tuple(task.name for task in base.evaluation.tasks if task.name not in tasks and base.gate is not None)
    removed = [f"this change no longer runs {name}, which {base_name} requires" for name in missing]
    notes = (*_difference_notes(base, head, changes, base_name), *removed)
    return Rules(policy=base.gate, expected=tasks + missing, folder=folder, notes=notes)


def _difference_notes(base: Spec, head: Spec, changes: Sequence[KeyDifference], base_name: str) -> list[str]:
    """Return all differences between the specs, those of the gate first."""
    gate = list(_differences("gate", _dump(base.gate), _dump(head.gate)))
    notes = []
    if gate:
        notes.append(f"this change edits its own gate; the policy of {base_name} was applied")
    texts = {
        KeyClass.BENCHMARK: "this change edits how benchmarks are run",
        KeyClass.SUBJECT: "this change edits the model under test or how it is served",
        KeyClass.OPERATIONAL: "this change edits settings of the run",
    }
    notes += [text for kind, text in texts.items() if any(difference.kind is kind for difference in changes)]
    listed = [_text(difference, base_name) for kind in texts for difference in changes if difference.kind is kind]
    return [*notes, *gate, *listed]


def _text(difference: KeyDifference, base_name: str) -> str:
    applied = f"; the value of {base_name} was applied" if takes_base_value(difference.keys) else ""
    return f"{difference.text}{applied}"


def _dump(part: Any) -> Any:  # noqa: ANN401 - any part of a spec
    return part.model_dump(mode="json", exclude_defaults=True) if part is not None else {}


def _differences(path: str, old: Any, new: Any) -> Iterator[str]:  # noqa: ANN401 - JSON
    """Yield `path: old → new` for each key whose value differs."""
    if old == new:
        return
    if isinstance(old or {}, dict) and isinstance(new or {}, dict) and (old or new):
        old, new = old or {}, new or {}
        for key in sorted(old.keys() | new.keys()):
            yield from _differences(f"{path}.{key}", old.get(key), new.get(key))
    elif isinstance(old, list) and isinstance(new, list) and _has_unique_names(old) and _has_unique_names(new):
        yield from _differences(path, {item["name"]: item for item in old}, {item["name"]: item for item in new})
    else:
        yield f"{path}: {_short(old)} → {_short(new)}"


def _has_unique_names(items: list[Any]) -> bool:
    names = [item.get("name") for item in items if isinstance(item, dict)]
    return len(names) == len(items) == len(set(names))


def _short(value: object) -> str:
    return "not set" if value is None else str(value)
