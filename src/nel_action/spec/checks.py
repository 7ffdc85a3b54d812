"""What must hold between the parts of a spec, beyond the shape of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from nel_action.errors import Location, Problem
from nel_action.spec.deployment import PluginDeployment, ServedDeployment
from nel_action.spec.executors import EXECUTOR_TYPES, PluginExecution
from nel_action.spec.model import Spec
from nel_action.spec.nested import Loc
from nel_action.spec.source_positions import dotted, nearest

__all__ = ["check_spec"]

Locate = Callable[[Loc], Location]


def check_spec(spec: Spec, locate: Locate) -> Iterator[Problem]:
    """Yield what is contradictory, unknown or missing."""
    if not spec.evaluation.tasks:
        hint = "write evaluation.tasks: [{name: gsm8k}]; `nel-action ls tasks` lists what there is"
        yield Problem("there are no tasks", locate(("evaluation", "tasks")), hint)
    if spec.targets and spec.target.api_endpoint.model_id:
        hint = "write one of them; `targets` holds several models by name"
        yield Problem("both 'target' and 'targets' are given", locate(("targets",)), hint)
    yield from _plugins(spec, locate)
    yield from _gate_tasks(spec, locate)
    yield from _commands(spec, locate)


def _plugins(spec: Spec, locate: Locate) -> Iterator[Problem]:
    from nel_action.spec.deployment import DEPLOYMENT_TYPES

    for part, given, group, ours in (
        ("execution", spec.execution, "nel_action.executors", EXECUTOR_TYPES),
        ("deployment", spec.deployment, "nel_action.deployments", DEPLOYMENT_TYPES),
    ):
        if not isinstance(given, PluginExecution | PluginDeployment):
            continue
        from importlib.metadata import entry_points

        known = sorted({*ours, *entry_points(group=group).names})
        if given.type not in known:
            near = nearest(given.type, known)
            meant = f"; did you mean '{near}'?" if near else ""
            yield Problem(
                f"unknown {part}.type '{given.type}'{meant}", locate((part, "type")), f"there are {', '.join(known)}"
            )


def _gate_tasks(spec: Spec, locate: Locate) -> Iterator[Problem]:
    """Find rules for tasks that are not run: such a rule would never be tested."""
    names = {task.name for task in spec.evaluation.tasks}
    known = names | {name.rpartition(".")[2] for name in names}
    for name in spec.gate.tasks if spec.gate and names else ():
        if name not in known and name.rpartition(".")[2] not in names:
            near = nearest(name, known)
            meant = f"; did you mean '{near}'?" if near else ""
            yield Problem(f"the gate has a rule for '{name}', which is not run{meant}", locate(("gate", "tasks", name)))


def _commands(spec: Spec, locate: Locate) -> Iterator[Problem]:
    if spec.execution.trust_commands:
        return
    places: list[tuple[Loc, str | None]] = [
        (("evaluation", "pre_cmd"), spec.evaluation.pre_cmd),
        (("evaluation", "post_cmd"), spec.evaluation.post_cmd),
    ]
    if isinstance(spec.deployment, ServedDeployment):
        places.append((("deployment", "pre_cmd"), spec.deployment.pre_cmd))
    for index, task in enumerate(spec.evaluation.tasks):
        places.append((("evaluation", "tasks", index, "pre_cmd"), task.pre_cmd))
        places.append((("evaluation", "tasks", index, "post_cmd"), task.post_cmd))
    for loc, text in places:
        if text:
            hint = "read it, then set execution.trust_commands: true (or -o execution.trust_commands=true)"
            yield Problem(f"{dotted(loc)} is shell text, which is not trusted", locate(loc), hint)
