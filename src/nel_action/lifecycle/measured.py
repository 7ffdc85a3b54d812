"""Whether a job's result is a measurement, and what follows from it: closing its record, or running it again."""

from __future__ import annotations

import json
import logging

from nel_action.errors import NelActionError, ResultsError
from nel_action.executors.interface import Recording
from nel_action.files import write_atomically
from nel_action.ledger import AttemptRow
from nel_action.lifecycle.session import Session
from nel_action.model.results import MAX_UNANSWERED, JobOutcome, TaskResult, read_results
from nel_action.model.run_files import JobFiles

__all__ = ["close_record", "is_measured", "unmeasured_jobs"]

logger = logging.getLogger(__name__)


def is_measured(result: TaskResult) -> bool:
    """Return whether a result is complete: with scores of all items, and with answers to the requests."""
    if result.outcome is not JobOutcome.SUCCEEDED or result.reason is not None or not result.scores:
        return False
    if result.n_expected is not None and (result.n_items is None or result.n_items < result.n_expected):
        return False
    health = result.health
    return health is None or health.unanswered <= 1 or health.share("unanswered") <= MAX_UNANSWERED


def unmeasured_jobs(session: Session) -> set[int]:
    """Return the indexes of jobs whose collected result is not a measurement; empty before anything was collected."""
    try:
        results = read_results(session.invocation.files.results)
    except ResultsError:
        return set()
    ids = {result.job_id for result in results.tasks if not is_measured(result)}
    return {job.index for job in session.invocation.plan.jobs if session.invocation.job_id(job) in ids}


def close_record(session: Session, row: AttemptRow, files: JobFiles) -> None:
    """Close the record of a job's requests once, so that they are never replayed for another evaluation.

    Args:
        session: the invocation.
        row: the attempt with the result.
        files: of the job in the run directory.
    """
    if not isinstance(session.executor, Recording) or not files.collected.is_file():
        return
    marker = json.loads(files.collected.read_bytes())
    if marker.get("record_closed"):
        return
    try:
        session.executor.close_record(row.backend_attempt)
    except NelActionError as error:
        # NOTE: the next collection tries again.
        logger.warning("%s: its record could not be closed: %s", row.name, error)
        return
    write_atomically(files.collected, (json.dumps(marker | {"record_closed": True}) + "\n").encode())
