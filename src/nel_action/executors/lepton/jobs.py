"""Jobs as the Lepton API lists them: names, labels, states, and what a state means for an attempt."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from nel_action.executors.lepton.log_transport import ExitRecord
from nel_action.model.job import JobState, JobStatus, Key, Reason

__all__ = [
    "CREATOR_LABEL",
    "ENDPOINT_LABEL",
    "INVOCATION_LABEL",
    "KEY_LABEL",
    "MAX_NAME_LENGTH",
    "NUMBER_LABEL",
    "TASK_LABEL",
    "JobRecord",
    "failure_from_events",
    "label_value",
    "oldest_by_name",
    "status_from_exit_record",
    "status_from_state",
]

MAX_NAME_LENGTH: Final = 36
"""Characters of a job's name; the limit is applied to endpoints as well."""

CREATOR_LABEL: Final = "nel-action"
KEY_LABEL: Final = "nel-action-key"
NUMBER_LABEL: Final = "nel-action-attempt"
INVOCATION_LABEL: Final = "nel-action-invocation"
TASK_LABEL: Final = "nel-action-task"
ENDPOINT_LABEL: Final = "nel-action-endpoint"
"""Name of the endpoint that the job needs."""

_ATTEMPT_NAME: Final = re.compile(r"(nel-[0-9a-f]{16})-(\d+)")

_PENDING_STATES: Final = {
    "Queueing": "waiting for a machine",
    "Awaiting": "waiting for its scheduled time",
    "Starting": "starting",
    "Restarting": "restarting",
    "PendingRetry": "waiting for its retry",
}
_RUNNING_STATES: Final = {
    "Running": None,
    "Stopping": "stopping",
    "Terminating": "terminating",
    "Deleting": "being deleted",
}
_STOPPING_STATES: Final = frozenset({"Stopping", "Terminating", "Deleting"})
_FINISHED_STATES: Final = frozenset({"Completed", "Failed", "Stopped", "Deleted", "Archived"})
_CANCELLED_STATES: Final = frozenset({"Stopped", "Deleted"})

_REASONS: Final = {
    "time_limit": Reason.TIME_LIMIT,
    "endpoint": Reason.ENDPOINT,
    "out_of_memory": Reason.OUT_OF_MEMORY,
    "terminated": Reason.PREEMPTED,
    "start": Reason.IMAGE,
    "infrastructure": Reason.INFRASTRUCTURE,
}
"""Values of `ExitRecord.reason`."""

