"""Differences between base and head in what is measured, and what they make unmeasurable."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

from nel_action.driver.surroundings import Rules
from nel_action.gating.policy import task_policy
from nel_action.github.base_revision import BaseTree
from nel_action.planning.fingerprint import KeyDifference, benchmark_files, compare_specs, matches
from nel_action.spec.classes import KeyClass
from nel_action.spec.model import Spec
from nel_action.spec.policy import GatePolicy, Tier

__all__ = ["Side", "apply_changes", "find_changes"]


@dataclass(frozen=True, slots=True)
class Side:
    """A spec in a commit."""

    spec: Spec
    folder: PurePosixPath = field(default_factory=PurePosixPath)
    """Directory that the spec's paths start from, relative to the top level."""
    tree: BaseTree | None = None
    """Files of the commit; None if only the specs are compared."""


def find_changes(base: Side, head: Side) -> tuple[KeyDifference, ...]:
    """Return all differences in keys, and in the files that benchmarks consist of."""
    return compare_specs(
        base.spec, head.spec, base_files=_object_ids(base, "base"), head_files=_object_ids(head, "head")
    )


def _object_ids(side: Side, name: str) -> Mapping[tuple[str, str], str]:
    """Return the object ID of every file of all benchmarks, by key path and file.

    The target of a link is not compared, so that a link always differs.
    """
    ids: dict[tuple[str, str], str] = {}
    entries = side.tree.entries if side.tree is not None else {}
    for key, file in benchmark_files(side.spec):
        path = posixpath.normpath(str(side.folder / file))
        for entry in entries.values():
            inside = entry.path == path or entry.path.startswith(f"{path}/") or path == "."
            leads_to = not entry.is_file and path.startswith(f"{entry.path}/")
            if inside or leads_to:
                relative = posixpath.relpath(entry.path, path) if inside and entry.path != path else entry.path
                ids[key, relative] = entry.sha if entry.is_file else f"link or submodule of the {name}: {entry.sha}"
    return ids


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
