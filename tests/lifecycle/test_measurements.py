"""Health, tokens and cost from the gateway's counters."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.doubles.executor import MemoryExecutor
from tests.lifecycle.test_collect import SCORES, collected, finished_session
from tests.support.gate_results import make_task

from nel_action.executors.gateway import COUNTERS_FILE
from nel_action.gateway.config import load_config
from nel_action.gateway.proxy import Proxy
from nel_action.lifecycle.measurements import merge_measurements, with_measurements
from nel_action.lifecycle.session import Session
from nel_action.lifecycle.submit import resume
from nel_action.lifecycle.waiting import refresh
from nel_action.model.job import JobState
from nel_action.model.results import Amounts, Health, JobOutcome

INVOCATION = "0123456789abcdef"
HEALTH = {"requests": 10, "unanswered": 2, "failed": 1, "cut": 3, "latency_mean_ms": 40.0, "latency_p95_ms": 99.0}
USED = {"requests": 9, "prompt_tokens": 90, "completion_tokens": 45, "without_usage": 0, "cost_usd": 0.5}
COUNTERS = {
    "health": HEALTH,
    "replayed": 4,
    "used": USED,
    "paid_total": {**USED, "requests": 5, "cost_usd": 0.25},
    "header": {"invocation": INVOCATION},
}


def write(logs: Path, counters: object) -> Path:
    logs.mkdir(exist_ok=True)
    (logs / COUNTERS_FILE).write_text(counters if isinstance(counters, str) else json.dumps(counters))
    return logs


def test_health_and_amounts_are_read_from_the_counters(tmp_path: Path) -> None:
    result = with_measurements(make_task(), write(tmp_path, COUNTERS), INVOCATION)
    assert result.health is not None
    assert (result.health.share("unanswered"), result.health.share("cut"), result.health.replayed) == (0.2, 0.3, 4)
    assert result.used == Amounts.model_validate(USED)
    assert result.paid is not None
    assert (result.paid.requests, result.paid.cost_usd) == (5, 0.25)
    assert result.usage == {
        "prompt_tokens": 90, "completion_tokens": 45, "cost_usd": 0.5, "latency_ms": 40.0, "error_rate": 0.1,
    }  # fmt: skip


def test_what_the_harness_reports_takes_precedence(tmp_path: Path) -> None:
    harness = make_task(usage={"prompt_tokens": 7.0})
    result = with_measurements(harness, write(tmp_path, COUNTERS), INVOCATION)
    assert (result.usage["prompt_tokens"], result.usage["completion_tokens"]) == (7.0, 45)


def test_a_job_of_another_invocation_costs_nothing(tmp_path: Path) -> None:
    result = with_measurements(make_task(), write(tmp_path, COUNTERS), "f" * 16)
    assert result.paid == Amounts(cost_usd=0)
    assert result.used == Amounts.model_validate(USED)


def test_unknown_tokens_and_prices_are_not_zero(tmp_path: Path) -> None:
    used = {**USED, "without_usage": 1, "cost_usd": None}
    result = with_measurements(make_task(), write(tmp_path, {**COUNTERS, "used": used}), INVOCATION)
    assert result.usage.keys() == {"latency_ms", "error_rate"}


@pytest.mark.parametrize(
    "counters",
    [
        "",
        "{",
        "[]",
        '{"health": {"requests": -1}}',
        '{"health": {"requests": "many"}}',
        '{"used": 3}',
        '{"header": 3}',
    ],
)
def test_a_damaged_file_measures_nothing(counters: str, tmp_path: Path) -> None:
    assert with_measurements(make_task(), write(tmp_path, counters), INVOCATION) == make_task()


def test_without_requests_nothing_was_measured(tmp_path: Path) -> None:
    proxy = Proxy(load_config('{"upstream": "http://127.0.0.1:9/v1/chat/completions"}'))
    result = with_measurements(make_task(), write(tmp_path, proxy.status()), INVOCATION)
    assert result.health is None
    assert result.usage == {}
    assert with_measurements(make_task(), tmp_path / "none", INVOCATION) == make_task()


def test_the_counters_of_the_gateway_have_every_field() -> None:
    status = Proxy(load_config('{"upstream": "http://127.0.0.1:9/v1/chat/completions"}')).status()
    assert set(Health.model_fields) - {"replayed"} <= status["health"].keys()
    assert set(Amounts.model_fields) == status["used"].keys() == status["paid_total"].keys()


def test_two_runs_are_counted_together_and_an_unmeasured_one_leaves_both_unknown() -> None:
    health, used = Health.model_validate(HEALTH), Amounts.model_validate(USED)
    first = make_task(health=health, used=used, paid=used)
    second = make_task(health=health.model_copy(update={"latency_p95_ms": 120.0}), used=used, paid=used)
    both = make_task(**merge_measurements(first, second))
    assert both.health is not None
    assert both.used is not None
    assert (both.health.requests, both.health.share("unanswered"), both.health.latency_p95_ms) == (20, 0.2, 120.0)
    assert (both.used.prompt_tokens, both.used.cost_usd) == (180, 1.0)
    assert make_task(**merge_measurements(first, make_task())).health is None


def test_collected_results_contain_the_measurements(tmp_path: Path) -> None:
    executor = MemoryExecutor()
    session = finished_session(tmp_path, executor)
    job = session.invocation.plan.jobs[0]
    executor.artifacts[job.key] = {"scores.json": SCORES}
    logs = session.invocation.job_dir(job) / "logs"
    logs.mkdir(parents=True)
    write(logs, {**COUNTERS, "header": {"invocation": session.invocation.id}})
    task = collected(session).tasks[0]
    assert task.health is not None
    assert task.paid is not None
    assert (task.health.unanswered, task.paid.requests) == (2, 5)


def measured_session(tmp_path: Path, scores: str = SCORES, **counters: object) -> tuple[Session, MemoryExecutor]:
    """Return a session with one finished job whose gateway wrote these counters."""
    executor = MemoryExecutor()
    session = finished_session(tmp_path, executor)
    job = session.invocation.plan.jobs[0]
    executor.artifacts[job.key] = {"scores.json": scores}
    logs = session.invocation.job_dir(job) / "logs"
    logs.mkdir(parents=True)
    write(logs, {"health": {"requests": 2}, **counters})
    return session, executor


def test_record_is_closed_once_when_a_measurable_result_is_collected(tmp_path: Path) -> None:
    session, executor = measured_session(tmp_path, recorded="partial")
    assert collected(session).tasks[0].recorded == "partial"
    collected(session)
    assert executor.calls.count("close_record") == 1
    assert resume(session).jobs == ()


@pytest.mark.parametrize(
    ("scores", "counters"),
    [
        (SCORES[:-9], {}),
        (SCORES.replace('"n_items": 2', '"n_items": 1'), {}),
        (SCORES, {"health": {"requests": 100, "unanswered": 2}}),
    ],
)
def test_record_of_an_unmeasured_job_stays_open_and_resume_runs_it_again(
    tmp_path: Path, scores: str, counters: dict[str, object]
) -> None:
    session, executor = measured_session(tmp_path, scores, **counters)
    collected(session)
    assert "close_record" not in executor.calls
    (job,) = resume(session).jobs
    assert executor.started == [(job.key, 1), (job.key, 2)]
    executor.finish(job.key)
    refresh(session)
    assert session.views()[0].state is JobState.SUCCEEDED


def test_models_that_differ_between_replayed_and_live_answers_are_unmeasurable(tmp_path: Path) -> None:
    session, executor = measured_session(tmp_path, replayed_models=["acme-1"], live_models=["acme-2"])
    task = collected(session).tasks[0]
    assert (task.outcome, task.reason, task.scores) == (JobOutcome.FAILED, "model", ())
    assert "replayed answers are of acme-1, the others of acme-2" in (task.detail or "")
    assert executor.calls.count("close_record") == 1, "the next attempt must not replay the other model's answers"
    assert len(resume(session).jobs) == 1


@pytest.mark.parametrize(("replayed", "live"), [([], ["a"]), (["a"], []), (["a"], ["a", "b"]), (["a", "b"], ["b"])])
def test_models_that_may_be_the_same_are_measured(tmp_path: Path, replayed: list[str], live: list[str]) -> None:
    session, _ = measured_session(tmp_path, replayed_models=replayed, live_models=live)
    assert collected(session).tasks[0].outcome is JobOutcome.SUCCEEDED


@pytest.mark.parametrize("state", [JobState.SUCCEEDED, JobState.FAILED])
def test_a_job_that_the_gateway_stopped_has_no_scores_whatever_the_harness_did(state: JobState, tmp_path: Path) -> None:
    executor = MemoryExecutor()
    session = finished_session(tmp_path, executor, state)
    job = session.invocation.plan.jobs[0]
    executor.artifacts[job.key] = {"scores.json": SCORES}
    logs = session.invocation.job_dir(job) / "logs"
    logs.mkdir(parents=True)
    detail = "budget.requests is exhausted: 5 requests of 5 were paid"
    write(logs, {**COUNTERS, "stopped": {"reason": "budget", "detail": detail}})
    task = collected(session).tasks[0]
    assert (task.outcome, task.reason, task.detail, task.scores) == (JobOutcome.FAILED, "budget", detail, ())
