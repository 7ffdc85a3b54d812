"""Preflight checks: everything about a gate that can be found wrong before anything is submitted."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from nel_action.driver.surroundings import Rules, Surroundings
from nel_action.errors import Location, NotFoundError, Problem, SpecError
from nel_action.gating.policy import check_policy, task_policy
from nel_action.spec.metric_range import MetricRange, range_of_metric
from nel_action.spec.policy import Direction

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from nel_action.catalog.lookup import CatalogTask
    from nel_action.lifecycle.prepare import Prepared
    from nel_action.spec.compose import LoadedSpec
    from nel_action.spec.policy import GatePolicy

__all__ = ["check_plan", "check_spec", "resolve_baselines"]


def check_spec(loaded: LoadedSpec, around: Surroundings) -> tuple[Problem, ...]:
    """Check the policy and the exports of a spec; needs neither the backend nor the network.

    Args:
        loaded: the spec.
        around: the rules that replace the spec's own, the destinations of exports, and the environment.

    Returns:
        Warnings: what prevents an export at the moment, such as a missing credential. Exports never change the verdict.

    Raises:
        SpecError: the policy names a task that the spec does not have, or limits nothing; or options of an export are
            invalid.
    """
    rules = around.rules
    if rules is None or rules.policy is None or rules.policy == loaded.spec.gate:
        problems = _policy_problems(loaded)
    else:
        problems = check_policy(rules.policy, rules.expected)
    for other in rules.others if rules else ():
        problems += check_policy(other.policy, other.expected) if other.policy else []
    if problems:
        raise SpecError(problems)
    destinations = around.exports
    if not (loaded.spec.export.names() or loaded.spec.execution.auto_export or destinations):
        return ()
    # NOTE: exporters take a moment to import, and a dry run usually has none.
    from nel_action.exporters.preflight import check_exports

    return check_exports(loaded, around.environ, destinations=destinations)


def _policy_problems(loaded: LoadedSpec) -> list[Problem]:
    """Check the spec's own policy, with source positions."""
    gate = loaded.spec.gate
    if gate is None:
        return []
    tasks = [task.name for task in loaded.spec.evaluation.tasks]
    problems = check_policy(gate, tasks, _catalog_ranges(gate, tasks))
    problems += _direction_problems(gate, tasks)
    return [
        Problem(problem.message, problem.location or _locate(problem, loaded), problem.hint) for problem in problems
    ]


def _catalog_entries(tasks: Sequence[str]) -> Iterator[tuple[str, CatalogTask]]:
    """Yield the tasks that the catalog has."""
    from nel_action.catalog.lookup import lookup

    for task in dict.fromkeys(tasks):
        with suppress(NotFoundError):
            yield task, lookup(task)


def _catalog_ranges(gate: GatePolicy, tasks: Sequence[str]) -> dict[str, MetricRange]:
    """Return the ranges of the judged metrics, as far as the catalog defines them."""
    return {
        task: metric_range
        for task, entry in _catalog_entries(tasks)
        if (metric_range := range_of_metric(entry.harness, task_policy(gate, task).metric or entry.metric))
    }


def _direction_problems(gate: GatePolicy, tasks: Sequence[str]) -> Iterator[Problem]:
    """Yield the directions of the policy that contradict the catalog."""
    for task, entry in _catalog_entries(tasks):
        policy = task_policy(gate, task)
        if policy.direction is None or entry.higher_is_better is None or policy.metric not in {None, entry.metric}:
            continue
        defined = Direction.HIGHER if entry.higher_is_better else Direction.LOWER
        if policy.direction is not defined:
            message = f"{task}: direction is {policy.direction}, but {entry.metric} of the catalog is {defined}"
            yield Problem(message, hint="remove direction, or set metric")


def _locate(problem: Problem, loaded: LoadedSpec) -> Location | None:
    """Return the source position of the task that a problem of the policy names."""
    tasks = loaded.spec.gate.tasks if loaded.spec.gate else {}
    text = problem.message
    name = next((name for name in tasks if text.startswith(tuple(f"gate.tasks.{name}{end}" for end in ".: "))), None)
    section: tuple[str, ...] = ("gate", "tasks", name) if name else ("gate",)
    if text.startswith("gate.defaults."):
        section = ("gate", "defaults")
    prefix = ".".join(section) + "."
    key = text.removeprefix(prefix).partition(":")[0]
    return loaded.locate((*section, key) if text.startswith(prefix) else section)


def check_plan(prepared: Prepared, around: Surroundings, *, endpoint: bool = True) -> Prepared:
    """Resolve the baseline and check that the plan can run: variables, the backend, the target.

    Args:
        prepared: the plan and its executor.
        around: the rules that replace the spec's own, and where baselines are found.
        endpoint: send one minimal request to each target.

    Returns:
        The plan with its baselines.

    Raises:
        NotFoundError: the policy names a baseline that does not exist.
        ResultsError: the baseline is incomplete.
        SecretError: variables that the spec names are not set.
        EngineError: the backend is unavailable, denies access, or cannot run the plan.
        EndpointError: a target does not answer as an OpenAI-compatible endpoint does.
    """
    from nel_action.lifecycle.prepare import check

    prepared = resolve_baselines(prepared, around)
    check(prepared, endpoint=endpoint)
    return prepared


def resolve_baselines(prepared: Prepared, around: Surroundings) -> Prepared:
    """Return the plan with the baselines of all rules, which every later step compares with.

    Args:
        prepared: the plan and its executor.
        around: the rules that replace the spec's own, and where baselines are found.

    Raises:
        NotFoundError: the policy names a baseline that does not exist.
        ResultsError: the baseline is incomplete.
    """
    if prepared.plan.baselines is not None:
        return prepared
    from nel_action.driver.baselines import pin_baselines

    rules = around.rules or Rules.of_spec(prepared.loaded.spec, prepared.loaded.base_dir)
    pins = pin_baselines(rules, around, commit=prepared.plan.context.commit)
    return replace(prepared, plan=replace(prepared.plan, baselines=pins))
