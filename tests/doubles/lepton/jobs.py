"""Life cycle of jobs, from the queue to the archive; driven by requests, the clock and the jobs' processes."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path

from leptonai.api.v2.types.job import DefaultTTLSecondsAfterFinished, LeptonJob, LeptonJobState, LeptonJobStatus
from tests.doubles.lepton.bodies import ApiError
from tests.doubles.lepton.clock import Clock
from tests.doubles.lepton.job import FINISHED, Record
from tests.doubles.lepton.job_rules import check_job
from tests.doubles.lepton.quota import fits
from tests.doubles.lepton.settings import Settings
from tests.doubles.lepton.workload import Started

__all__ = ["Jobs"]

State = LeptonJobState
WAITING = frozenset({State.Queueing, State.Starting, State.Restarting, State.PendingRetry, State.Awaiting})


class Jobs:
    """All jobs of the workspace, newest last."""

    def __init__(self, settings: Settings, clock: Clock, directory: Path, started: list[Started]) -> None:
        self._settings, self._clock, self._directory, self._started = settings, clock, directory, started
        self._numbers = itertools.count(1)
        self.records: dict[str, Record] = {}

    def create(self, job: LeptonJob) -> Record:
        """Create a job."""
        check_job(self._settings, job)
        name = job.metadata.name or job.metadata.id_
        delays = self._settings.delays
        job.metadata.id_, job.metadata.name = f"{name}-{next(self._numbers):04x}", name
        job.metadata.created_at, job.metadata.created_by = self._clock.millis(), "somebody@example.com"
        state = State.Queueing if delays.queueing else State.Starting
        job.status = LeptonJobStatus(job_name=job.metadata.id_, state=state, creation_time=job.metadata.created_at)
        record = Record(job, self._directory / job.metadata.id_, delays.queueing or delays.starting)
        self.records[record.id] = record
        return record

    def get(self, name: str, mode: str = "alive_and_archive") -> Record:
        record = self.records.get(name)
        if record is None or (record.archived and mode == "alive_only"):
            raise ApiError(404, "ResourceNotFound", f"job {name} not found")
        return record

    def named(self, name: str) -> list[Record]:
        """Return all jobs of one name, which need not be unique."""
        return [record for record in self.records.values() if record.job.metadata.name == name]

    def settle(self) -> None:
        """Apply all state changes that are due."""
        for record in list(self.records.values()):
            self._handle_exit(record)
            self._start(record)
            self._archive_expired(record)

    def count_requests(self, records: Iterable[Record]) -> None:
        """Count a request for each of the jobs, which shortens their delays."""
        for record in records:
            if record.remaining_requests:
                record.remaining_requests -= 1
                if not record.remaining_requests and record.state is State.Queueing and self._settings.delays.starting:
                    record.set_state(State.Starting, self._settings.delays.starting)
            if not record.remaining_requests and record.state is State.Deleting:
                self._archive(record, State.Deleted)

    def _start(self, record: Record) -> None:
        spec = record.job.spec
        if record.state not in WAITING or record.remaining_requests or record.archived:
            return
        if spec.time_schedule and (spec.time_schedule.start_at or 0) > self._clock.now():
            record.set_state(State.Awaiting)
        elif spec.resource_shape in self._settings.no_capacity or not fits(
            self._settings, self._shapes_in_use(), spec.resource_shape
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

    def _shapes_in_use(self) -> list[str | None]:
        return [record.job.spec.resource_shape for record in self.records.values() if record.running]

    def _handle_exit(self, record: Record) -> None:
        if record.state in FINISHED or record.running:
            return
        if record.state is State.Stopping:
            if not record.remaining_requests:
                record.finish(State.Stopped, self._clock.now())
        elif record.container is None or record.state is State.Deleting:
            return
        elif record.container.exit_code == 0:
            record.finish(State.Completed, record.exited_at)
        else:
            self._handle_failure(record)

    def _handle_failure(self, record: Record) -> None:
        spec, retry = record.job.spec, self._settings.delays.retry
        if record.replica_failures < (spec.max_failure_retry or 0):
            record.replica_failures += 1
            record.container = None
            record.set_state(State.Restarting, retry)
        elif record.job_failures < (spec.max_job_failure_retry or 0):
            record.job_failures += 1
            record.archive_run(State.Failed)
            record.set_state(State.PendingRetry, retry)
        else:
            record.finish(State.Failed, record.exited_at)

    def _archive_expired(self, record: Record) -> None:
        ttl = record.job.spec.ttl_seconds_after_finished
        limit = DefaultTTLSecondsAfterFinished if ttl is None else ttl
        if not record.archived and record.finished is not None and self._clock.now() - record.finished >= limit:
            self._archive(record, None if self._settings.archive_keeps_state else State.Archived)

    def _archive(self, record: Record, state: LeptonJobState | None) -> None:
        record.archived = True
        if state:
            record.set_state(state)

    def preempt(self, record: Record) -> None:
        """Preempt a job in favor of one with a higher priority; it is queued and started again."""
        queue = record.job.spec.queue_config
        assert queue is not None, f"{record.id} may not be preempted"
        assert queue.can_be_preempted, f"{record.id} may not be preempted"
        assert record.container is not None, f"{record.id} is not running"
        record.container.kill()
        record.container.wait()
        record.archive_run(State.Stopped)
        record.set_state(State.Queueing, self._settings.delays.queueing)

    def stop(self, record: Record) -> None:
        """Stop a job."""
        record.job.spec.stopped = True
        if record.state in FINISHED:
            return
        record.set_state(State.Stopping, self._settings.delays.stopping)
        if record.running and record.container:
            record.container.stop(self._settings.grace)

    def restart(self, record: Record) -> None:
        """Start a stopped job again."""
        record.job.spec.stopped = False
        if record.state is State.Stopped and not record.archived:
            record.archive_run(State.Stopped)
            record.finished, record.log.finished = None, False
            record.set_state(State.Starting, self._settings.delays.starting)

    def delete(self, record: Record, mode: str) -> None:
        """Kill a job and archive it; delete it completely if it is archived, or `mode` includes the archive."""
        if record.container:
            record.container.kill()
            record.container.wait()
        record.log.finish()
        if record.archived or mode != "alive_only":
            del self.records[record.id]
            return
        record.set_state(State.Deleting, self._settings.delays.deleting)
        if not record.remaining_requests:
            self._archive(record, State.Deleted)
