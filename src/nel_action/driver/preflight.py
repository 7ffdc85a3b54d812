"""What can be known to be wrong with a gate before anything is spent."""

from __future__ import annotations

from nel_action.errors import Location, Problem, SpecError
from nel_action.gating.policy import check_policy
from nel_action.planning.task_resolution import Locate
from nel_action.spec.model import Spec

__all__ = ["check_gate"]


def check_gate(spec: Spec, *, locate: Locate) -> None:
    """Find what is wrong with the policy before anything is spent.

    Raises:
        SpecError: the policy names a task that the spec does not have, or limits nothing.
    """
    if spec.gate is None:
        return
    problems = check_policy(spec.gate, [task.name for task in spec.evaluation.tasks])
    if problems:
        raise SpecError([Problem(p.message, p.location or _place(p, spec, locate), p.hint) for p in problems])


def _place(problem: Problem, spec: Spec, locate: Locate) -> Location | None:
    """Find the line that a policy's problem is about."""
    names = (name for name in (spec.gate.tasks if spec.gate else {}) if f"gate.tasks.{name}" in problem.message)
    name = next(names, None)
    return locate(("gate", "tasks", name) if name else ("gate",))
