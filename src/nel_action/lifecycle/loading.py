"""Loading a spec: all problems are reported together, those of its form and those of the names in it."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

from nel_action.catalog.lookup import lookup
from nel_action.errors import NotFoundError, Problem, SpecError, UsageError
from nel_action.harnesses.registry import harness
from nel_action.model.file_names import unique_names
from nel_action.planning.planner import spec_route
from nel_action.planning.task_resolution import find_task
from nel_action.spec.compose import LoadedSpec, load_spec
from nel_action.spec.evaluation import Task
from nel_action.spec.policy import GatePolicy
from nel_action.spec.source_positions import Document

__all__ = ["load", "select_tasks"]


def load(
    path: Path | None,
    *,
    config_dir: Path | None = None,
    config_name: str | None = None,
    overrides: Sequence[str] = (),
    environ: Mapping[str, str] = os.environ,
) -> LoadedSpec:
    """Load a spec like `load_spec`; if it is invalid, check the names of tasks and harnesses as well.

    Args:
        path: file of the spec; None if `config_name` is given.
        config_dir: directory of specs and groups.
        config_name: name of the spec in that directory.
        overrides: Hydra overrides.
        environ: variables of this process.

    Raises:
        SpecError: all problems, each with its source position.
    """
    try:
        loaded = load_spec(path, config_dir=config_dir, config_name=config_name, overrides=overrides, environ=environ)
    except SpecError as error:
        if path is None or not path.is_file():
            raise
        raise SpecError([*error.problems, *_unknown_names(path)]) from None
    return replace(loaded, warnings=(*loaded.warnings, *_outdated_names(loaded)))


def select_tasks(loaded: LoadedSpec, names: Sequence[str]) -> LoadedSpec:
    """Return the spec with only the named tasks, and without the policy of the others.

    Args:
        loaded: the spec.
        names: `mmlu` selects all tasks of that name (`simple_evals.mmlu` too); `mmlu.2` the task that the plan prints
            so, or the launcher's notation for the third task of the file; `2` is the third task. All tasks if empty.

    Raises:
        NotFoundError: the spec has no such task.
        UsageError: a name selects two different tasks.
    """
    if not names:
        return loaded
    tasks = loaded.spec.evaluation.tasks
    known = [task.name for task in tasks]
    selected: set[int] = set()
    for name in names:
        indexes = _task_indexes(known, name)
        if not indexes:
            near = get_close_matches(name, known, n=1)
            msg = f"the spec has no task '{name}'"
            raise NotFoundError(msg, hint=f"did you mean '{near[0]}'?" if near else f"it has {', '.join(known)}")
        selected.update(indexes)
    kept = tuple(task for index, task in enumerate(tasks) if index in selected)
    changes = {
        "evaluation": loaded.spec.evaluation.model_copy(update={"tasks": kept}),
        "gate": _narrow_policy(loaded, {task.name for task in kept}),
    }
    return replace(loaded, spec=loaded.spec.model_copy(update=changes))


def _task_indexes(known: Sequence[str], name: str) -> list[int]:
    """Return the indexes of the tasks that a name selects.

    Raises:
        UsageError: the name is that of one task in the plan, and gives the position of another.
    """
    indexes = [index for index, candidate in enumerate(known) if candidate == name]
    indexes = indexes or [index for index, candidate in enumerate(known) if candidate.endswith(f".{name}")]
    if indexes:
        return indexes
    printed = unique_names(known)
    by_name = [index for index, candidate in enumerate(printed) if candidate == name]
    by_position = _at_position(known, name)
    if by_name and by_position and by_name != by_position:
        first, second = by_name[0], by_position[0]
        msg = (
            f"'{name}' is ambiguous: task {first} has this name in the plan, and task {second} ('{printed[second]}') "
            "has this position in the file"
        )
        raise UsageError(msg, hint=f"write -t {first} or -t {second}, the position in the file")
    return by_name or by_position


def _at_position(known: Sequence[str], name: str) -> list[int]:
    """Return the index that `2` or `mmlu.2` names: the third task of the file, the latter only if it is `mmlu`.

    The launcher writes `mmlu.2`: https://github.com/NVIDIA-NeMo/Evaluator, `filter_tasks` of the branch main-legacy.
    """
    plain, dot, number = name.rpartition(".")
    if not re.fullmatch(r"0|[1-9][0-9]{0,8}", number) or int(number) >= len(known):
        return []
    candidate = known[int(number)]
    return [int(number)] if not dot or candidate == plain or candidate.endswith(f".{plain}") else []


def _narrow_policy(loaded: LoadedSpec, names: Collection[str]) -> GatePolicy | None:
    """Return the policy without the tasks that are not among `names`."""
    gate = loaded.spec.gate
    if gate is None:
        return None
    removed = {task.name for task in loaded.spec.evaluation.tasks} - set(names)
    removed |= {name.rsplit(".", maxsplit=1)[-1] for name in removed} - set(names)
    return gate.model_copy(update={"tasks": {name: rules for name, rules in gate.tasks.items() if name not in removed}})


def _outdated_names(loaded: LoadedSpec) -> Iterator[Problem]:
    """Yield a warning for each task name that was unambiguous in an earlier release, with its current name."""
    for index, task in enumerate(loaded.spec.evaluation.tasks):
        location = loaded.locate(("evaluation", "tasks", index, "name"))
        try:
            entry = find_task(task, location, spec_route(loaded.spec, task))
        except SpecError:
            continue  # reported by the planner, together with all other problems
        if entry is not None and task.name not in {entry.name, entry.full_name}:
            yield Problem(f"'{task.name}' is now called '{entry.full_name}'", location)
        elif entry is not None and task.name == entry.name and _ambiguous(task.name):
            message = f"several tasks are called '{task.name}'; it is read as '{entry.full_name}', as before"
            yield Problem(message, location, f"write {entry.full_name}, or the full name of another one")


def _ambiguous(name: str) -> bool:
    try:
        lookup(name)
    except NotFoundError:
        return True
    return False


def _unknown_names(path: Path) -> Iterator[Problem]:
    """Yield a problem for each task and harness of a spec file that does not exist."""
    try:
        document = Document.read(path)
    except SpecError:
        return  # reported before: the file is not YAML
    evaluation = document.data.get("evaluation")
    tasks = evaluation if isinstance(evaluation, list) else _get(evaluation, "tasks")
    loc = ("evaluation",) if tasks is evaluation else ("evaluation", "tasks")
    for index, task in enumerate(tasks if isinstance(tasks, list) else ()):
        if isinstance(name := _get(task, "name"), str):
            yield from _check_names(document, (*loc, index), name, _get(task, "harness"), _get(task, "container"))


def _check_names(
    document: Document, path: tuple[str | int, ...], name: str, harness_name: object, container: object
) -> Iterator[Problem]:
    try:
        if isinstance(harness_name, str):
            harness(harness_name)
        elif not container:
            find_task(Task(name=name), document.position((*path, "name"))[0])
    except NotFoundError as error:
        location = document.position((*path, "harness"))[0]
        yield from (Problem(problem.message, location, problem.hint) for problem in error.problems)
    except SpecError as error:
        yield from error.problems


def _get(node: object, key: str) -> object:
    return node.get(key) if isinstance(node, Mapping) else None
