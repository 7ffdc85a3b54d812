"""Batch jobs: from queueing to the archive, moved on by looks, by the clock and by their own processes."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path

from leptonai.api.v2.types.job import DefaultTTLSecondsAfterFinished, LeptonJob, LeptonJobState, LeptonJobStatus
from tests.doubles.lepton.bodies import Refused
from tests.doubles.lepton.clock import Clock
from tests.doubles.lepton.job import ENDED, Record
from tests.doubles.lepton.job_rules import check_job
from tests.doubles.lepton.quota import fits
from tests.doubles.lepton.running import Started
from tests.doubles.lepton.settings import Settings

__all__ = ["Jobs"]

State = LeptonJobState
WAITING = frozenset({State.Queueing, State.Starting, State.Restarting, State.PendingRetry, State.Awaiting})


class Jobs:
    """All jobs of the workspace, newest last."""

    def __init__(self, settings: Settings, clock: Clock, folder: Path, started: list[Started]) -> None:
        self._settings, self._clock, self._folder, self._started = settings, clock, folder, started
        self._numbers = itertools.count(1)
        self.records: dict[str, Record] = {}

    def create(self, job: LeptonJob) -> Record:
        """Accept a job."""
        check_job(self._settings, job)
        name = job.metadata.name or job.metadata.id_
        delays = self._settings.delays
        job.metadata.id_, job.metadata.name = f"{name}-{next(self._numbers):04x}", name
        job.metadata.created_at, job.metadata.created_by = self._clock.millis(), "somebody@example.com"
        state = State.Queueing if delays.queueing else State.Starting
        job.status = LeptonJobStatus(job_name=job.metadata.id_, state=state, creation_time=job.metadata.created_at)
        record = Record(job, self._folder / job.metadata.id_, delays.queueing or delays.starting)
        self.records[record.id] = record
        return record

    def get(self, name: str, mode: str = "alive_and_archive") -> Record:
        record = self.records.get(name)
        if record is None or (record.archived and mode == "alive_only"):
            raise Refused(404, "ResourceNotFound", f"job {name} not found")
        return record

    def named(self, name: str) -> list[Record]:
        """All jobs under one name: a name is not an id."""
        return [record for record in self.records.values() if record.job.metadata.name == name]

    def settle(self) -> None:
        """Let everything happen that is due."""
        for record in list(self.records.values()):
            self._exits(record)
            self._starts(record)
            self._archives(record)

    def look(self, records: Iterable[Record]) -> None:
        """A client sees these: their delays are one look shorter."""
        for record in records:
            if record.looks:
                record.looks -= 1
                if not record.looks and record.state is State.Queueing and self._settings.delays.starting:
                    record.to(State.Starting, self._settings.delays.starting)
            if not record.looks and record.state is State.Deleting:
                self._archive(record, State.Deleted)

    def _starts(self, record: Record) -> None:
        spec = record.job.spec
        if record.state not in WAITING or record.looks or record.archived:
            return
        if spec.time_schedule and (spec.time_schedule.start_at or 0) > self._clock.now():
            record.to(State.Awaiting)
        elif spec.resource_shape in self._settings.no_capacity or not fits(
            self._settings, self._used(), spec.resource_shape
        ):
            record.status.state = State.Queueing
        elif spec.container.image in self._settings.missing_images:
            record.status.state = State.Starting
            if record.events[-1:] != [("Warning", "ErrImagePull")]:
                record.events.append(("Warning", "ErrImagePull"))
        else:
            record.launch(self._settings, self._clock)
            name = record.job.metadata.name or record.id
            self._started.append(Started(kind="job", name=name, id=record.id, run=record.runs))

    def _used(self) -> list[str | None]:
        return [record.job.spec.resource_shape for record in self.records.values() if record.running]

    def _exits(self, record: Record) -> None:
        if record.state in ENDED or record.running:
            return
        if record.state is State.Stopping:
            if not record.looks:
                record.finish(State.Stopped, self._clock.now())
        elif record.container is None or record.state is State.Deleting:
            return
        elif record.container.exit_code == 0:
            record.finish(State.Completed, record.ended_at)
        else:
            self._fails(record)

    def _fails(self, record: Record) -> None:
        spec, retry = record.job.spec, self._settings.delays.retry
        if record.replica_failures < (spec.max_failure_retry or 0):
            record.replica_failures += 1
            record.container = None
            record.to(State.Restarting, retry)
        elif record.job_failures < (spec.max_job_failure_retry or 0):
            record.job_failures += 1
            record.remember(State.Failed)
            record.to(State.PendingRetry, retry)
        else:
            record.finish(State.Failed, record.ended_at)

    def _archives(self, record: Record) -> None:
        ttl = record.job.spec.ttl_seconds_after_finished
        limit = DefaultTTLSecondsAfterFinished if ttl is None else ttl
        if not record.archived and record.finished is not None and self._clock.now() - record.finished >= limit:
            self._archive(record, None if self._settings.archive_keeps_state else State.Archived)

    def _archive(self, record: Record, state: LeptonJobState | None) -> None:
        record.archived = True
        if state:
            record.to(state)

    def preempt(self, record: Record) -> None:
        """Somebody more important needs the machine: the job starts again when there is room."""
        queue = record.job.spec.queue_config
        assert queue is not None, f"{record.id} may not be preempted"
        assert queue.can_be_preempted, f"{record.id} may not be preempted"
        assert record.container is not None, f"{record.id} does not run"
        record.container.kill()
        record.container.wait()
        record.remember(State.Stopped)
        record.to(State.Queueing, self._settings.delays.queueing)

    def stop(self, record: Record) -> None:
        """Ask its process to end."""
        record.job.spec.stopped = True
        if record.state in ENDED:
            return
        record.to(State.Stopping, self._settings.delays.stopping)
        if record.running and record.container:
            record.container.stop(self._settings.grace)

    def start_again(self, record: Record) -> None:
        """Take `stopped` back."""
        record.job.spec.stopped = False
        if record.state is State.Stopped and not record.archived:
            record.remember(State.Stopped)
            record.finished, record.log.ended = None, False
            record.to(State.Starting, self._settings.delays.starting)

    def delete(self, record: Record, mode: str) -> None:
        """End it and move it to the archive; asked for the archive too, forget it."""
        if record.container:
            record.container.kill()
            record.container.wait()
        record.log.finish()
        if record.archived or mode != "alive_only":
            del self.records[record.id]
            return
        record.to(State.Deleting, self._settings.delays.deleting)
        if not record.looks:
            self._archive(record, State.Deleted)
