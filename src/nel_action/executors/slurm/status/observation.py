"""Status of many attempts in at most two round trips."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Final

from nel_action.errors import UnreachableError
from nel_action.executors.slurm.layout import AttemptDir, ExitRecord, parse_exit_record
from nel_action.executors.slurm.remote import RemoteShell
from nel_action.executors.slurm.status.progress import ProgressReader
from nel_action.executors.slurm.status.queue import JobRow, parse_sacct, parse_squeue, sacct_commands, squeue_command
from nel_action.executors.slurm.status.reconciliation import (
    Sources,
    final_row,
    is_explained,
    reconcile,
    unobserved_reason,
)
from nel_action.executors.slurm.transport import CommandResult
from nel_action.model.job import Attempt, JobState, JobStatus, Key, Reason, attempt_name

__all__ = ["Observer"]

logger = logging.getLogger(__name__)

RECORD_GRACE: Final = 20.0
"""Seconds to wait for an exit record after Slurm reports the end: shared file systems show new files late."""

LOST_AFTER: Final = 180.0
"""Seconds after which a job that no source reports is considered lost."""

LOOKBACK_DAYS: Final = 30
"""Days of accounting to search if the time of submission is unknown."""

PATHS_PER_COMMAND: Final = 1000
"""Exit records per command."""

CONTROLLER_CLOCK: Final = ("sh", "-c", "scontrol show config | head -n 1")
"""Prints the controller's time, which job times refer to; the login node's clock may differ."""

ACCOUNTING_DISABLED: Final = "accounting storage is disabled"
"""Error message of `sacct` on a cluster without a database."""


@dataclass
class Observer:
    """Polls attempts, and remembers since when an inconclusive status has been unchanged."""

    remote: RemoteShell
    output_dir: str
    clock: Callable[[], float] = time.monotonic
    directories: dict[str, AttemptDir] = field(default_factory=dict)
    """Directories of attempts that were submitted with another `output_dir`, by name."""
    unschedulable: dict[str, list[int]] = field(default_factory=dict)
    """Queued Slurm jobs that can never start, by attempt name."""
    _progress: ProgressReader = field(default_factory=ProgressReader)
    _since: dict[str, tuple[tuple[JobState, Reason | None], float]] = field(default_factory=dict)
    _states: dict[str, JobState] = field(default_factory=dict)

    def directory(self, attempt: Attempt) -> AttemptDir:
        """Return an attempt's directory."""
        directory = self.directories.get(attempt_name(attempt.key, attempt.number))
        return directory or AttemptDir.of_attempt(self.output_dir, attempt)

    def poll(self, attempts: Sequence[Attempt]) -> Mapping[Key, JobStatus]:
        """Return the status of every attempt; unknown if it could not be observed."""
        try:
            statuses = self._poll(attempts)
        except UnreachableError as error:
            detail = error.problems[0].message
            statuses = {attempt.key: JobStatus(state=JobState.UNKNOWN, detail=detail) for attempt in attempts}
        for attempt in attempts:
            self._log_change(attempt, statuses[attempt.key])
        return statuses

    def _poll(self, attempts: Sequence[Attempt]) -> dict[Key, JobStatus]:
        if not attempts:
            return {}
        (result,) = self.remote.run(squeue_command())
        queue_error = result.error_line if result.code else None
        queue: dict[str, list[JobRow]] = {}
        for row in parse_squeue(result.text):
            queue.setdefault(row.name, []).append(row)
            self._remember_directory(row)
        statuses: dict[Key, JobStatus] = {}
        inactive = []
        for attempt in attempts:
            rows = queue.get(attempt_name(attempt.key, attempt.number), [])
            if any(row.active and row.state != "COMPLETING" for row in rows):
                statuses[attempt.key] = self._await_record(attempt, reconcile(Sources(queue=rows)), rows, None)
            else:
                inactive.append(attempt)
        running = [
            attempt
            for attempt in attempts
            if attempt.key in statuses and statuses[attempt.key].state is JobState.RUNNING
        ]
        if inactive or running:
            statuses |= self._poll_details(inactive, queue, queue_error, statuses, running)
        return statuses

    def _poll_details(
        self,
        inactive: Sequence[Attempt],
        queue: Mapping[str, Sequence[JobRow]],
        queue_error: str | None,
        statuses: Mapping[Key, JobStatus],
        running: Sequence[Attempt],
    ) -> dict[Key, JobStatus]:
        """Read the accounts and exit records of inactive attempts, and the progress of running ones.

        Args:
            inactive: attempts without an active job in the queue.
            queue: rows of the queue by attempt name.
            queue_error: why the controller did not answer.
            statuses: statuses of the running attempts.
            running: attempts whose progress is read.

        Returns:
            Statuses of the inactive attempts, and those of the running ones with progress.
        """
        names = [attempt_name(attempt.key, attempt.number) for attempt in inactive]
        sacct = sacct_commands(names, days=_lookback_days(inactive)) if names else []
        paths = [str(self.directory(attempt).exit_record) for attempt in inactive]
        chunks = [paths[start : start + PATHS_PER_COMMAND] for start in range(0, len(paths), PATHS_PER_COMMAND)]
        grep = [["grep", "-Hs", ".", *chunk] for chunk in chunks]
        directories = [self.directory(attempt) for attempt in running]
        progress_commands = self._progress.commands(directories) if directories else []
        clock_command = ["true"] if queue_error or not names else CONTROLLER_CLOCK
        clock, *results = self.remote.run(clock_command, *sacct, *grep, *progress_commands)
        n_sacct, n_sources = len(sacct), len(sacct) + len(grep)
        progress = self._progress.parse(directories, results[n_sources:]) if directories else {}
        updated = {
            attempt.key: replace(statuses[attempt.key], progress=progress.get(str(self.directory(attempt).path)))
            for attempt in running
        }
        records = _parse_records(results[n_sacct:n_sources])
        accounting, accounting_error, has_accounting = self._parse_accounting(results[:n_sacct])
        now = _timestamp(f"{clock.text.split()[-1]}Z") if clock.text.strip() else None
        for attempt, name in zip(inactive, names, strict=True):
            sources = Sources(
                queue=queue.get(name, ()),
                accounting=accounting.get(name, ()),
                record=records.get(str(self.directory(attempt).exit_record)),
                queue_error=queue_error,
                accounting_error=accounting_error,
                has_accounting=has_accounting,
            )
            updated[attempt.key] = self._conclude(attempt, sources, now)
        return updated

    def _parse_accounting(self, results: Sequence[CommandResult]) -> tuple[dict[str, list[JobRow]], str | None, bool]:
        """Return the rows by attempt name, the error of `sacct`, and whether the cluster has a database."""
        rows: dict[str, list[JobRow]] = {}
        error, has_accounting = None, True
        for result in results:
            if result.code and ACCOUNTING_DISABLED in result.error_text.lower():
                has_accounting = False
            elif result.code:
                error = result.error_line
            for row in parse_sacct(result.text):
                rows.setdefault(row.name, []).append(row)
                self._remember_directory(row)
        return rows, error, has_accounting

    def _remember_directory(self, row: JobRow) -> None:
        if row.directory and not row.directory.startswith(f"{self.output_dir}/") and row.directory.endswith(row.name):
            self.directories[row.name] = AttemptDir(PurePosixPath(row.directory))

    def _conclude(self, attempt: Attempt, sources: Sources, now: float | None) -> JobStatus:
        """Return the status of an inactive attempt; a final one only if no source can contradict it later.

        Args:
            attempt: the attempt.
            sources: everything observed about it.
            now: the controller's time, in seconds since 1970.
        """
        status = reconcile(sources)
        if sources.conclusive:
            return status
        row = final_row(sources)
        if status.state.final and row is None and sources.error:
            detail = f"finished for an unknown reason: {unobserved_reason(sources)}"
            return JobStatus(state=JobState.UNKNOWN, detail=detail)
        unreported = status.state is JobState.UNKNOWN and not sources.error
        if unreported and self._unchanged_for(attempt, status, LOST_AFTER):
            detail = "Slurm reports no such job, and there is no exit record; its directory may have been removed"
            return JobStatus(state=JobState.FAILED, reason=Reason.INFRASTRUCTURE, detail=detail)
        if row is not None and (
            is_explained(sources, row) or (row.state == "CANCELLED" and not sources.has_accounting)
        ):
            return status
        return self._await_record(attempt, status, sources.queue, row, now)

    def _await_record(
        self,
        attempt: Attempt,
        status: JobStatus,
        queue: Sequence[JobRow],
        row: JobRow | None,
        now: float | None = None,
    ) -> JobStatus:
        """Withhold a final status without an exit record until `RECORD_GRACE` has passed.

        Args:
            attempt: the attempt.
            status: the status that Slurm's rows yield.
            queue: the attempt's rows in the queue.
            row: row of its last job.
            now: the controller's time, in seconds since 1970.
        """
        waiting = [each.job for each in queue if each.waiting]
        if not status.state.final:
            return status
        if self._unchanged_for(attempt, status, RECORD_GRACE):
            if waiting:
                self.unschedulable[attempt_name(attempt.key, attempt.number)] = waiting
            return status
        if waiting:
            return JobStatus(state=JobState.PENDING, detail=status.detail)
        ended = _timestamp(row.ended) if row is not None and row.ended else None
        if ended is not None and now is not None and now - ended > RECORD_GRACE:
            return status
        state = next((each.state for each in queue if not each.active), row.state if row else status.state)
        return JobStatus(state=JobState.UNKNOWN, detail=f"Slurm reports {state}; waiting for the job's exit record")

    def _unchanged_for(self, attempt: Attempt, status: JobStatus, seconds: float) -> bool:
        """Whether this status has been observed for that many seconds."""
        name, observed = attempt_name(attempt.key, attempt.number), (status.state, status.reason)
        previous = self._since.get(name)
        if previous is None or previous[0] != observed:
            self._since[name] = (observed, self.clock())
            return False
        return self.clock() - previous[1] >= seconds

    def _log_change(self, attempt: Attempt, status: JobStatus) -> None:
        name = attempt_name(attempt.key, attempt.number)
        if self._states.get(name) is not status.state:
            self._states[name] = status.state
            detail = f" ({status.detail})" if status.detail else ""
            logger.info("%s, Slurm job %s: %s%s", name, attempt.backend_id, status.state.value, detail)


def _parse_records(results: Sequence[CommandResult]) -> dict[str, ExitRecord | None]:
    """Parse lines of `grep -H`; return the exit records by path."""
    records = {}
    for result in results:
        for line in result.text.splitlines():
            path, _, text = line.partition(".json:")
            records[f"{path}.json"] = parse_exit_record(text)
    return records


def _timestamp(text: str) -> float | None:
    """Return seconds since 1970; None for a text that is not a time."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None


def _lookback_days(attempts: Sequence[Attempt]) -> int:
    """Return how many days of accounting cover all of the attempts."""
    times = [_timestamp(attempt.submitted) if attempt.submitted else None for attempt in attempts]
    known = [time_ for time_ in times if time_ is not None]
    if len(known) < len(times):
        return LOOKBACK_DAYS
    return max(2, int((datetime.now(UTC).timestamp() - min(known)) // 86_400) + 2)
