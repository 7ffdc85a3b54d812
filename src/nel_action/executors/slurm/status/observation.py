"""Looking at many attempts at once: at most two round trips, whatever their number."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Final

from nel_action.errors import UnreachableError
from nel_action.executors.slurm.exit_record import parse_record
from nel_action.executors.slurm.layout import JobDir
from nel_action.executors.slurm.progress import ProgressReader
from nel_action.executors.slurm.remote import Remote
from nel_action.executors.slurm.status.queue import Row, parse_sacct, parse_squeue, sacct, squeue
from nel_action.executors.slurm.status.reconciliation import Sources, blind, ended_row, explained, reconcile
from nel_action.model.job import Attempt, JobState, JobStatus, Key, Reason, attempt_name

__all__ = ["Observer"]

GRACE: Final = 20.0
"""Seconds that a job's own record may come after Slurm's word: shared file systems show late what others wrote."""

LOST_AFTER: Final = 180.0
"""Seconds after which a job that everybody answers about and nobody knows is lost."""

LOOKBACK_DAYS: Final = 30
"""How far back accounts are asked where it is not known when a job was submitted."""

CHUNK: Final = 1000
"""Paths in one command line."""

CLOCK: Final = ("sh", "-c", "scontrol show config | head -n 1")
"""How the controller is asked for its own time, which its jobs' times are told in. Login nodes may have another."""

NO_ACCOUNTS: Final = "accounting storage is disabled"
"""What `sacct` says where there is no database."""


