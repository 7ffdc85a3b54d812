"""Observation of attempts: one listing of jobs, one of endpoints, and the actions that follow from them.

Observing changes nothing on the platform; `maintenance` performs the actions.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from nel_action.errors import NelActionError
from nel_action.executors.lepton.client import LeptonClient, TokenError
from nel_action.executors.lepton.endpoints import Endpoints, EndpointStatus
from nel_action.executors.lepton.job_log import JobLog
from nel_action.executors.lepton.jobs import (
    JobRecord,
    failure_from_events,
    oldest_by_name,
    status_from_exit_record,
    status_from_state,
)
from nel_action.model.job import Attempt, JobState, JobStatus, Key, Reason, attempt_name

__all__ = ["Action", "DeleteEndpoint", "Observation", "Observer", "StopJob", "WakeEndpoint"]

GRACE_SECONDS: Final = 45.0
"""Seconds for which a state must last before it counts: logs and events arrive late."""

LOST_SECONDS: Final = 180.0
"""Seconds after which a job that the workspace does not list is lost, and an endpoint that stays is given up."""

SETTLED_SECONDS: Final = 60.0
"""Seconds after the last submission within which its process may submit another job for the same endpoint."""

STUCK_SECONDS: Final = 300.0
"""Seconds after which an image that cannot be pulled, or a server that cannot start, is a failure."""

OVERDUE_SECONDS: Final = 300.0
"""Seconds beyond its own time limit after which a running job is stopped from this side."""

MAX_REJECTIONS: Final = 5
"""Consecutive polls with a rejected token after which polling fails."""

NOT_READY_REASONS: Final = {
    "InProgress": "it is starting",
    "NoCapacity": "no machine of its shape is available",
    "ConfigError": "its configuration is invalid, or its server exits",
    "SystemError": "the platform failed",
    "RequireReadinessApproval": "it must be approved on the dashboard",
    "Queueing": "it is waiting for a machine",
}


@dataclass(frozen=True, slots=True)
class StopJob:
    """Stop a job that is a duplicate or cannot succeed."""

    job: JobRecord
    reason: Reason | None
    """Reason of the failure; None for a duplicate, which is not reported."""
    detail: str


@dataclass(frozen=True, slots=True)
class WakeEndpoint:
    """Restore the replicas of an endpoint that active jobs need."""

    endpoint: EndpointStatus


@dataclass(frozen=True, slots=True)
class DeleteEndpoint:
    """Delete an endpoint whose jobs have all finished."""

    name: str


Action = StopJob | WakeEndpoint | DeleteEndpoint


@dataclass
class Observation:
    """The statuses of attempts as observed, and the actions that are due."""

    job_statuses: dict[Key, JobStatus]
    """Statuses of the jobs alone."""
    endpoint_names: dict[Key, str] = field(default_factory=dict)
    """The endpoint that each attempt needs."""
    endpoint_notes: dict[str, str] = field(default_factory=dict)
    """Endpoint name to the reason why it is not ready, or not deleted yet."""
    actions: list[Action] = field(default_factory=list)

    def statuses(self) -> dict[Key, JobStatus]:
        """Return the status of every attempt.

        An attempt is final only when the endpoint that only it needed is deleted: until then it costs money.
        """
        statuses = {}
        for key, status in self.job_statuses.items():
            note = self.endpoint_notes.get(self.endpoint_names.get(key, ""))
            if note is None:
                statuses[key] = status
            elif status.state.final:
                statuses[key] = JobStatus(state=JobState.UNKNOWN, detail=f"it has finished; {note}")
            else:
                statuses[key] = replace(status, detail="; ".join(part for part in (status.detail, note) if part))
        return statuses


@dataclass
class Observer:
    """Observes jobs and endpoints; remembers since when each condition has lasted."""

    client: LeptonClient
    endpoints: Endpoints
    log: JobLog
    clock: Callable[[], float] = time.time
    """Returns seconds since 1970."""
    own_endpoints: set[str] = field(default_factory=set)
    """Endpoints for which only this process submits jobs."""
    stopped: dict[str, tuple[Reason, str]] = field(default_factory=dict)
    """Name of each job that was stopped as failed, with reason and detail."""
    _since: dict[tuple[str, str], float] = field(default_factory=dict)
    _rejections: int = 0

    def list_jobs(self) -> list[JobRecord]:
        """Return all jobs of nel-action, active or archived; after a rejected token, try a renewed one.

        Raises:
            NelActionError: the request failed.
        """
        try:
            return self.client.list_jobs("nel-")
        except TokenError:
            self.client.reset()
            return self.client.list_jobs("nel-")

    def observe(self, attempts: Sequence[Attempt]) -> Observation:
        """Observe attempts; those that cannot be observed are unknown, none is omitted.

        Raises:
            TokenError: the token was rejected in `MAX_REJECTIONS` consecutive observations.
        """
        if not attempts:
            return Observation({})
        try:
            jobs = self.list_jobs()
        except TokenError as error:
            self._rejections += 1
            if self._rejections >= MAX_REJECTIONS:
                raise
            return _unobserved(attempts, error)
        except NelActionError as error:
            return _unobserved(attempts, error)
        self._rejections = 0
        oldest, duplicates = oldest_by_name(jobs)
        names = {attempt.key: attempt_name(attempt.key, attempt.number) for attempt in attempts}
        observation = Observation({})
        for job in duplicates:
            if job.active:
                observation.actions.append(StopJob(job, None, f"a duplicate of {oldest[job.name].id}"))
        for key, name in names.items():
            observation.job_statuses[key] = self._job_status(name, oldest.get(name), observation)
        needed = {key: oldest[name].endpoint for key, name in names.items() if name in oldest}
        observation.endpoint_names = {key: endpoint for key, endpoint in needed.items() if endpoint}
        if observation.endpoint_names:
            self._observe_endpoints(observation, jobs)
        return observation

    def _job_status(self, name: str, job: JobRecord | None, observation: Observation) -> JobStatus:
        if job is None:
            if self.duration(name, "absent") < LOST_SECONDS:
                return JobStatus(state=JobState.UNKNOWN, detail="Lepton does not list the job")
            detail = "Lepton no longer lists the job; was it deleted together with its archive?"
            return JobStatus(state=JobState.FAILED, reason=Reason.INFRASTRUCTURE, detail=detail)
        self._since.pop((name, "absent"), None)
        try:
            return self._active_status(job, observation) if job.active else self._final_status(job)
        except NelActionError as error:
            return JobStatus(state=JobState.UNKNOWN, detail=error.problems[0].message)

    def _final_status(self, job: JobRecord) -> JobStatus:
        """Return a finished job's status: from its exit record, else from the platform's state and events."""
        if job.name in self.stopped:
            reason, detail = self.stopped[job.name]
            return JobStatus(state=JobState.FAILED, reason=reason, detail=detail)
        record = self.log.exit_record(job)
        if record is not None:
            return status_from_exit_record(job, record)
        if job.cancelled:
            return JobStatus(state=JobState.CANCELLED, detail=f"Lepton reports {job.state}")
        if self.duration(job.name, job.state) < GRACE_SECONDS:
            return status_from_state(job)
        failure = failure_from_events(self._events(job))
        if failure is not None:
            reason, event = failure
            detail = f"Lepton reports {job.state}: {event}"
            return JobStatus(state=JobState.FAILED, reason=reason, detail=detail)
        detail = f"Lepton reports {job.state}, and the job's log contains no exit record"
        return JobStatus(state=JobState.FAILED, reason=Reason.INFRASTRUCTURE, detail=detail)

    def _active_status(self, job: JobRecord, observation: Observation) -> JobStatus:
        """Return an active job's status; add the action that stops it where it cannot succeed."""
        status = status_from_state(job)
        duration = self.duration(job.name, job.state)
        if job.state in {"Starting", "Restarting"} and duration > GRACE_SECONDS:
            failure = failure_from_events(self._events(job))
            if failure is not None and failure[0] is Reason.IMAGE:
                detail = f"its image cannot be pulled: {failure[1]}"
                status = replace(status, detail=detail)
                if duration > STUCK_SECONDS:
                    observation.actions.append(StopJob(job, Reason.IMAGE, detail))
        limit = job.time_limit
        if job.state == "Running" and limit is not None and duration > limit + OVERDUE_SECONDS:
            detail = f"it was still running {OVERDUE_SECONDS:g} s after its time limit and was stopped"
            observation.actions.append(StopJob(job, Reason.TIME_LIMIT, detail))
        return status

    def _events(self, job: JobRecord) -> list[str]:
        """Return the reasons of a job's events, oldest first; empty where they cannot be read."""
        try:
            body = self.client.request("get", f"/jobs/{job.id}/events", operation="read a job's events") or []
        except NelActionError:
            return []
        events = [event for event in body if isinstance(event, dict)]
        events.sort(key=lambda event: str(event.get("last_observed_time")))
        return [str(event.get("reason")) for event in events]

    def _observe_endpoints(self, observation: Observation, jobs: Sequence[JobRecord]) -> None:
        """Add notes and actions for the endpoints that the observed attempts need.

        Args:
            observation: extended in place.
            jobs: all jobs of the workspace.
        """
        needed = set(observation.endpoint_names.values())
        try:
            statuses = self.endpoints.statuses()
        except NelActionError as error:
            note = f"its endpoint cannot be observed: {error.problems[0].message}"
            observation.endpoint_notes = dict.fromkeys(needed, note)
            return
        for name in needed:
            users = [job for job in jobs if job.endpoint == name]
            active = [job for job in users if job.active]
            if active:
                self._observe_needed(observation, name, statuses.get(name), active)
            else:
                self._observe_unneeded(observation, name, statuses.get(name), users)

    def _observe_needed(
        self, observation: Observation, name: str, status: EndpointStatus | None, users: Collection[JobRecord]
    ) -> None:
        """Observe an endpoint that active jobs need.

        Args:
            observation: extended in place.
            name: the endpoint's name.
            status: None where the endpoint does not exist.
            users: the active jobs that need it.
        """
        if status is None or status.leaving:
            if self.duration(name, "absent") > GRACE_SECONDS:
                detail = f"its endpoint {name} was deleted by another process"
                observation.actions += [StopJob(job, Reason.ENDPOINT, detail) for job in users]
            return
        self._since.pop((name, "absent"), None)
        if status.asleep:
            observation.endpoint_notes[name] = f"its endpoint {name} is scaled to zero"
            observation.actions.append(WakeEndpoint(status))
            return
        if status.ready:
            return
        try:
            reason, message = self.endpoints.readiness_issue(status)
        except NelActionError as error:
            observation.endpoint_notes[name] = f"its endpoint {name}: {error.problems[0].message}"
            return
        explanation = f"{NOT_READY_REASONS.get(reason, reason)}{f' ({message})' if message else ''}"
        note = f"its endpoint {name} is not ready: {explanation}"
        observation.endpoint_notes[name] = note
        if reason in {"ConfigError", "Error"} and self.duration(name, "broken") > STUCK_SECONDS:
            observation.actions += [StopJob(job, Reason.ENDPOINT, note) for job in users]

    def _observe_unneeded(
        self, observation: Observation, name: str, status: EndpointStatus | None, users: Collection[JobRecord]
    ) -> None:
        """Observe an endpoint whose jobs have all finished.

        Args:
            observation: extended in place.
            name: the endpoint's name.
            status: None where the endpoint does not exist.
            users: the finished jobs that needed it.
        """
        if status is None or not status.disposable:
            return
        newest = max((job.created for job in users), default=0.0)
        if name not in self.own_endpoints and self.clock() - newest < SETTLED_SECONDS:
            note = f"its endpoint {name} is kept until no process can submit another job for it"
        else:
            note = f"its endpoint {name} is being deleted"
            observation.actions.append(DeleteEndpoint(name))
        observation.endpoint_notes[name] = note

    def duration(self, name: str, condition: str) -> float:
        """Return for how many seconds a condition of a job or endpoint has been observed."""
        return self.clock() - self._since.setdefault((name, condition), self.clock())


def _unobserved(attempts: Sequence[Attempt], error: NelActionError) -> Observation:
    status = JobStatus(state=JobState.UNKNOWN, detail=error.problems[0].message)
    return Observation({attempt.key: status for attempt in attempts})
