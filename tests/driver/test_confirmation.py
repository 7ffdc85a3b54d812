from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.evaluations import Evaluation
from tests.support.gate_results import make_task
from tests.support.plans import make_test_plan
from tests.support.scenarios import Scenario

from nel_action.driver.confirmation import confirm, remaining_budget
from nel_action.driver.events import Extended, ExtensionReason
from nel_action.driver.judging import measure, pin_new_baselines
from nel_action.lifecycle.session import JobView, Session
from nel_action.lifecycle.waiting import refresh
from nel_action.model.results import Amounts
from nel_action.planning.jobs import Limits

FAILING = {1234: 0.2}
TASKS = ("alpha", "beta")


def gate(**confirmation: object) -> dict[str, Any]:
    return {"tasks": {"alpha": {"min": 0.5}, "beta": {"min": 0.1}}, "confirm": confirmation}


@contextmanager
def settled(scenario: Scenario, folder: Path) -> Iterator[tuple[Evaluation, Session, list[JobView]]]:
    """Yield an invocation whose jobs have finished."""
    evaluation = Evaluation(scenario, folder)
    evaluation.submit()
    with evaluation.session() as session:
        refresh(session)
        yield evaluation, session, refresh(session)


def extension(evaluation: Evaluation, session: Session, views: list[JobView]) -> Extended | None:
    session, rules = pin_new_baselines(session, evaluation.around)
    measurement = measure(session, views, evaluation.around, rules)
    return confirm(session, views, measurement, rules)


def test_failing_task_is_run_once_more_with_the_next_seed(tmp_path: Path) -> None:
    with settled(Scenario(scores=FAILING, tasks=TASKS, gate=gate()), tmp_path) as (evaluation, session, views):
        extended = extension(evaluation, session, views)
        assert extended is not None
        assert extended.reason is ExtensionReason.CONFIRMATION
        (job,) = extended.jobs
        assert (job.name, job.task.params.seed, job.repeats) == ("alpha.again", 1235, 0)
        assert evaluation.executor.started[-1] == (job.key, 1)
        planned = json.loads((evaluation.run_dir / "plan.json").read_bytes())["jobs"]
        assert [entry["name"] for entry in planned] == ["alpha", "beta", "alpha.again"]


def test_confirmation_runs_have_the_same_keys_in_every_process(tmp_path: Path) -> None:
    keys = set()
    for name in ("first", "second"):
        scenario = Scenario(scores=FAILING, tasks=TASKS, gate=gate())
        with settled(scenario, tmp_path / name) as (evaluation, session, views):
            extended = extension(evaluation, session, views)
            assert extended is not None
            keys.add(tuple(job.key for job in extended.jobs))
    assert len(keys) == 1


def test_a_task_is_confirmed_at_most_once(tmp_path: Path) -> None:
    with settled(Scenario(scores=FAILING | {1235: 0.2}, tasks=TASKS, gate=gate()), tmp_path) as (
        evaluation,
        session,
        views,
    ):
        extended = extension(evaluation, session, views)
        assert extended is not None
        longer = replace(session, invocation=extended.session.invocation)
        refresh(longer)
        assert extension(evaluation, longer, refresh(longer)) is None


@pytest.mark.parametrize(
    "scenario",
    [
        Scenario(scores=FAILING, gate={"tasks": {"alpha": {"min": 0.5}}}),
        Scenario(scores={1234: 0.9}, gate=gate(), tasks=TASKS),
        Scenario(scores={1234: None}, gate=gate(), tasks=TASKS),
        Scenario(
            scores=FAILING,
            tasks=TASKS,
            gate={"tasks": {"alpha": {"min": 0.5}, "beta": {"min": 0.5}}, "confirm": {"max_tasks": 1}},
        ),
        Scenario(scores=FAILING, tasks=TASKS, gate=gate(max_seconds=1)),
        Scenario(
            scores=FAILING,
            tasks=("alpha", "alpha"),
            rejected=("alpha.2",),
            gate={"tasks": {"alpha": {"min": 0.5}}, "confirm": {}},
        ),
    ],
    ids=["not required", "nothing failed", "not measured", "too many failed", "too expensive", "partly measured"],
)
def test_no_confirmation(tmp_path: Path, scenario: Scenario) -> None:
    with settled(scenario, tmp_path) as (evaluation, session, views):
        before = (evaluation.run_dir / "plan.json").read_bytes()
        assert extension(evaluation, session, views) is None
        assert (evaluation.run_dir / "plan.json").read_bytes() == before
        assert len(evaluation.executor.started) == len(scenario.tasks) - len(scenario.rejected)


def test_unreachable_backend_leaves_the_plan_for_the_next_process(tmp_path: Path) -> None:
    with settled(Scenario(scores=FAILING, tasks=TASKS, gate=gate()), tmp_path) as (evaluation, session, views):
        _, rules = pin_new_baselines(session, evaluation.around)
        measurement = measure(session, views, evaluation.around, rules)
        evaluation.executor.unreachable = True
        assert confirm(session, views, measurement, rules) is None
        planned = json.loads((evaluation.run_dir / "plan.json").read_bytes())["jobs"]
        assert [entry["name"] for entry in planned] == ["alpha", "beta", "alpha.again"]
        assert len(evaluation.executor.started) == 2


def test_a_confirmation_gets_what_the_first_run_left_of_its_budget() -> None:
    job = make_test_plan("alpha").jobs[0]
    limited = replace(job, limits=Limits(budget={"requests": 10, "tokens": 100, "cost": 1.0}))
    paid = Amounts(requests=4, prompt_tokens=30, completion_tokens=10, cost_usd=0.25)

    def left(**changes: object) -> dict[str, float] | None:
        return remaining_budget(limited, make_task(paid=paid.model_copy(update=changes)))

    assert left() == {"requests": 6, "tokens": 60, "cost": 0.75}
    assert left(requests=10) is None
    assert left(cost_usd=None) is None
    assert remaining_budget(limited, make_task()) is None
    assert remaining_budget(job, make_task()) == {}


def test_a_task_whose_budget_is_used_up_is_not_confirmed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with settled(Scenario(scores=FAILING, tasks=TASKS, gate=gate()), tmp_path) as (evaluation, session, views):
        plan = session.invocation.plan
        jobs = tuple(replace(job, limits=Limits(budget={"requests": 9})) for job in plan.jobs)
        budgeted = replace(session, invocation=replace(session.invocation, plan=replace(plan, jobs=jobs)))
        limited = [replace(view, job=jobs[view.job.index]) for view in views]
        assert extension(evaluation, budgeted, limited) is None
        assert "alpha is not confirmed: nothing is left of its budget" in caplog.text
