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
    """Name of one try of a job on every backend: Slurm job name, Lepton job name, container name."""
    return f"{key}-{number}"


class JobState(StrEnum):
    """Where a job is. `UNKNOWN` is "I could not see", never "failed"."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"

    @property
    def final(self) -> bool:
        """Whether it can still change."""
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
    REJECTED = "rejected"
    INFRASTRUCTURE = "infrastructure"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try of a job on a backend."""

    key: Key
    number: int
    """1, 2, …"""
    backend_id: str
    """What the backend calls it: a container id, a Slurm job id, a Lepton job id, a directory."""
    submitted: str | None = None
    """RFC 3339, UTC, where the backend says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStatus:
    """What was seen of an attempt, just now."""

    state: JobState
    reason: Reason | None = None
    """Set when `state` is failed."""
    detail: str | None = None
    """The backend's own words, or what to do; one line. Untrusted text where it comes from a job."""
    exit_code: int | None = None
    """Of the harness; 128 + n for signal n."""
    started: str | None = None
    """RFC 3339, UTC."""
    ended: str | None = None
    progress: Progress | None = None


def newest(attempts: Iterable[Attempt]) -> dict[Key, Attempt]:
    """Keep the attempt with the highest number of each key."""
    found: dict[Key, Attempt] = {}
    for attempt in attempts:
        if attempt.key not in found or found[attempt.key].number < attempt.number:
            found[attempt.key] = attempt
    return found
