"""From a loaded spec to a plan that is known to be able to run, before anything is spent."""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

from nel_action.errors import EngineError, Location, NelActionError, NotFoundError, Problem, SecretError
from nel_action.executors.interface import Executor, ExecutorContext
from nel_action.executors.registry import open_executor
from nel_action.lifecycle.endpoint_check import check_endpoint
from nel_action.lifecycle.provenance import discover
from nel_action.planning.jobs import Plan
from nel_action.planning.planner import images, make_plan
from nel_action.spec.compose import LoadedSpec
from nel_action.spec.policy import GatePolicy

__all__ = ["Prepared", "check", "prepare", "select_tasks"]


SETTING = re.compile(r"\bexecution\.([a-z_]+(?:\.[a-z_]+)*)")
"""How executors speak of a setting in their problems and hints."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A plan, and the executor that would run it."""

    loaded: LoadedSpec
    plan: Plan
    executor: Executor
    environ: Mapping[str, str]


@contextmanager
def prepare(
    loaded: LoadedSpec, *, home: Path, environ: Mapping[str, str], fresh: bool = False, resolve: bool = True
) -> Iterator[Prepared]:
    """Plan a spec on its executor.

    Args:
        loaded: the spec.
        home: `$NEL_ACTION_HOME`.
        environ: where the values of named variables come from.
        fresh: run everything again, whatever was evaluated before.
        resolve: ask the executor for the digests of images; a dry run does without.

    Raises:
        SpecError: what the spec asks for cannot be planned.
        UnreachableError: the executor's backend does not answer.
    """
    workspace = ExecutorContext(home=home, environ=environ, base_dir=loaded.base_dir)
    executor = open_executor(loaded.spec.execution, workspace)
    try:
        context = discover(loaded.base_dir, environ, salt=secrets.token_hex(8) if fresh else "")
        if resolve:
            context = replace(context, digests=executor.resolve(images(loaded.spec)))
        plan = make_plan(loaded.spec, context, base_dir=loaded.base_dir, locate=loaded.locate)
        yield Prepared(loaded, plan, executor, environ)
    finally:
        executor.close()


def select_tasks(loaded: LoadedSpec, names: Sequence[str]) -> LoadedSpec:
    """Keep only the tasks of these names.

    Raises:
        NotFoundError: the spec has no such task.
    """
    if not names:
        return loaded
    tasks = loaded.spec.evaluation.tasks
    known = [task.name for task in tasks]
    wanted: set[int] = set()
    for name in names:
        hits = _task_places(known, name)
        if not hits:
            near = get_close_matches(name, known, n=1)
            msg = f"the spec has no task '{name}'"
            raise NotFoundError(msg, hint=f"did you mean '{near[0]}'?" if near else f"it has {', '.join(known)}")
        wanted.update(hits)
    kept = tuple(task for index, task in enumerate(tasks) if index in wanted)
    evaluation = loaded.spec.evaluation.model_copy(update={"tasks": kept})
    return replace(
        loaded,
        spec=loaded.spec.model_copy(
            update={"evaluation": evaluation, "gate": _narrowed(loaded, {task.name for task in kept})}
        ),
    )


def _task_places(known: Sequence[str], name: str) -> list[int]:
    """Return where tasks of a name stand: `mmlu` is all of them (`simple_evals.mmlu` too), `mmlu.1` the second."""
    hits = [index for index, one in enumerate(known) if one == name]
    hits = hits or [index for index, one in enumerate(known) if one.endswith(f".{name}")]
    plain, dot, number = name.rpartition(".")
    if hits or not dot or not number.isdigit():
        return hits
    return _task_places(known, plain)[int(number) :][:1]


def _narrowed(loaded: LoadedSpec, names: Collection[str]) -> GatePolicy | None:
    """Leave out what the policy says of tasks that are not run."""
    gate = loaded.spec.gate
    if gate is None:
        return None
    left = {task.name for task in loaded.spec.evaluation.tasks} - set(names)
    gone = left | {name.rsplit(".", maxsplit=1)[-1] for name in left} - set(names)
    return gate.model_copy(update={"tasks": {name: rules for name, rules in gate.tasks.items() if name not in gone}})


def check(prepared: Prepared, *, endpoint: bool = True) -> None:
    """Find what would keep the plan from running: variables, the backend, the target.

    Raises:
        SecretError: a variable that the spec names is not set.
        EngineError: the backend is not there, not allowed, or cannot do what the plan asks.
        EndpointError: the target does not answer as it should.
    """
    missing = list(_missing_variables(prepared))
    if missing:
        raise _with(SecretError(missing[0].message), missing)
    problems = [_placed(prepared.loaded, problem) for problem in prepared.executor.check(prepared.plan)]
    if problems:
        raise _with(EngineError(problems[0].message), problems)
    if endpoint:
        _check_targets(prepared)


def _placed(loaded: LoadedSpec, problem: Problem) -> Problem:
    """Add the line of the setting that an executor's problem speaks of."""
    named = SETTING.search(f"{problem.message} {problem.hint or ''}")
    if problem.location is not None or named is None:
        return problem
    return replace(problem, location=loaded.locate(("execution", *named[1].split("."))))


def _with(error: NelActionError, problems: Sequence[Problem]) -> NelActionError:
    error.problems = tuple(problems)
    return error


def _missing_variables(prepared: Prepared) -> Iterator[Problem]:
    """Name each variable that is read here and has no value, with the line that asks for it."""
    seen: set[str] = set()
    for job in prepared.plan.jobs:
        for name in (reference.host_name for reference in job.env.values()):
            if name is not None and name not in prepared.environ and name not in seen:
                seen.add(name)
                place = _where(prepared.loaded, name)
                yield Problem(f"the variable {name} is not set", place, f"export {name}=…, or pass it as a secret")


def _where(loaded: LoadedSpec, name: str) -> Location | None:
    """Find the line that asks for a variable."""
    for path, value in _leaves(loaded.resolved, ()):
        if value in {name, f"host:{name}"}:
            return loaded.locate(path)
    return None


def _leaves(node: object, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], object]]:
    if isinstance(node, Mapping):
        for name, value in node.items():
            yield from _leaves(value, (*path, str(name)))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _leaves(value, (*path, index))
    elif isinstance(node, str):
        yield path, node


def _check_targets(prepared: Prepared) -> None:
    """Send one tiny request to each target that somebody else serves."""
    seen = set()
    targets = prepared.loaded.spec.targets
    for job in prepared.plan.jobs:
        api = job.target.api_endpoint
        if api.url is None or (api.url, api.model_id, api.type) in seen:
            continue
        key = job.env.get(api.api_key_name or "")
        if key is not None and key.runtime_name is not None:
            continue  # the key is where the job runs; from here the target would refuse us
        seen.add((api.url, api.model_id, api.type))
        path = ("targets", job.model, "api_endpoint", "url") if targets else ("target", "api_endpoint", "url")
        check_endpoint(api, prepared.environ, place=prepared.loaded.locate(path))
