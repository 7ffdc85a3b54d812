"""Shares of jobs in the rates and budgets of a spec: the gateway of each job enforces them without the others.

A budget is divided by the numbers of items, as far as they are known, after the budgets of tasks with an own one. Rates
are divided equally among the jobs that run at once on one endpoint; the gateway settings of a task are its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from nel_action.errors import Problem
from nel_action.formatting import plural
from nel_action.planning.jobs import Job, Limits
from nel_action.planning.task_resolution import Locate
from nel_action.spec.budget import Budget
from nel_action.spec.deployment import ServedDeployment
from nel_action.spec.evaluation import Task
from nel_action.spec.gateway import Gateway, Rates
from nel_action.spec.model import Spec

__all__ = ["expected_requests", "with_limits"]

_BUDGET_KEYS: Final = ("requests", "tokens", "cost")
_LEAST_COST: Final = 1e-6
"""US dollars."""
_RATE_KEYS: Final = ("requests_per_minute", "tokens_per_minute", "max_concurrency")


def with_limits(
    spec: Spec, jobs: Sequence[tuple[Task, Job]], locate: Locate
) -> tuple[tuple[Job, ...], tuple[Problem, ...]]:
    """Return the jobs with their shares in rates and budgets.

    Args:
        spec: the spec.
        jobs: all jobs, each with its task in the spec.
        locate: maps a key to its source position.

    Returns:
        The jobs; and the problems of the budget: without the gateway, without a price, or smaller than its parts.
    """
    budgets, problems = _budgets(spec, jobs, locate)
    limited = []
    for (task, job), budget in zip(jobs, budgets, strict=True):
        price = spec.prices.get(job.target.api_endpoint.model_id or "")
        prices = {name: value for name, value in price.model_dump().items() if value is not None} if price else {}
        limited.append(replace(job, limits=replace(_rates(spec, task, job, jobs), budget=budget, prices=prices)))
    problems += [
        *_price_problems(spec, jobs, budgets, locate),
        *_concurrency_problems(spec, jobs, locate),
    ]
    return tuple(limited), tuple(problems)


def _budgets(
    spec: Spec, jobs: Sequence[tuple[Task, Job]], locate: Locate
) -> tuple[list[dict[str, float]], list[Problem]]:
    """Return the budget of each job, and budgets that cannot be enforced or divided."""
    budgets: list[dict[str, float]] = [{} for _ in jobs]
    problems = []
    weights = _weights([job for _, job in jobs])
    for key in _BUDGET_KEYS:
        total: float | None = getattr(spec.budget, key)
        own = [getattr(task.budget or Budget(), key) for task, _ in jobs]
        rest = None if total is None else total - sum(value for value in own if value is not None)
        sharing = sum(weight for weight, value in zip(weights, own, strict=True) if value is None)
        least = own.count(None) * (_LEAST_COST if key == "cost" else 1)
        if rest is not None and rest < least:
            others = plural(own.count(None), "job")
            message = f"budget.{key}: {total:g} leaves {max(0, rest):g} for {others} without an own budget"
            problems.append(Problem(message, locate(("budget", key)), f"raise budget.{key}, or lower those of tasks"))
            continue
        for budget, weight, value in zip(budgets, weights, own, strict=True):
            if value is not None:
                budget[key] = value
            elif rest is not None:
                share = rest * weight / sharing
                budget[key] = share if key == "cost" else max(1, int(share))
    return budgets, problems + list(_gateway_problems(jobs, budgets, locate))


def _weights(jobs: Sequence[Job]) -> list[float]:
    """Return the number of items of each job; the mean of the known ones where it is unknown."""
    counts = [expected_requests(job) for job in jobs]
    known = [count for count in counts if count is not None]
    mean = sum(known) / len(known) if known else 1.0
    return [float(mean if count is None else count) or 1.0 for count in counts]


def expected_requests(job: Job) -> int | None:
    """Return the number of items of a job; None if it is unknown."""
    total, limit = job.task.expected_items, job.task.params.limit_samples
    if total is None:
        return limit if isinstance(limit, int) else None
    if limit is None:
        return total
    return min(total, limit) if isinstance(limit, int) else max(1, round(total * limit))


def _rates(spec: Spec, task: Task, job: Job, jobs: Sequence[tuple[Task, Job]]) -> Limits:
    own, common = _rates_of(task.gateway), _rates_of(spec.gateway)
    concurrent = _concurrent(spec, job, jobs)
    values: dict[str, float | None] = {}
    for key in _RATE_KEYS:
        shared = getattr(common, key)
        value = getattr(own, key)
        values[key] = value if value is not None or shared is None else shared / concurrent
    limit = values["max_concurrency"]
    served = isinstance(job.deployment, ServedDeployment)
    return Limits(
        readiness_timeout=spec.execution.endpoint_readiness_timeout if served else None,
        requests_per_minute=values["requests_per_minute"],
        tokens_per_minute=values["tokens_per_minute"],
        max_concurrency=None if limit is None else max(1, int(limit)),
    )


def _rates_of(gateway: object) -> Rates:
    return gateway.rates if isinstance(gateway, Gateway) else Rates()


def _concurrent(spec: Spec, job: Job, jobs: Sequence[tuple[Task, Job]]) -> int:
    """Return how many jobs may send requests to the endpoint of a job at once.

    Outside this machine each job has a model server of its own.
    """
    if isinstance(job.deployment, ServedDeployment) and spec.execution.type == "slurm":
        return 1
    endpoint = job.target.api_endpoint
    same = sum(other.target.api_endpoint.url == endpoint.url for _, other in jobs if other.gateway is not None)
    return max(1, min(same, spec.execution.parallelism) if spec.execution.type != "lepton" else same)


def _gateway_problems(
    jobs: Sequence[tuple[Task, Job]], budgets: Sequence[Mapping[str, float]], locate: Locate
) -> Iterator[Problem]:
    for (task, job), budget in zip(jobs, budgets, strict=True):
        if budget and job.gateway is None:
            message = f"task {task.name}: its budget cannot be enforced without the gateway"
            yield Problem(message, locate(("budget",)), "remove gateway: false, or the budget")


def _price_problems(
    spec: Spec, jobs: Sequence[tuple[Task, Job]], budgets: Sequence[Mapping[str, float]], locate: Locate
) -> Iterator[Problem]:
    """Yield models with a budget in dollars but without a price, each once."""
    models = dict.fromkeys(
        job.target.api_endpoint.model_id or ""
        for (_, job), budget in zip(jobs, budgets, strict=True)
        if "cost" in budget
    )
    for model in models:
        if model not in spec.prices:
            message = f"budget.cost: the price of {model} is unknown"
            hint = f"add prices: {{{model}: {{input: …, output: …}}}} in US dollars per million tokens"
            yield Problem(message, locate(("prices",) if spec.prices else ("budget", "cost")), hint)


def _concurrency_problems(spec: Spec, jobs: Sequence[tuple[Task, Job]], locate: Locate) -> Iterator[Problem]:
    limit = _rates_of(spec.gateway).max_concurrency
    if limit is None:
        return
    sharing = [
        _concurrent(spec, job, jobs)
        for task, job in jobs
        if job.gateway is not None and _rates_of(task.gateway).max_concurrency is None
    ]
    most = max(sharing, default=0)
    if limit < most:
        message = f"gateway.rates.max_concurrency: {limit} is less than the {most} jobs that run at once"
        hint = f"raise it, or set execution.parallelism: {limit}"
        yield Problem(message, locate(("gateway", "rates", "max_concurrency")), hint)
