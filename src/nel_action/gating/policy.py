"""What a policy means for each task, and what is wrong with one before anything is run."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from nel_action.errors import Problem
from nel_action.spec.policy import GatePolicy, TaskPolicy

__all__ = ["check_policy", "needs_baseline", "task_policy"]

_LIMITS = ("min", "max", "max_drop", "max_relative_drop", "min_gain", "min_items", "limits")
_AGAINST_BASELINE = ("max_drop", "max_relative_drop", "min_gain")


def _entry(policy: GatePolicy, task: str) -> str | None:
    """Find the policy's name for a task: its own, or the part behind the harness's (`ifeval`)."""
    if task in policy.tasks:
        return task
    short = task.rsplit(".", maxsplit=1)[-1]
    return short if short in policy.tasks else None


def task_policy(policy: GatePolicy, task: str) -> TaskPolicy:
    """Return what holds for one task: its own entry over `defaults`, key by key, over the policy's own."""
    name = _entry(policy, task)
    own = policy.tasks[name] if name is not None else TaskPolicy()
    said = {key: getattr(own, key) for key in own.model_fields_set}
    merged = policy.defaults.model_copy(update=said)
    filled = {
        "confidence": merged.confidence or policy.confidence,
        "on_inconclusive": merged.on_inconclusive or policy.on_inconclusive,
    }
    return merged.model_copy(update=filled)


def needs_baseline(rules: TaskPolicy) -> bool:
    """Say whether a task is to be compared with anything."""
    return any(getattr(rules, key) is not None for key in _AGAINST_BASELINE)


def check_policy(policy: GatePolicy, tasks: Sequence[str]) -> list[Problem]:
    """Say what in the policy fits no task, and whether it limits anything at all.

    Args:
        policy: the policy.
        tasks: names of the tasks that the spec runs.
    """
    if not tasks:
        return [Problem("there is no task to gate", hint="name at least one under evaluation.tasks")]
    known = {name for task in tasks if (name := _entry(policy, task)) is not None}
    problems = [_unknown(name, tasks) for name in policy.tasks if name not in known]
    shorts = [_entry(policy, task) for task in tasks]
    problems += [
        Problem(f"gate.tasks.{name} fits several tasks", hint="write the full names: " + ", ".join(tasks))
        for name in sorted(known)
        if name not in tasks and shorts.count(name) > 1
    ]
    if not problems and not any(_limits(task_policy(policy, task)) for task in tasks):
        problems.append(Problem("the gate limits nothing", hint="give gate.tasks or gate.defaults a limit"))
    return problems


def _limits(rules: TaskPolicy) -> bool:
    return any(getattr(rules, key) is not None for key in _LIMITS)


def _unknown(name: str, tasks: Sequence[str]) -> Problem:
    shorts = {task.rsplit(".", maxsplit=1)[-1]: task for task in tasks}
    near = get_close_matches(name, [*tasks, *shorts], n=3, cutoff=0.5)
    names = list(dict.fromkeys(shorts.get(word, word) for word in near)) or sorted(tasks)[:5]
    return Problem(f"gate.tasks.{name}: the spec has no such task", hint="nearest: " + ", ".join(names))
