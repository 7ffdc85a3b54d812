"""Preparation: from a loaded spec to a plan, and the checks that it can run, before anything is submitted."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from nel_action.errors import EngineError, Location, NelActionError, Problem, SecretError, SpecError, SpecProblem
from nel_action.executors.interface import Executor, ExecutorContext, Validating
from nel_action.executors.registry import open_executor
from nel_action.lifecycle.endpoint_check import check_endpoint
from nel_action.lifecycle.provenance import discover_context
from nel_action.planning.jobs import Plan
from nel_action.planning.planner import images, make_plan
from nel_action.spec.compose import LoadedSpec

__all__ = ["Prepared", "check", "prepare"]

_EXECUTION_KEY: Final = re.compile(r"\bexecution\.([a-z_]+(?:\.[a-z_]+)*)")
"""A key of the spec's `execution` section in the problem or the hint of an executor."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A plan and the executor that will run it."""

    loaded: LoadedSpec
    plan: Plan
    executor: Executor
    environ: Mapping[str, str]


@contextmanager
def prepare(
    loaded: LoadedSpec, *, home: Path, environ: Mapping[str, str], fresh: bool = False, resolve: bool = True
) -> Iterator[Prepared]:
    """Plan a spec on its executor; on exit close the executor.

    Args:
        loaded: the spec.
        home: `$NEL_ACTION_HOME`.
        environ: source of the values of `host:` variables.
        fresh: give every job a new key, so that no earlier result is reused.
        resolve: ask the executor for the digests of images; a dry run skips this.

    Raises:
        SpecError: the spec cannot be planned.
        UnreachableError: the executor's backend does not answer.
    """
    executor = open_executor(
        loaded.spec.execution, ExecutorContext(home=home, environ=environ, base_dir=loaded.base_dir)
    )
    try:
        if isinstance(executor, Validating) and (problems := executor.validate(loaded.spec, loaded.locate)):
            raise SpecError(problems)
        context = discover_context(loaded.base_dir, environ, salt=secrets.token_hex(8) if fresh else "")
        if resolve:
            context = replace(context, digests=executor.resolve(images(loaded.spec)))
        plan = make_plan(loaded.spec, context, base_dir=loaded.base_dir, locate=loaded.locate)
        yield Prepared(loaded, plan, executor, environ)
    finally:
        executor.close()


def check(prepared: Prepared, *, endpoint: bool = True) -> None:
    """Check that the plan can run: variables, then the backend, then the target.

    Args:
        prepared: the plan and its executor.
        endpoint: send one minimal request to each target.

    Raises:
        SecretError: variables that the spec names are not set.
        SpecError: the backend cannot run the plan because of settings in the spec.
        EngineError: the backend is unavailable, denies access, or cannot run the plan.
        EndpointError: a target does not answer as an OpenAI-compatible endpoint does.
    """
    missing = list(_missing_variables(prepared))
    if missing:
        raise _with_problems(SecretError(missing[0].message), missing)
    problems = [_with_location(prepared.loaded, problem) for problem in prepared.executor.check(prepared.plan)]
    if any(isinstance(problem, SpecProblem) for problem in problems):
        raise SpecError(problems)
    if problems:
        raise _with_problems(EngineError(problems[0].message), problems)
    if endpoint:
        _check_targets(prepared)


def _with_location(loaded: LoadedSpec, problem: Problem) -> Problem:
    """Add the source position of the `execution` key that an executor's problem names."""
    match = _EXECUTION_KEY.search(f"{problem.message} {problem.hint or ''}")
    if problem.location is not None or match is None:
        return problem
    return replace(problem, location=loaded.locate(("execution", *match[1].split("."))))


def _with_problems(error: NelActionError, problems: Sequence[Problem]) -> NelActionError:
    error.problems = tuple(problems)
    return error


def _missing_variables(prepared: Prepared) -> Iterator[Problem]:
    """Yield a problem for each `host:` variable that is not set."""
    seen: set[str] = set()
    for job in prepared.plan.jobs:
        for name in (reference.host_name for reference in job.env.values()):
            if name is not None and name not in prepared.environ and name not in seen:
                seen.add(name)
                location = _locate_variable(prepared.loaded, name)
                yield Problem(f"the variable {name} is not set", location, f"export {name}=…, or pass it as a secret")


def _locate_variable(loaded: LoadedSpec, name: str) -> Location | None:
    """Return the source position of the first reference to a variable."""
    for path, value in _strings(loaded.resolved, ()):
        if value in {name, f"host:{name}"}:
            return loaded.locate(path)
    return None


def _strings(node: object, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield all strings of nested mappings and lists with their paths."""
    if isinstance(node, Mapping):
        for name, value in node.items():
            yield from _strings(value, (*path, str(name)))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _strings(value, (*path, index))
    elif isinstance(node, str):
        yield path, node


def _check_targets(prepared: Prepared) -> None:
    """Send one minimal request to each target that is not served by a deployment of the spec."""
    checked = set()
    targets = prepared.loaded.spec.targets
    for job in prepared.plan.jobs:
        api = job.target.api_endpoint
        if api.url is None or (api.url, api.model_id, api.type) in checked:
            continue
        key = job.env.get(api.api_key_name or "")
        if key is not None and key.runtime_name is not None:
            continue  # only the job's machine has the key: a request from here would be rejected
        checked.add((api.url, api.model_id, api.type))
        path = ("targets", job.model, "api_endpoint", "url") if targets else ("target", "api_endpoint", "url")
        patience = prepared.loaded.spec.execution.endpoint_readiness_timeout or 0.0
        check_endpoint(api, prepared.environ, location=prepared.loaded.locate(path), patience=patience)
