"""From the platform's words for a job to ours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from nel_action.executors.lepton.log_transport import EndRecord
from nel_action.executors.lepton.names import mapping
from nel_action.model.job import JobState, JobStatus, Reason

__all__ = ["ENDED", "by_events", "by_record", "runs_before", "seen", "word_of"]

WAITING: Final = {
    "Queueing": "waits for a machine",
    "Awaiting": "waits for its time",
    "Starting": "is being started",
    "Restarting": "is being started again",
    "PendingRetry": "will be tried again",
}
RUNNING: Final = {"Running": None, "Stopping": "is being stopped", "Terminating": "is being ended"}
LEAVING: Final = {"Deleting": "is being deleted"}

ENDED: Final = frozenset({"Completed", "Failed", "Stopped", "Deleted", "Archived"})

REASONS: Final = {
    "time_limit": Reason.TIME_LIMIT,
    "endpoint": Reason.ENDPOINT,
    "out_of_memory": Reason.OUT_OF_MEMORY,
    "terminated": Reason.PREEMPTED,
    "start": Reason.IMAGE,
    "infrastructure": Reason.INFRASTRUCTURE,
}
"""Words of the program inside a job."""

EVENTS: Final = (
    (Reason.IMAGE, re.compile(r"ErrImage|ImagePull|InvalidImage|image.*(not found|denied)", re.IGNORECASE)),
    (Reason.OUT_OF_MEMORY, re.compile(r"OOM|OutOfMemory", re.IGNORECASE)),
    (Reason.PREEMPTED, re.compile(r"Preempt", re.IGNORECASE)),
    (Reason.NODE_LOST, re.compile(r"NodeNotReady|NodeLost|Evict|NodeShutdown", re.IGNORECASE)),
)


def word_of(item: Mapping[str, Any]) -> str:
    """Return the platform's own word for a job's state, whether the SDK knows it or not."""
    return str(mapping(item.get("status")).get("state") or "")


def runs_before(item: Mapping[str, Any]) -> str | None:
    """Say how often, and after what, the platform has started a job again."""
    history = mapping(item.get("status")).get("job_history") or []
    words = [str(mapping(one).get("state") or "unknown") for one in history]
    return f"run {len(words) + 1}; before: {', '.join(words)}" if words else None


def seen(item: Mapping[str, Any]) -> JobStatus:
    """Return what a job's state says by itself, without what the job says of how it ended."""
    word = word_of(item)
    note = runs_before(item)
    if word in WAITING:
        return JobStatus(state=JobState.PENDING, detail=_join(WAITING[word], note))
    if word in RUNNING or word in LEAVING:
        return JobStatus(state=JobState.RUNNING, detail=_join(RUNNING.get(word) or LEAVING.get(word), note))
    if word in ENDED:
        return JobStatus(state=JobState.UNKNOWN, detail=f"Lepton says {word}; waiting for what the job itself says")
    return JobStatus(state=JobState.UNKNOWN, detail=f"Lepton says {word!r}, which nobody here knows")


def by_record(record: EndRecord, word: str) -> JobStatus:
    """Return what a job itself says of its end."""
    facts: dict[str, Any] = {"exit_code": record.status, "started": record.began, "ended": record.ended}
    if record.status == 0 and not record.reason:
        return JobStatus(state=JobState.SUCCEEDED, **facts)
    if record.reason == "terminated" and word in {"Stopped", "Deleted"}:
        return JobStatus(state=JobState.CANCELLED, detail="stopped", **facts)
    reason = REASONS.get(record.reason, Reason.HARNESS)
    detail = record.detail or f"the harness ended with status {record.status}"
    return JobStatus(state=JobState.FAILED, reason=reason, detail=detail, **facts)


def by_events(words: list[str]) -> tuple[Reason, str] | None:
    """Find the cause of a failure among the reasons of events; the newest comes last."""
    for word in reversed(words):
        for reason, pattern in EVENTS:
            if pattern.search(word):
                return reason, word
    return None


def _join(*parts: str | None) -> str | None:
    return "; ".join(part for part in parts if part) or None
