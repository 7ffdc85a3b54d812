"""The policy of each task, the checks of a policy against a spec, and policy files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path

from nel_action.errors import Problem, SpecError
from nel_action.spec.metric_range import MetricRange, limit_range_problem
from nel_action.spec.policy import GatePolicy, TaskPolicy

__all__ = ["check_policy", "load_policy", "task_policy"]


def load_policy(path: Path) -> GatePolicy:
    """Read a policy file, which has the content of a spec's `gate:` section.

    Raises:
        SpecError: the file is missing, no YAML, or no valid policy; each problem has its position in the file.
    """
    from nel_action.spec.source_positions import Document, Sources
    from nel_action.spec.validate import validate

    document = Document.read(path)
    # NOTE: validated as the gate section of a spec, which gives the same messages with positions in this file.
    sources = Sources(user=document, layers=[], overrides=[], moved=[(("gate",), ())])
    spec, problems = validate({"gate": dict(document.data)}, sources)
    if problems or spec is None or spec.gate is None:
        raise SpecError(problems)
    return spec.gate


def task_policy(policy: GatePolicy, task: str) -> TaskPolicy:
    """Return the policy of one task: its own entry over `defaults`, key by key, with the levels of the policy."""
    name = _entry_name(policy, task)
    own = policy.tasks[name] if name is not None else TaskPolicy()
    merged = policy.defaults.model_copy(update={key: getattr(own, key) for key in own.model_fields_set})
    inherited = {
        "confidence": merged.confidence or policy.confidence,
        "on_inconclusive": merged.on_inconclusive or policy.on_inconclusive,
    }
    return merged.model_copy(update=inherited)


def _entry_name(policy: GatePolicy, task: str) -> str | None:
    """Return the name of a task's entry: the full name, or the part after the harness (`ifeval`)."""
    if task in policy.tasks:
        return task
    short = task.rsplit(".", maxsplit=1)[-1]
    return short if short in policy.tasks else None


def check_policy(
    policy: GatePolicy, tasks: Sequence[str], ranges: Mapping[str, MetricRange] | None = None
) -> list[Problem]:
    """Return the problems of a policy.

    Entries that match no task or several, limits that no score can violate or meet, and a policy without any limit.

    Args:
        policy: the policy.
        tasks: names of the tasks in the spec.
        ranges: known ranges of metrics by task; `bounds` of the policy replace them.
    """
    if not tasks:
        return [Problem("there is no task to gate", hint="name at least one under evaluation.tasks")]
    entries = [_entry_name(policy, task) for task in tasks]
    matched = {name for name in entries if name is not None}
    problems = [_unknown_task(name, tasks) for name in policy.tasks if name not in matched]
    problems += [
        Problem(f"gate.tasks.{name} matches several tasks", hint="write the full names: " + ", ".join(tasks))
        for name in sorted(matched)
        if name not in tasks and entries.count(name) > 1
    ]
    for task in dict.fromkeys(tasks):
        problems += _range_problems(policy, task, (ranges or {}).get(task))
    if not problems and not any(_has_limits(task_policy(policy, task)) for task in tasks):
        problems.append(Problem("the gate states no limit", hint="add a limit to gate.tasks or gate.defaults"))
    return problems


def _range_problems(policy: GatePolicy, task: str, known: MetricRange | None) -> list[Problem]:
    """Return the limits of a task that cannot decide anything within the range of its metric."""
    merged = task_policy(policy, task)
    known = MetricRange(*merged.bounds, stated=True) if merged.bounds is not None else known
    if known is None:
        return []
    own = _entry_name(policy, task)
    idle = [
        (limit, problem)
        for limit, stated in merged.stated_limits()
        if (problem := limit_range_problem(limit, stated, known))
    ]
    sections = {
        limit.key: f"gate.tasks.{own}" if own and limit.key in policy.tasks[own].model_fields_set else "gate.defaults"
        for limit, _ in idle
    }
    return [Problem(f"{sections[limit.key]}.{text}", hint=f"{task}: {fix}") for limit, (text, fix) in idle]


def _has_limits(policy: TaskPolicy) -> bool:
    # NOTE: an empty `limits:` section counts; it is a request to report usage.
    return policy.limits is not None or any(True for _ in policy.stated_limits())


def _unknown_task(name: str, tasks: Sequence[str]) -> Problem:
    by_short_name = {task.rsplit(".", maxsplit=1)[-1]: task for task in tasks}
    matches = get_close_matches(name, [*tasks, *by_short_name], n=3, cutoff=0.5)
    nearest = list(dict.fromkeys(by_short_name.get(match, match) for match in matches)) or sorted(tasks)[:5]
    return Problem(f"gate.tasks.{name}: the spec has no such task", hint="nearest: " + ", ".join(nearest))
