"""Loading a spec so that all of its mistakes are told at once: those of form, and names that mean nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from nel_action.catalog.lookup import lookup
from nel_action.errors import NotFoundError, Problem, SpecError
from nel_action.harnesses.registry import harness
from nel_action.planning.planner import spec_route
from nel_action.planning.task_resolution import find_task
from nel_action.spec.compose import LoadedSpec, load_spec
from nel_action.spec.evaluation import Task
from nel_action.spec.source_positions import Document

__all__ = ["load"]


def load(
    path: Path | None,
    *,
    config_dir: Path | None = None,
    config_name: str | None = None,
    overrides: Sequence[str] = (),
    environ: Mapping[str, str] = os.environ,
) -> LoadedSpec:
    """Load a spec as `load_spec` does; where it is wrong, look at the names in it as well.

    Raises:
        SpecError: all that is wrong with it, each with its place.
    """
    try:
        loaded = load_spec(path, config_dir=config_dir, config_name=config_name, overrides=overrides, environ=environ)
    except SpecError as error:
        if path is None or not path.is_file():
            raise
        raise SpecError([*error.problems, *_names(path)]) from None
    return replace(loaded, warnings=(*loaded.warnings, *_former_names(loaded)))


def _former_names(loaded: LoadedSpec) -> Iterator[Problem]:
    """Say for each name that was clear in earlier releases what it is taken for, and how to write that."""
    for index, task in enumerate(loaded.spec.evaluation.tasks):
        place = loaded.locate(("evaluation", "tasks", index, "name"))
        try:
            entry = find_task(task, place, spec_route(loaded.spec, task))
        except SpecError:
            continue  # told where the plan is made, with everything else that is wrong with it
        if entry is not None and task.name not in {entry.name, entry.full_name}:
            yield Problem(f"'{task.name}' is now called '{entry.full_name}'", place)
        elif entry is not None and task.name == entry.name and _shared(task.name):
            message = f"several tasks are called '{task.name}'; it is read as '{entry.full_name}', as it always was"
            yield Problem(message, place, f"write {entry.full_name}, or the one that you mean")


def _shared(name: str) -> bool:
    try:
        lookup(name)
    except NotFoundError:
        return True
    return False


def _names(path: Path) -> Iterator[Problem]:
    """Say which tasks and harnesses nobody knows."""
    try:
        document = Document.read(path)
    except SpecError:
        return  # told already: it is no YAML
    tasks = _get(_get(document.data, "evaluation"), "tasks")
    for index, task in enumerate(tasks if isinstance(tasks, Sequence) and not isinstance(tasks, str) else ()):
        if isinstance(name := _get(task, "name"), str):
            yield from _task(document, index, name, _get(task, "harness"), _get(task, "container"))


def _task(document: Document, index: int, name: str, who: object, container: object) -> Iterator[Problem]:
    own = ("evaluation", "tasks", index)
    try:
        if isinstance(who, str):
            harness(who)
        elif not container:
            find_task(Task(name=name), document.place((*own, "name"))[0])
    except NotFoundError as error:
        yield from (Problem(p.message, document.place((*own, "harness"))[0], p.hint) for p in error.problems)
    except SpecError as error:
        yield from error.problems


def _get(node: object, key: str) -> object:
    return node.get(key) if isinstance(node, Mapping) else None
