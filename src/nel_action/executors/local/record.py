"""What the local backend writes down of an attempt: `job.json` when it is submitted, `exit.json` when it has ended."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nel_action.model.job import JobState, JobStatus, Reason
from nel_action.planning.jobs import Job
from nel_action.spec.execution import LocalExecution

if TYPE_CHECKING:
    from pydantic import TypeAdapter

__all__ = ["AttemptError", "Ending", "JobRecord", "moment"]


def moment(seconds: float | None = None) -> str:
    """Return that moment (seconds since 1970), or now, as RFC 3339 in UTC."""
    when = datetime.now(UTC) if seconds is None else datetime.fromtimestamp(seconds, UTC)
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """One attempt as it was submitted: enough for any process to run it, and nothing secret."""

    job: Job
    """With every path absolute."""
    number: int
    invocation: str
    settings: LocalExecution
    base_dir: Path
    submitted: str
    """RFC 3339, UTC."""

    def to_json(self) -> bytes:
        """Return the contents of `job.json`."""
        return _adapter().dump_json(self, indent=2)

    @staticmethod
    def from_json(data: bytes) -> JobRecord:
        """Read the contents of `job.json`.

        Raises:
            ValueError: they are not whole, or of another version.
        """
        return _adapter().validate_json(data)


@cache
def _adapter() -> TypeAdapter[JobRecord]:
    from pydantic import TypeAdapter

    return TypeAdapter(JobRecord)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How an attempt ended."""

    state: JobState
    reason: Reason | None = None
    detail: str | None = None
    """One line."""
    exit_code: int | None = None
    """128 + n for signal n."""
    oom: bool = False
    """Whether the kernel ended it for want of memory."""
    started: str | None = None
    """RFC 3339, UTC; None where the harness never ran."""
    ended: str

    @staticmethod
    def of(state: JobState, reason: Reason | None = None, detail: str | None = None) -> Ending:
        """Return the ending, at this moment, of an attempt that did not come to run."""
        return Ending(state=state, reason=reason, detail=detail, ended=moment())

    def to_json(self) -> bytes:
        """Return the contents of `exit.json`."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        return json.dumps(fields, indent=2).encode()

    @staticmethod
    def from_json(data: bytes) -> Ending:
        """Read the contents of `exit.json`.

        Raises:
            ValueError: they are not whole, or of another version.
        """
        fields: Mapping[str, Any] = json.loads(data)
        reason = fields.get("reason")
        known = {name: fields.get(name) for name in ("detail", "exit_code", "started")}
        return Ending(
            state=JobState(fields["state"]),
            reason=Reason(reason) if reason else None,
            oom=bool(fields.get("oom")),
            ended=str(fields["ended"]),
            **known,
        )

    def status(self) -> JobStatus:
        """Return what `poll` says of it."""
        return JobStatus(
            state=self.state,
            reason=self.reason,
            detail=self.detail,
            exit_code=self.exit_code,
            started=self.started,
            ended=self.ended,
        )


class AttemptError(Exception):
    """Ends an attempt before, or while, its harness runs; carries how."""

    def __init__(self, state: JobState, reason: Reason | None = None, detail: str | None = None) -> None:
        super().__init__(detail or state)
        self.ending = Ending.of(state, reason, detail)

    @staticmethod
    def failed(reason: Reason, detail: str) -> AttemptError:
        """Return the failure of that kind."""
        return AttemptError(JobState.FAILED, reason, detail)
