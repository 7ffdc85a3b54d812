from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from tests.doubles.executor import MemoryExecutor
from tests.support.plans import make_test_plan, new_session

from nel_action.lifecycle.collect import collect
from nel_action.lifecycle.session import Session
from nel_action.lifecycle.submit import resume, submit
from nel_action.lifecycle.waiting import refresh
from nel_action.model.job import JobState, Reason
from nel_action.model.results import JobOutcome, Results, read_results, read_samples

SCORES = json.dumps({"scores": {"accuracy": {"value": 0.5, "stderr": 0.1, "n": 2}}, "n_items": 2, "n_expected": 2})
SAMPLES = '{"id": "a", "scores": {"accuracy": 1.0}}\n{"id": "b", "scores": {"accuracy": 0.0}}\n'


def finished_session(
    tmp_path: Path, executor: MemoryExecutor, state: JobState = JobState.SUCCEEDED, **more: object
) -> Session:
    session = new_session(make_test_plan("alpha"), executor, tmp_path)
    submit(session)
    executor.finish(session.invocation.plan.jobs[0].key, state, **more)
    refresh(session)
    return session


def collected(session: Session) -> Results:
    return collect(session, session.views())


def test_collect_reads_scores_and_samples(tmp_path: Path) -> None:
    executor = MemoryExecutor()
    session = finished_session(tmp_path, executor)
    executor.artifacts[session.invocation.plan.jobs[0].key] = {"scores.json": SCORES, "samples.jsonl": SAMPLES}
    results = collected(session)
    task = results.tasks[0]
    assert (task.outcome, task.scores[0].value, task.n_items, task.seconds) == (JobOutcome.SUCCEEDED, 0.5, 2, 5.0)
    assert read_results(session.invocation.run_dir / "results.json") == results
    assert task.samples is not None
    assert [sample.id for sample in read_samples(session.invocation.run_dir / task.samples)] == ["a", "b"]


def test_success_without_result_files_is_a_failure_with_a_reason(tmp_path: Path) -> None:
    executor = MemoryExecutor()
    session = finished_session(tmp_path, executor)
    executor.artifacts[session.invocation.plan.jobs[0].key] = {}
    task = collected(session).tasks[0]
    assert (task.outcome, task.reason, task.scores) == (JobOutcome.FAILED, "results", ())
    assert "scores.json" in (task.detail or "")


def test_truncated_result_file_is_a_failure_with_a_reason(tmp_path: Path) -> None:
    executor = MemoryExecutor()
    session = finished_session(tmp_path, executor)
    executor.artifacts[session.invocation.plan.jobs[0].key] = {"scores.json": SCORES[:-9]}
    task = collected(session).tasks[0]
    assert (task.outcome, task.reason, task.scores) == (JobOutcome.FAILED, "results", ())


def test_incomplete_artifacts_are_collected_again_by_the_next_call(tmp_path: Path) -> None:
    executor = MemoryExecutor()
    session = finished_session(tmp_path, executor)
    task = collected(session).tasks[0]
    assert (task.outcome, task.reason) == (JobOutcome.FAILED, "collect")
    executor.artifacts[session.invocation.plan.jobs[0].key] = {"scores.json": SCORES}
    assert collected(session).tasks[0].outcome is JobOutcome.SUCCEEDED


def test_complete_artifacts_are_collected_once(tmp_path: Path) -> None:
    executor = MemoryExecutor()
    session = finished_session(tmp_path, executor)
    executor.artifacts[session.invocation.plan.jobs[0].key] = {"scores.json": SCORES}
    collected(session)
    collected(session)
    assert executor.calls.count("collect") == 1


def test_artifacts_of_a_failed_job_are_collected_again(tmp_path: Path) -> None:
    executor = MemoryExecutor()
    session = finished_session(tmp_path, executor, JobState.FAILED, reason=Reason.HARNESS)
    executor.artifacts[session.invocation.plan.jobs[0].key] = {"scores.json": SCORES}
    collected(session)
    collected(session)
    assert executor.calls.count("collect") == 2


def test_artifacts_of_a_new_attempt_are_collected(tmp_path: Path) -> None:
    executor = MemoryExecutor()
    session = finished_session(tmp_path, executor)
    key = session.invocation.plan.jobs[0].key
    executor.artifacts[key] = {"scores.json": SCORES}
    collected(session)
    executor.finish(key, JobState.FAILED)
    session.ledger.record(replace(session.attempts()[0], state=JobState.FAILED))
    resume(session)
    executor.artifacts[key] = {"scores.json": SCORES.replace("0.5", "0.25")}
    executor.finish(key)
    refresh(session)
    assert collected(session).tasks[0].scores[0].value == 0.25


def test_marker_of_complete_artifacts_is_removed_before_others_are_collected(tmp_path: Path) -> None:
    executor = MemoryExecutor()
    session = finished_session(tmp_path, executor)
    job = session.invocation.plan.jobs[0]
    executor.artifacts[job.key] = {"scores.json": SCORES}
    collected(session)
    marker = session.invocation.job_dir(job) / "collected.json"
    assert marker.is_file()
    executor.finish(job.key, JobState.FAILED)
    session.ledger.record(replace(session.attempts()[0], state=JobState.FAILED))
    resume(session)
    executor.finish(job.key)
    refresh(session)
    del executor.artifacts[job.key]
    assert collected(session).tasks[0].reason == "collect"
    assert not marker.exists()


def test_failed_job_keeps_its_reason_and_has_no_scores(tmp_path: Path) -> None:
    executor = MemoryExecutor()
    session = finished_session(
        tmp_path, executor, JobState.FAILED, reason=Reason.OUT_OF_MEMORY, detail="killed at 8 GiB"
    )
    executor.artifacts[session.invocation.plan.jobs[0].key] = {"scores.json": SCORES}
    task = collected(session).tasks[0]
    assert (task.outcome, task.reason, task.scores) == (JobOutcome.FAILED, "out_of_memory", ())


def test_active_and_unobservable_jobs_have_no_scores(tmp_path: Path) -> None:
    executor = MemoryExecutor()
    session = new_session(make_test_plan("alpha"), executor, tmp_path)
    assert collected(session).tasks[0].outcome is JobOutcome.RUNNING
    submit(session)
    executor.unreachable = True
    refresh(session)
    assert collected(session).tasks[0].outcome is JobOutcome.UNKNOWN


def test_expected_item_count_is_limited_by_limit_samples(tmp_path: Path) -> None:
    executor = MemoryExecutor()
    plan = make_test_plan("alpha")
    task = replace(plan.jobs[0].task, expected_items=100, params=replace(plan.jobs[0].task.params, limit_samples=10))
    session = new_session(replace(plan, jobs=(replace(plan.jobs[0], task=task),)), executor, tmp_path)
    submit(session)
    executor.finish(plan.jobs[0].key)
    refresh(session)
    executor.artifacts[plan.jobs[0].key] = {"scores.json": SCORES}
    assert collected(session).tasks[0].n_expected == 10
