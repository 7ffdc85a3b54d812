"""Collection: from finished jobs to `results.json`."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Final

from nel_action.errors import CollectError, ResultsError
from nel_action.executors.interface import BatchCollecting
from nel_action.files import write_atomically
from nel_action.formats.parsing import ParsedResult
from nel_action.harnesses.registry import harness
from nel_action.ledger import AttemptRow, now
from nel_action.lifecycle.measured import close_record, is_measured
from nel_action.lifecycle.measurements import model_change, stop_reason, with_measurements
from nel_action.lifecycle.merging import merge_runs
from nel_action.lifecycle.redact_files import redact_job_files
from nel_action.lifecycle.session import JobView, Session
from nel_action.model.job import JobState, attempt_name
from nel_action.model.results import (
    JobOutcome,
    Results,
    Score,
    TaskResult,
    read_results,
    write_results,
    write_samples,
)
from nel_action.model.run_files import JobFiles
from nel_action.model.task import HarnessTask
from nel_action.planning.jobs import Job
from nel_action.version import __version__

__all__ = ["collect"]

logger = logging.getLogger(__name__)

_OUTCOMES: Final = {
    JobState.SUCCEEDED: JobOutcome.SUCCEEDED,
    JobState.FAILED: JobOutcome.FAILED,
    JobState.CANCELLED: JobOutcome.CANCELLED,
    JobState.UNKNOWN: JobOutcome.UNKNOWN,
    JobState.PENDING: JobOutcome.RUNNING,
    JobState.RUNNING: JobOutcome.RUNNING,
}


def collect(session: Session, views: list[JobView]) -> Results:
    """Copy the artifacts of finished jobs, parse them and write `results.json`.

    Safe to call again: complete artifacts are not copied a second time. A job whose artifacts are incomplete or contain
    no complete result is in the results without scores and with the reason. A job with a confirmation run has one
    result of both runs.

    Args:
        session: the invocation.
        views: its jobs, as last observed.
    """
    invocation = session.invocation
    _announce(session, views)
    results_by_job = {view.job.index: _task_result(session, view) for view in views}
    confirmations = {view.job.repeats: results_by_job[view.job.index] for view in views if view.job.repeats is not None}
    tasks = [
        merge_runs(results_by_job[index], confirmations[index], invocation.run_dir)
        if index in confirmations
        else results_by_job[index]
        for index in (view.job.index for view in views if view.job.repeats is None)
    ]
    results = Results(
        invocation=invocation.id,
        created=now(),
        tool_version=__version__,
        repository=invocation.plan.context.repository,
        commit=invocation.plan.context.commit,
        commit_source=invocation.plan.context.commit_source,
        spec_digest=invocation.spec_digest,
        tasks=tuple(tasks),
    )
    path = invocation.files.results
    results = _keep_creation_time(results, path)
    write_results(results, path)
    return results


def _announce(session: Session, views: Sequence[JobView]) -> None:
    """Tell the executor which attempts are going to be collected, if it can make use of it."""
    if isinstance(session.executor, BatchCollecting):
        rows = [(view.job, view.submitted) for view in views if view.submitted is not None and view.state.final]
        directory = session.invocation.job_dir
        missing = [row for job, row in rows if not _is_collected(row, JobFiles(directory(job)))]
        session.executor.expect_collection([row.backend_attempt for row in missing])


def _keep_creation_time(results: Results, path: Path) -> Results:
    """Return equal results that are on disk already, so that exporting them again changes nothing."""
    if not path.is_file():
        return results
    try:
        existing = read_results(path)
    except ResultsError:
        return results
    return existing if existing == results.model_copy(update={"created": existing.created}) else results


def _task_result(session: Session, view: JobView) -> TaskResult:
    row = view.submitted
    result = _without_scores(session, view)
    if row is None or not view.state.final:
        return result
    files = JobFiles(session.invocation.job_dir(view.job))
    try:
        _copy_artifacts(session, view.job, row, files)
    except CollectError as error:
        logger.info("%s: %s", view.job.name, error.problems[0].text)
        if view.state is not JobState.SUCCEEDED:
            return result
        return _unreadable(result, "collect", error.problems[0].text)
    if view.state is JobState.SUCCEEDED:
        try:
            parsed = harness(view.job.harness).read(view.job.task, files.artifacts)
            result = _with_scores(session, view.job, result, parsed)
        except ResultsError as error:
            result = _unreadable(result, "results", error.problems[0].text)
    result = with_measurements(result, files.logs, session.invocation.id)
    stop = stop_reason(files.logs) if view.job.gateway is not None else None
    if stop is not None:
        # NOTE: a harness that ignores the missing answers may even succeed.
        result = _unreadable(result, *stop)
    change = model_change(files.logs) if is_measured(result) else None
    if change is not None:
        result = _unreadable(result, "model", change)
    if view.job.gateway is not None and (change is not None or is_measured(result)):
        close_record(session, row, files)
    return result


def _copy_artifacts(session: Session, job: Job, row: AttemptRow, files: JobFiles) -> None:
    """Copy artifacts and logs of an attempt unless they are complete already."""
    if _is_collected(row, files):
        return
    files.collected.unlink(missing_ok=True)
    logger.info("collecting %s of invocation %s", row.name, row.invocation)
    session.executor.collect(row.backend_attempt, files.root)
    redact_job_files(job, files, session.environ)
    # NOTE: the log of a failed job may still grow on the backend; only that of a succeeded one is final.
    if row.state is JobState.SUCCEEDED:
        record = {"attempt": attempt_name(row.key, row.number), "collected": now()}
        write_atomically(files.collected, (json.dumps(record) + "\n").encode())


def _is_collected(row: AttemptRow, files: JobFiles) -> bool:
    """Return whether artifacts and logs of this attempt are complete on this machine."""
    name = attempt_name(row.key, row.number)
    return files.collected.is_file() and json.loads(files.collected.read_bytes()).get("attempt") == name


def _without_scores(session: Session, view: JobView) -> TaskResult:
    """Return the result of a job as far as it is known without artifacts."""
    job, row = view.job, view.attempt
    image = job.image
    if image and job.image_digest and "@" not in image:
        image = f"{image}@{job.image_digest}"
    return TaskResult(
        task=job.task.display,
        model=job.model,
        job_id=session.invocation.job_id(job),
        key=job.key,
        outcome=_OUTCOMES[view.state],
        reason=row.reason if row else None,
        detail=row.detail if row else None,
        primary_metric=job.task.metric,
        harness=job.harness,
        params={name: value for name, value in asdict(job.task.params).items() if value not in (None, {})},
        fingerprint=dict(job.fingerprint) if job.fingerprint is not None else None,
        image=image,
        environment=_requirements_digest(job),
        started=row.started if row else None,
        ended=row.ended if row else None,
        seconds=_seconds(row),
        attempts=row.number if row else 0,
    )


def _requirements_digest(job: Job) -> str | None:
    """Return the digest of the requirements file that the harness was installed from."""
    if job.requirements is None or not Path(job.requirements).is_file():
        return None
    return f"sha256:{hashlib.sha256(Path(job.requirements).read_bytes()).hexdigest()}"


def _seconds(row: AttemptRow | None) -> float | None:
    if row is None or not row.started or not row.ended:
        return None
    return (datetime.fromisoformat(row.ended) - datetime.fromisoformat(row.started)).total_seconds()


def _unreadable(result: TaskResult, reason: str, detail: str) -> TaskResult:
    """Return the result of a job that succeeded but left nothing that can be judged."""
    return result.model_copy(update={"outcome": JobOutcome.FAILED, "reason": reason, "detail": detail, "scores": ()})


def _with_scores(session: Session, job: Job, result: TaskResult, parsed: ParsedResult) -> TaskResult:
    samples = None
    if parsed.samples is not None:
        samples = f"{session.invocation.files.SAMPLES}/{job.name}.jsonl.gz"
        write_samples(parsed.samples, session.invocation.run_dir / samples)
    return result.model_copy(
        update={
            **parsed.task_fields(),
            "scores": tuple(_with_direction(score, job.task) for score in parsed.scores),
            "primary_metric": parsed.primary_metric or job.task.metric,
            "n_expected": _expected_items(job.task, parsed),
            "samples": samples,
        }
    )


def _with_direction(score: Score, task: HarnessTask) -> Score:
    """Add `higher_is_better` from the catalog if the harness does not report it."""
    if score.higher_is_better is None and task.higher_is_better is not None and score.metric == task.metric:
        return score.model_copy(update={"higher_is_better": task.higher_is_better})
    return score


def _expected_items(task: HarnessTask, parsed: ParsedResult) -> int | None:
    """Return the expected item count: that of the harness, else the size of the benchmark or `limit_samples`."""
    limit = task.params.limit_samples
    total = task.expected_items
    if total is None or parsed.n_expected is not None:
        return parsed.n_expected
    if limit is None:
        return total
    return min(total, limit) if isinstance(limit, int) else round(total * limit)
