"""Jobs on a backend: keys, attempts, states and reasons."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import NewType

from nel_action.model.task import Progress

__all__ = ["Attempt", "JobState", "JobStatus", "Key", "Reason", "attempt_name", "newest"]


Key = NewType("Key", str)
"""`nel-` and 16 hex digits."""


def attempt_name(key: Key, number: int) -> str:
    """Return the name of an attempt on every backend: Slurm job name, Lepton job name, container name."""
    return f"{key}-{number}"


class JobState(StrEnum):
    """State of a job. `UNKNOWN` means that it could not be observed, never that it failed."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"

    @property
    def final(self) -> bool:
        """Whether the state cannot change any more."""
        return self in {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED}


class Reason(StrEnum):
    """Why a job failed."""

    HARNESS = "harness"
    OUT_OF_MEMORY = "out_of_memory"
    TIME_LIMIT = "time_limit"
    PREEMPTED = "preempted"
    NODE_LOST = "node_lost"
    IMAGE = "image"
    ENDPOINT = "endpoint"
    BUDGET = "budget"
    REJECTED = "rejected"
    INFRASTRUCTURE = "infrastructure"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try of a job on a backend."""

    key: Key
    number: int
    """1, 2, …"""
    backend_id: str
    """ID on the backend: a container ID, a Slurm job ID, a Lepton job ID, a directory."""
    submitted: str | None = None
    """RFC 3339, UTC, if the backend reports it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStatus:
    """Status of an attempt, as observed by one poll."""

    state: JobState
    reason: Reason | None = None
    """Set if `state` is failed."""
    detail: str | None = None
    """Message of the backend, or how to fix the cause; one line. Untrusted text if it comes from a job."""
    exit_code: int | None = None
    """Exit code of the harness; 128 + n for signal n."""
    started: str | None = None
    """RFC 3339, UTC."""
    ended: str | None = None
    progress: Progress | None = None


def newest(attempts: Iterable[Attempt]) -> dict[Key, Attempt]:
    """Return the attempt with the highest number of each key."""
    latest: dict[Key, Attempt] = {}
    for attempt in attempts:
        if attempt.key not in latest or latest[attempt.key].number < attempt.number:
            latest[attempt.key] = attempt
    return latest