_EVENT_REASONS: Final = (
    (Reason.IMAGE, re.compile(r"ErrImage|ImagePull|InvalidImage|image.*(not found|denied)", re.IGNORECASE)),
    (Reason.OUT_OF_MEMORY, re.compile(r"OOM|OutOfMemory", re.IGNORECASE)),
    (Reason.PREEMPTED, re.compile(r"Preempt", re.IGNORECASE)),
    (Reason.NODE_LOST, re.compile(r"NodeNotReady|NodeLost|Evict|NodeShutdown", re.IGNORECASE)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """One job of a listing; times are in seconds since 1970, 0 where unknown."""

    id: str
    """The platform's id."""
    name: str
    """The name it was created with; the attempt's name for jobs of nel-action."""
    state: str
    """The platform's state, which the SDK may not know."""
    created: float = 0.0
    completed: float = 0.0
    labels: Mapping[str, str] = field(default_factory=dict)
    previous_states: tuple[str, ...] = ()
    """Final states of earlier runs of this job, oldest first."""
    command: tuple[str, ...] = ()

    @classmethod
    def parse(cls, item: Mapping[str, Any]) -> JobRecord:
        """Parse one job of the API's JSON; missing and malformed fields are left empty."""
        metadata, spec, status = (_mapping(item.get(name)) for name in ("metadata", "spec", "status"))
        command = _mapping(spec.get("container")).get("command")
        labels = _mapping(metadata.get("labels"))
        return cls(
            id=str(metadata.get("id") or metadata.get("name") or ""),
            name=str(metadata.get("name") or ""),
            state=str(status.get("state") or ""),
            created=float(metadata.get("created_at") or 0) / 1000,
            completed=float(status.get("completion_time") or 0) / 1000,
            labels={name: str(value) for name, value in labels.items() if value},
            previous_states=tuple(
                str(_mapping(run).get("state") or "unknown") for run in status.get("job_history") or ()
            ),
            command=tuple(map(str, command or ())),
        )

    @property
    def active(self) -> bool:
        """Whether the job can still run."""
        return self.state not in _FINISHED_STATES

    @property
    def stopping(self) -> bool:
        """Whether the platform is already stopping the job."""
        return self.state in _STOPPING_STATES

    @property
    def cancelled(self) -> bool:
        """Whether the platform reports that a user stopped or deleted the job."""
        return self.state in _CANCELLED_STATES

    @property
    def attempt(self) -> tuple[Key, int] | None:
        """Key and number of the attempt; None for a job of another program."""
        match = _ATTEMPT_NAME.fullmatch(self.name)
        return (Key(match[1]), int(match[2])) if match else None

    @property
    def endpoint(self) -> str | None:
        """Name of the endpoint that the job needs, if any."""
        return self.labels.get(ENDPOINT_LABEL) or None

    @property
    def invocation(self) -> str:
        """Id of the invocation that submitted the job; empty where unknown."""
        return self.labels.get(INVOCATION_LABEL, "")

    @property
    def time_limit(self) -> float | None:
        """Seconds that the entry point allows for endpoint and harness; None for a job of another program."""
        try:
            order = json.loads(self.command[3])
            return float(order["timeout"]) + float((order.get("health") or {}).get("seconds") or 0)
        except (IndexError, KeyError, TypeError, ValueError):
            return None

    @property
    def run_history(self) -> str | None:
        """The number of this run and the states of the earlier ones, where the platform restarted the job."""
        if not self.previous_states:
            return None
        return f"run {len(self.previous_states) + 1}; earlier runs: {', '.join(self.previous_states)}"


def _mapping(value: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return value if isinstance(value, dict) else {}


def label_value(text: str) -> str:
    """Replace the characters that a label cannot contain."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text)[:63].strip("._-") or "none"


def oldest_by_name(jobs: Iterable[JobRecord]) -> tuple[dict[str, JobRecord], list[JobRecord]]:
    """Return the oldest job of each name, and the younger duplicates: Lepton may accept a name twice."""
    oldest: dict[str, JobRecord] = {}
    duplicates = []
    for job in sorted(jobs, key=lambda job: (job.created, job.id)):
        if job.name in oldest:
            duplicates.append(job)
        else:
            oldest[job.name] = job
    return oldest, duplicates


def status_from_state(job: JobRecord) -> JobStatus:
    """Return the status that the platform's state alone supports; unknown for a job that has finished."""
    if job.state in _PENDING_STATES:
        return JobStatus(state=JobState.PENDING, detail=_join(_PENDING_STATES[job.state], job.run_history))
    if job.state in _RUNNING_STATES:
        return JobStatus(state=JobState.RUNNING, detail=_join(_RUNNING_STATES[job.state], job.run_history))
    if not job.active:
        detail = f"Lepton reports {job.state}; waiting for the exit record in the job's log"
        return JobStatus(state=JobState.UNKNOWN, detail=detail)
    return JobStatus(state=JobState.UNKNOWN, detail=f"Lepton reports the unknown state {job.state!r}")


def status_from_exit_record(job: JobRecord, record: ExitRecord) -> JobStatus:
    """Return the final status that the job's own exit record describes."""
    times: dict[str, Any] = {"exit_code": record.exit_code, "started": record.started, "ended": record.ended}
    if record.exit_code == 0 and not record.reason:
        return JobStatus(state=JobState.SUCCEEDED, detail=job.run_history, **times)
    if record.reason == "terminated" and job.cancelled:
        return JobStatus(state=JobState.CANCELLED, detail=_join("stopped", job.run_history), **times)
    reason = _REASONS.get(record.reason, Reason.HARNESS)
    detail = record.detail or f"the harness exited with status {record.exit_code}"
    return JobStatus(state=JobState.FAILED, reason=reason, detail=_join(detail, job.run_history), **times)


def failure_from_events(events: Iterable[str]) -> tuple[Reason, str] | None:
    """Return the reason of a failure, and the event that shows it.

    Args:
        events: reasons of the job's events, oldest first.

    Returns:
        The newest match; None where no event explains a failure.
    """
    for event in reversed(list(events)):
        for reason, pattern in _EVENT_REASONS:
            if pattern.search(event):
                return reason, event
    return None


def _join(*parts: str | None) -> str | None:
    return "; ".join(part for part in parts if part) or None
