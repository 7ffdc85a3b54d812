"""Shares of jobs in budgets and rates."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.planning.test_planner import CONTEXT
from tests.support.plans import make_spec

from nel_action.errors import SpecError
from nel_action.planning.jobs import Job
from nel_action.planning.planner import make_plan
from nel_action.spec.deployment import GenericDeployment
from nel_action.spec.evaluation import Evaluation, Task
from nel_action.spec.execution import LocalExecution
from nel_action.spec.gateway import Gateway, Rates
from nel_action.spec.model import Spec
from nel_action.spec.target import Target

PRICES = {"tiny": {"input": 1.0, "output": 2.0}}


def spec_of(*tasks: Mapping[str, object], parallelism: int = 1, **parts: object) -> Spec:
    made = tuple(
        Task.model_validate({"name": f"t{index}", "harness": "command", "command": ("true",), **task})
        for index, task in enumerate(tasks)
    )
    execution = LocalExecution(runtime="process", parallelism=parallelism)
    return make_spec(evaluation=Evaluation(tasks=made), execution=execution, **parts)


def jobs(spec: Spec) -> tuple[Job, ...]:
    return make_plan(spec, CONTEXT, base_dir=Path()).jobs


def budgets(spec: Spec) -> list[dict[str, float]]:
    return [dict(job.limits.budget) for job in jobs(spec)]


def problems(spec: Spec) -> list[str]:
    with pytest.raises(SpecError) as caught:
        jobs(spec)
    return [str(problem) for problem in caught.value.problems]


def test_a_budget_is_divided_by_the_numbers_of_items() -> None:
    sized = [{"params": {"limit_samples": count}} for count in (100, 300)]
    spec = spec_of(*sized, budget={"requests": 1000, "cost": 4.0}, prices=PRICES)
    assert budgets(spec) == [{"requests": 250, "cost": 1.0}, {"requests": 750, "cost": 3.0}]


def test_unknown_numbers_of_items_count_as_the_mean_of_the_known_ones() -> None:
    spec = spec_of({"params": {"limit_samples": 100}}, {"params": {"limit_samples": 300}}, {}, budget={"tokens": 600})
    assert budgets(spec) == [{"tokens": 100}, {"tokens": 300}, {"tokens": 200}]
    assert budgets(spec_of({}, {}, budget={"tokens": 600})) == [{"tokens": 300}, {"tokens": 300}]


def test_the_budget_of_a_task_replaces_its_share() -> None:
    spec = spec_of({"budget": {"requests": 100}}, {}, {}, budget={"requests": 1000})
    assert budgets(spec) == [{"requests": 100}, {"requests": 450}, {"requests": 450}]
    assert budgets(spec_of({"budget": {"requests": 7}}, {})) == [{"requests": 7}, {}]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (spec_of({"budget": {"requests": 9}}, {}, budget={"requests": 9}), "budget.requests: 9 leaves 0 for 1 job"),
        (spec_of({"budget": {"requests": 9}}, {}, budget={"requests": 5}), "budget.requests: 5 leaves 0 for 1 job"),
        (spec_of({}, {}, {}, budget={"requests": 2}), "budget.requests: 2 leaves 2 for 3 jobs"),
        (spec_of({}, budget={"cost": 1.0}), "budget.cost: the price of tiny is unknown\n  add prices: {tiny: {input"),
        (spec_of({"gateway": False}, budget={"requests": 9}), "cannot be enforced without the gateway"),
        (spec_of({"gateway": False, "budget": {"requests": 9}}), "cannot be enforced without the gateway"),
    ],
)
def test_a_budget_that_cannot_be_divided_or_enforced_is_refused(spec: Spec, message: str) -> None:
    assert message in "; ".join(problems(spec))


def test_prices_of_the_model_are_part_of_the_limits() -> None:
    assert [dict(job.limits.prices) for job in jobs(spec_of({}, prices=PRICES))] == [PRICES["tiny"]]
    assert [dict(job.limits.prices) for job in jobs(spec_of({}, prices={"other": PRICES["tiny"]}))] == [{}]


def rated(*tasks: Mapping[str, object], parallelism: int, **rates: int) -> Spec:
    return spec_of(*tasks, parallelism=parallelism, gateway=Gateway(rates=Rates(**rates)))


def test_rates_are_divided_among_the_jobs_that_run_at_once() -> None:
    spec = rated({}, {}, {}, parallelism=2, requests_per_minute=60, tokens_per_minute=9000, max_concurrency=7)
    for job in jobs(spec):
        limits = job.limits
        assert (limits.requests_per_minute, limits.tokens_per_minute, limits.max_concurrency) == (30.0, 4500.0, 3)
    assert jobs(rated({}, {}, parallelism=1, max_concurrency=7))[0].limits.max_concurrency == 7


def test_rates_of_a_task_are_its_own() -> None:
    own = {"gateway": {"rates": {"requests_per_minute": 50}}}
    first, second = jobs(rated(own, {}, parallelism=2, requests_per_minute=60))
    assert (first.limits.requests_per_minute, second.limits.requests_per_minute) == (50, 30.0)


def test_fewer_requests_at_once_than_jobs_are_refused() -> None:
    assert "is less than the 3 jobs" in problems(rated({}, {}, {}, parallelism=4, max_concurrency=2))[0]


def test_limits_are_no_part_of_the_key() -> None:
    plain, limited = spec_of({}), spec_of({}, budget={"requests": 9, "cost": 1.0}, prices=PRICES)
    assert jobs(plain)[0].key == jobs(limited)[0].key


def test_only_an_own_model_server_has_a_time_to_become_ready() -> None:
    deployment = GenericDeployment(type="generic", image="i", command="c", served_model_name="m")
    assert jobs(spec_of({}))[0].limits.readiness_timeout is None
    served = jobs(spec_of({}, deployment=deployment, target=Target()))
    assert served[0].limits.readiness_timeout == LocalExecution().endpoint_readiness_timeout
