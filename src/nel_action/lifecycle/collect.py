"""From finished jobs to `results.json`: bring artifacts home, read them, and say of each what was seen."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from nel_action.errors import CollectError, ResultsError
from nel_action.files import write_atomically
from nel_action.formats.parsing import ParsedResult
from nel_action.harnesses.registry import harness
from nel_action.ledger import AttemptRow, now
from nel_action.lifecycle.merging import pooled
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
from nel_action.model.task import HarnessTask
from nel_action.planning.jobs import Job
from nel_action.version import __version__

__all__ = ["collect"]

COLLECTED = "collected.json"
"""In a job's directory: which attempt's artifacts lie there, whole."""

OUTCOMES = {
    JobState.SUCCEEDED: JobOutcome.SUCCEEDED,
    JobState.FAILED: JobOutcome.FAILED,
    JobState.CANCELLED: JobOutcome.CANCELLED,
    JobState.UNKNOWN: JobOutcome.UNKNOWN,
    JobState.PENDING: JobOutcome.RUNNING,
    JobState.RUNNING: JobOutcome.RUNNING,
}


def collect(session: Session, views: list[JobView]) -> Results:
    """Bring home what finished jobs left, read it and write `results.json`.

    Safe to call again: what came home whole is not fetched twice. A job whose artifacts do not come whole, or
    hold no whole result, stands in the results without scores and with the reason. A job that was run once more, with
    another seed, has one result of both runs.
    """
    invocation = session.invocation
    found = {view.job.index: _task_result(session, view) for view in views}
    again = {view.job.repeats: found[view.job.index] for view in views if view.job.repeats is not None}
    firsts = (view.job.index for view in views if view.job.repeats is None)
    results = Results(
        invocation=invocation.id,
        created=now(),
        tool_version=__version__,
        repository=invocation.plan.context.repository,
        commit=invocation.plan.context.commit,
        spec_digest=invocation.spec_digest,
        tasks=tuple(
            pooled(found[index], again[index], invocation.run_dir) if index in again else found[index]
            for index in firsts
        ),
    )
    path = invocation.run_dir / "results.json"
    results = _as_before(results, path)
    write_results(results, path)
    return results


def _as_before(results: Results, path: Path) -> Results:
    """Keep the time of results that are there already and say the same, so that exports of them change nothing."""
    if not path.is_file():
        return results
    try:
        before = read_results(path)
    except ResultsError:
        return results
    return before if before == results.model_copy(update={"created": before.created}) else results


def _task_result(session: Session, view: JobView) -> TaskResult:
    row = view.attempt
    bare = _bare(session, view)
    if row is None or not row.backend_id or view.state in {JobState.PENDING, JobState.RUNNING, JobState.UNKNOWN}:
        return bare
    try:
        _bring_home(session, view.job, row)
    except CollectError as error:
        detail = error.problems[0].message
        return bare if view.state is not JobState.SUCCEEDED else _unreadable(bare, "collect", detail)
    if view.state is not JobState.SUCCEEDED:
        return bare
    try:
        reading = harness(view.job.harness).read(view.job.task, session.invocation.job_dir(view.job) / "artifacts")
        return _with_reading(session, view.job, bare, reading)
    except ResultsError as error:
        return _unreadable(bare, "results", error.problems[0].message)


def _bring_home(session: Session, job: Job, row: AttemptRow) -> None:
    """Fetch artifacts and logs, unless this attempt's are here already."""
    home = session.invocation.job_dir(job)
    marker = home / COLLECTED
    name = attempt_name(job.key, row.number)
    if marker.is_file() and json.loads(marker.read_bytes()).get("attempt") == name:
        return
    marker.unlink(missing_ok=True)
    session.executor.collect(row.backend_attempt, home)
    # NOTE: a failed job's log may still grow elsewhere; only a success is known to be complete.
    if row.state is JobState.SUCCEEDED:
        write_atomically(marker, (json.dumps({"attempt": name, "collected": now()}) + "\n").encode())


def _bare(session: Session, view: JobView) -> TaskResult:
    """Return what is known of a job without its artifacts."""
    job, row = view.job, view.attempt
    params = {name: value for name, value in asdict(job.task.params).items() if value not in (None, {})}
    image = (
        job.image if not job.image_digest or not job.image or "@" in job.image else f"{job.image}@{job.image_digest}"
    )
    return TaskResult(
        task=job.task.display,
        model=job.model,
        job_id=f"{session.invocation.id}.{job.index}",
        key=job.key,
        outcome=OUTCOMES[view.state],
        reason=row.reason if row else None,
        detail=row.detail if row else None,
        primary_metric=job.task.metric,
        harness=job.harness,
        params=params,
        image=image,
        environment=_environment(job),
        started=row.started if row else None,
        ended=row.ended if row else None,
        seconds=_seconds(row),
        attempts=row.number if row else 0,
    )


def _environment(job: Job) -> str | None:
    """Return the digest of the requirements that the harness's environment was made from."""
    if job.requirements is None or not Path(job.requirements).is_file():
        return None
    return f"sha256:{hashlib.sha256(Path(job.requirements).read_bytes()).hexdigest()}"


def _seconds(row: AttemptRow | None) -> float | None:
    if row is None or not row.started or not row.ended:
        return None
    return (datetime.fromisoformat(row.ended) - datetime.fromisoformat(row.started)).total_seconds()


def _unreadable(bare: TaskResult, reason: str, detail: str) -> TaskResult:
    """Return a result without scores: the job succeeded, and yet there is nothing to judge."""
    return bare.model_copy(update={"outcome": JobOutcome.FAILED, "reason": reason, "detail": detail, "scores": ()})


def _with_reading(session: Session, job: Job, bare: TaskResult, reading: ParsedResult) -> TaskResult:
    samples = None
    if reading.samples is not None:
        samples = f"samples/{job.name}.jsonl.gz"
        write_samples(reading.samples, session.invocation.run_dir / samples)
    return bare.model_copy(
        update={
            **reading.task_fields(),
            "scores": tuple(_directed(score, job.task) for score in reading.scores),
            "primary_metric": reading.primary_metric or job.task.metric,
            "n_expected": _expected(job.task, reading),
            "samples": samples,
        }
    )


def _directed(score: Score, task: HarnessTask) -> Score:
    """Fill in which way is better where only the catalog knows."""
    if score.higher_is_better is None and task.higher_is_better is not None and score.metric == task.metric:
        return score.model_copy(update={"higher_is_better": task.higher_is_better})
    return score


def _expected(task: HarnessTask, reading: ParsedResult) -> int | None:
    """Return how many items there should be: as the harness reckons, else the limit, where it is below the whole."""
    limit = task.params.limit_samples
    whole = task.expected_items
    if whole is None or reading.n_expected is not None:
        return reading.n_expected
    if limit is None:
        return whole
    return min(whole, limit) if isinstance(limit, int) else round(whole * limit)
