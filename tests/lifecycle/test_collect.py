"""Results say what was seen: whole ones with scores, anything else with a reason and none."""

from __future__ import annotations

import json
from pathlib import Path

from tests.doubles.executor import MemoryExecutor
from tests.support.plans import make_test_plan, new_session

from nel_action.lifecycle.collect import collect
from nel_action.lifecycle.session import Session
from nel_action.lifecycle.submit import submit
from nel_action.lifecycle.waiting import refresh
from nel_action.model.job import JobState, Reason
from nel_action.model.results import JobOutcome, Results, read_results, read_samples

SCORES = json.dumps({"scores": {"accuracy": {"value": 0.5, "stderr": 0.1, "n": 2}}, "n_items": 2, "n_expected": 2})
SAMPLES = '{"id": "a", "scores": {"accuracy": 1.0}}\n{"id": "b", "scores": {"accuracy": 0.0}}\n'


def ended(tmp_path: Path, executor: MemoryExecutor, state: JobState = JobState.SUCCEEDED, **more: object) -> Session:
    session = new_session(make_test_plan("alpha"), executor, tmp_path)
    submit(session)
    executor.end(session.invocation.plan.jobs[0].key, state, **more)
    refresh(session)
    return session


def collected(session: Session) -> Results:
    return collect(session, session.views())


def test_a_whole_result_is_read_with_its_samples(tmp_path: Path) -> None:
    executor = MemoryExecutor()
    session = ended(tmp_path, executor)
    executor.artifacts[session.invocation.plan.jobs[0].key] = {"scores.json": SCORES, "samples.jsonl": SAMPLES}
    results = collected(session)
    task = results.tasks[0]
    assert (task.outcome, task.scores[0].value, task.n_items, task.seconds) == (JobOutcome.SUCCEEDED, 0.5, 2, 5.0)
    assert read_results(session.invocation.run_dir / "results.json") == results
    assert task.samples is not None
    assert [sample.id for sample in read_samples(session.invocation.run_dir / task.samples)] == ["a", "b"]


def test_exit_0_without_results_is_a_failure_with_a_reason(tmp_path: Path) -> None:
    executor = MemoryExecutor()
    session = ended(tmp_path, executor)
    executor.artifacts[session.invocation.plan.jobs[0].key] = {}
    task = collected(session).tasks[0]
    assert (task.outcome, task.reason, task.scores) == (JobOutcome.FAILED, "results", ())
    assert "scores.json" in (task.detail or "")


def test_truncated_results_are_a_failure_with_a_reason(tmp_path: Path) -> None:
    executor = MemoryExecutor()
    session = ended(tmp_path, executor)
    executor.artifacts[session.invocation.plan.jobs[0].key] = {"scores.json": SCORES[:-9]}
    task = collected(session).tasks[0]
    assert (task.outcome, task.reason, task.scores) == (JobOutcome.FAILED, "results", ())


def test_artifacts_that_do_not_come_whole_are_fetched_again_later(tmp_path: Path) -> None:
    executor = MemoryExecutor()
    session = ended(tmp_path, executor)
    task = collected(session).tasks[0]
    assert (task.outcome, task.reason) == (JobOutcome.FAILED, "collect")
    executor.artifacts[session.invocation.plan.jobs[0].key] = {"scores.json": SCORES}
    assert collected(session).tasks[0].outcome is JobOutcome.SUCCEEDED


def test_what_came_whole_is_not_fetched_twice(tmp_path: Path) -> None:
    executor = MemoryExecutor()
    session = ended(tmp_path, executor)
    executor.artifacts[session.invocation.plan.jobs[0].key] = {"scores.json": SCORES}
    collected(session)
    collected(session)
    assert executor.calls.count("collect") == 1


def test_a_failed_job_keeps_its_reason_whatever_it_left(tmp_path: Path) -> None:
    executor = MemoryExecutor()
    session = ended(tmp_path, executor, JobState.FAILED, reason=Reason.OUT_OF_MEMORY, detail="killed at 8 GiB")
    executor.artifacts[session.invocation.plan.jobs[0].key] = {"scores.json": SCORES}
    task = collected(session).tasks[0]
    assert (task.outcome, task.reason, task.scores) == (JobOutcome.FAILED, "out_of_memory", ())


def test_jobs_that_run_or_cannot_be_seen_have_no_scores(tmp_path: Path) -> None:
    executor = MemoryExecutor()
    session = new_session(make_test_plan("alpha"), executor, tmp_path)
    assert collected(session).tasks[0].outcome is JobOutcome.RUNNING
    submit(session)
    executor.unreachable = True
    refresh(session)
    assert collected(session).tasks[0].outcome is JobOutcome.UNKNOWN


def test_the_limit_says_how_many_items_there_should_be(tmp_path: Path) -> None:
    from dataclasses import replace

    executor = MemoryExecutor()
    plan = make_test_plan("alpha")
    task = replace(plan.jobs[0].task, expected_items=100, params=replace(plan.jobs[0].task.params, limit_samples=10))
    session = new_session(replace(plan, jobs=(replace(plan.jobs[0], task=task),)), executor, tmp_path)
    submit(session)
    executor.end(plan.jobs[0].key)
    refresh(session)
    executor.artifacts[plan.jobs[0].key] = {"scores.json": SCORES}
    assert collected(session).tasks[0].n_expected == 10