@dataclass
class Observer:
    """Looks, and remembers how long it has been told something that may still change."""

    remote: Remote
    output_dir: str
    clock: Callable[[], float] = time.monotonic
    directories: dict[str, JobDir] = field(default_factory=dict)
    """Where attempts lie that were submitted with another `output_dir`."""
    doomed: list[int] = field(default_factory=list)
    """Slurm jobs that will never start, and that somebody should take out of the queue."""
    _progress: ProgressReader = field(default_factory=ProgressReader)
    _since: dict[str, tuple[tuple[JobState, Reason | None], float]] = field(default_factory=dict)

    def place(self, attempt: Attempt) -> JobDir:
        """Return an attempt's directory."""
        known = self.directories.get(attempt_name(attempt.key, attempt.number))
        return known or JobDir.of_attempt(self.output_dir, attempt)

    def look(self, attempts: Sequence[Attempt]) -> Mapping[Key, JobStatus]:
        """Return every attempt's status; unknown where nothing could be seen, never left out."""
        try:
            return self._look(attempts)
        except UnreachableError as error:
            detail = error.problems[0].message
            return {attempt.key: JobStatus(state=JobState.UNKNOWN, detail=detail) for attempt in attempts}

    def _look(self, attempts: Sequence[Attempt]) -> dict[Key, JobStatus]:
        if not attempts:
            return {}
        (answer,) = self.remote.run(squeue())
        down = answer.complaint if answer.code else None
        queue: dict[str, list[Row]] = {}
        for row in parse_squeue(answer.text):
            queue.setdefault(row.name, []).append(row)
            self._remember(row)
        found: dict[Key, JobStatus] = {}
        quiet = []
        for attempt in attempts:
            rows = queue.get(attempt_name(attempt.key, attempt.number), [])
            if any(row.active and row.state != "COMPLETING" for row in rows):
                found[attempt.key] = self._firm(attempt, reconcile(Sources(queue=rows)), rows, None)
            else:
                quiet.append(attempt)
        at_work = [one for one in attempts if one.key in found and found[one.key].state is JobState.RUNNING]
        if quiet or at_work:
            found |= self._look_closer(quiet, queue, down, found, at_work)
        return found

    def _look_closer(
        self,
        attempts: Sequence[Attempt],
        queue: Mapping[str, Sequence[Row]],
        down: str | None,
        running: Mapping[Key, JobStatus],
        at_work: Sequence[Attempt],
    ) -> dict[Key, JobStatus]:
        """Ask accounts and the jobs' own records about those that the queue does not show alive.

        Those that run are asked how far they are.
        """
        names = [attempt_name(attempt.key, attempt.number) for attempt in attempts]
        asked = sacct(names, days=_days(attempts)) if names else []
        paths = [str(self.place(attempt).exit_record) for attempt in attempts]
        reads = [["grep", "-Hs", ".", *paths[start : start + CHUNK]] for start in range(0, len(paths), CHUNK)]
        places = [self.place(attempt) for attempt in at_work]
        far = self._progress.commands(places) if places else []
        clock, *answers = self.remote.run(["true"] if down or not names else CLOCK, *asked, *reads, *far)
        sources = len(asked) + len(reads)
        told = self._progress.read(places, answers[sources:]) if places else {}
        found = {
            attempt.key: replace(running[attempt.key], progress=told.get(str(self.place(attempt).path)))
            for attempt in at_work
        }
        records = {}
        for answer in answers[len(asked) : sources]:
            for line in answer.text.splitlines():
                path, _, text = line.partition(".json:")
                records[f"{path}.json"] = parse_record(text)
        accounts: dict[str, list[Row]] = {}
        trouble, accounting = None, True
        for answer in answers[: len(asked)]:
            if answer.code and NO_ACCOUNTS in answer.err.decode(errors="replace").lower():
                accounting = False
            elif answer.code:
                trouble = answer.complaint
            for row in parse_sacct(answer.text):
                accounts.setdefault(row.name, []).append(row)
                self._remember(row)
        for attempt, name in zip(attempts, names, strict=True):
            seen = Sources(
                queue=queue.get(name, ()),
                accounts=accounts.get(name, ()),
                record=records.get(str(self.place(attempt).exit_record)),
                queue_down=down,
                accounts_down=trouble,
                accounting=accounting,
            )
            now = _seconds(clock.text.splitlines()[0].split()[-1] + "Z") if clock.text.strip() else None
            found[attempt.key] = self._settle(attempt, seen, now)
        return found

    def _remember(self, row: Row) -> None:
        if row.directory and not row.directory.startswith(f"{self.output_dir}/") and row.directory.endswith(row.name):
            self.directories[row.name] = JobDir(PurePosixPath(row.directory))

    def _settle(self, attempt: Attempt, seen: Sources, now: float | None) -> JobStatus:
        """Decide whether what was seen is final."""
        status = reconcile(seen)
        if seen.decided:
            return status
        row = ended_row(seen)
        if status.state.final and row is None and seen.down:
            return JobStatus(state=JobState.UNKNOWN, detail=f"it has ended, and why is not known: {blind(seen)}")
        forgotten = status.state is JobState.UNKNOWN and not seen.down
        if forgotten and self._lasting(attempt, status, LOST_AFTER):
            detail = "Slurm has forgotten it, and it left no record; was its directory removed?"
            return JobStatus(state=JobState.FAILED, reason=Reason.INFRASTRUCTURE, detail=detail)
        if row is not None and (explained(seen, row) or (row.state == "CANCELLED" and not seen.accounting)):
            return status
        return self._firm(attempt, status, seen.queue, row, now)

    def _firm(
        self,
        attempt: Attempt,
        status: JobStatus,
        queue: Sequence[Row],
        row: Row | None,
        now: float | None = None,
    ) -> JobStatus:
        """Hold back an end without the job's own record until the record has had its time to come."""
        waiting = [one.job for one in queue if one.waiting]
        if not status.state.final:
            return status
        if self._lasting(attempt, status, GRACE):
            self.doomed += waiting
            return status
        if waiting:
            return JobStatus(state=JobState.PENDING, detail=status.detail)
        ended = _seconds(row.ended) if row is not None and row.ended else None
        if ended is not None and now is not None and now - ended > GRACE:
            return status
        said = next((one.state for one in queue if not one.active), row.state if row else status.state)
        return JobStatus(state=JobState.UNKNOWN, detail=f"Slurm says {said}; waiting for what the job itself says")

    def _lasting(self, attempt: Attempt, status: JobStatus, seconds: float) -> bool:
        """Tell whether the same has been seen for that long."""
        name, what = attempt_name(attempt.key, attempt.number), (status.state, status.reason)
        before = self._since.get(name)
        if before is None or before[0] != what:
            self._since[name] = (what, self.clock())
            return False
        return self.clock() - before[1] >= seconds


def _seconds(text: str) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None


def _days(attempts: Sequence[Attempt]) -> int:
    """Return how many days back accounts must be asked."""
    times = [_seconds(attempt.submitted) if attempt.submitted else None for attempt in attempts]
    known = [one for one in times if one is not None]
    if len(known) < len(times):
        return LOOKBACK_DAYS
    return max(2, int((datetime.now(UTC).timestamp() - min(known)) // 86_400) + 2)
