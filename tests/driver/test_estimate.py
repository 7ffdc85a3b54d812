"""Estimates from earlier runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.support.gate_results import make_results, make_task
from tests.support.plans import make_test_plan

from nel_action.cli.dry_run import _estimate as estimate_text
from nel_action.driver.estimate import estimate
from nel_action.ledger import InvocationRow, Ledger
from nel_action.model.results import Amounts, TaskResult, write_results
from nel_action.planning.jobs import Limits, Plan

USED = Amounts(requests=200, prompt_tokens=1_000_000, completion_tokens=500_000)


def earlier_run(home: Path, name: str, task: TaskResult, created: str = "2026-11-22T10:30:45Z") -> None:
    folder = home / "runs" / name
    folder.mkdir(parents=True)
    write_results(make_results(task), folder / "results.json")
    with Ledger(home) as ledger:
        ledger.add(InvocationRow(id=name, created=created, run_dir=folder, spec="s.yaml", executor="local"))


def plan_of(*names: str, prices: dict[str, float] | None = None) -> Plan:
    plan = make_test_plan(*names)
    return replace(plan, jobs=tuple(replace(job, limits=Limits(prices=prices or {})) for job in plan.jobs))


def measured(name: str = "alpha", **changes: object) -> TaskResult:
    return make_task(name, **{"model": "tiny", "harness": "command", "used": USED} | changes)


def test_the_newest_run_with_token_counts_is_the_estimate(tmp_path: Path) -> None:
    earlier_run(tmp_path, "a" * 16, measured(used=Amounts(requests=1, prompt_tokens=1)), "2026-11-20T10:30:45Z")
    earlier_run(tmp_path, "b" * 16, measured(), "2026-11-21T10:30:45Z")
    earlier_run(tmp_path, "c" * 16, measured(used=None), "2026-11-22T10:30:45Z")
    earlier_run(tmp_path, "d" * 16, measured(used=Amounts(requests=5, without_usage=5)), "2026-11-23T10:30:45Z")
    (tmp_path / "runs" / ("d" * 16) / "results.json").write_text("damaged")
    found = estimate(plan_of("alpha", prices={"input": 2.0, "output": 10.0}), tmp_path)
    assert (found.requests, found.tokens, found.cost_usd) == (200, 1_500_000, 7.0)
    assert found.sources == ("b" * 16,)
    assert estimate(plan_of("alpha"), tmp_path).cost_usd is None


def test_an_earlier_run_is_scaled_to_the_number_of_items(tmp_path: Path) -> None:
    earlier_run(tmp_path, "a" * 16, measured(n_items=200))
    plan = plan_of("alpha")
    (job,) = plan.jobs
    params = replace(job.task.params, limit_samples=50)
    smaller = replace(plan, jobs=(replace(job, task=replace(job.task, params=params)),))
    assert (estimate(smaller, tmp_path).requests, estimate(smaller, tmp_path).tokens) == (50, 375_000)


def test_the_text_names_tasks_without_an_estimate_or_states_that_there_is_none(tmp_path: Path) -> None:
    none = "estimate: none, no earlier run of these tasks on this machine has token counts"
    assert estimate_text(plan_of("alpha", "beta"), tmp_path / "new") == none
    assert not (tmp_path / "new").exists()
    earlier_run(tmp_path, "a" * 16, measured())
    text = estimate_text(plan_of("alpha", "beta"), tmp_path)
    assert text.startswith("estimate: 200 requests, 1,500,000 tokens, unknown cost")
    assert text.endswith(f"by 1 earlier run ({'a' * 16}); without beta, which no run measured")
    priced = estimate_text(plan_of("alpha", prices={"input": 2.0, "output": 10.0}), tmp_path)
    assert "7.00 USD" in priced
