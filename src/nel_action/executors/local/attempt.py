"""One attempt on this machine: its directory and the records in it.

`job.json` (what was submitted), `started` (when and as which process or container it started) and `exit.json` (how it
finished) are read from disk on every access, because several processes write to the directory.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nel_action.errors import ExecutorError
from nel_action.files import write_atomically
from nel_action.model.job import Attempt, JobState, JobStatus, Key, Reason
from nel_action.model.run_files import JobFiles
from nel_action.planning.jobs import Job
from nel_action.spec.execution import LocalExecution

if TYPE_CHECKING:
    from pydantic import TypeAdapter

__all__ = [
    "AttemptDir",
    "AttemptError",
    "ExitRecord",
    "JobRecord",
    "StartRecord",
    "read_start_record",
    "utc_timestamp",
]

JOB_FILE: Final = "job.json"
EXIT_FILE: Final = "exit.json"
CANCEL_FILE: Final = "cancel"
PHASE_FILE: Final = "phase"
UNOBSERVED_FILE: Final = "unobserved"


def utc_timestamp(seconds: float | None = None) -> str:
    """Format a time (seconds since 1970), by default the current one, as RFC 3339 in UTC."""
    time = datetime.now(UTC) if seconds is None else datetime.fromtimestamp(seconds, UTC)
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """The contents of `job.json`: everything that a process needs to run the attempt; no secrets."""

    job: Job
    """With absolute paths."""
    number: int
    """Number of the attempt."""
    invocation: str
    settings: LocalExecution
    base_dir: Path
    submitted: str
    """RFC 3339, UTC."""

    def to_json(self) -> bytes:
        """Serialise the record."""
        return _adapter().dump_json(self, indent=2)

    @staticmethod
    def from_json(data: bytes) -> JobRecord:
        """Parse a record.

        Raises:
            ValueError: the data is incomplete, or was written by an incompatible version.
        """
        return _adapter().validate_json(data)


@cache
def _adapter() -> TypeAdapter[JobRecord]:
    from pydantic import TypeAdapter

    return TypeAdapter(JobRecord)


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRecord:
    """The contents of `started`: identifies the process or container of an attempt to a later supervisor."""

    at: float
    """Start time, in seconds since 1970."""
    pid: int | None = None
    ticks: int | None = None
    """Start time of `pid` in kernel clock ticks; distinguishes it from a later process with the same ID."""
    boot: str | None = None
    """Boot ID of the kernel; no process survives a reboot."""
    container: str | None = None


def read_start_record(path: Path) -> StartRecord | None:
    """Read the file that a program creates when it starts; None if it has not started."""
    try:
        fields: dict[str, Any] = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:
        # NOTE: the process was killed after it created the file and before it wrote to it or ran the program.
        return StartRecord(at=path.stat().st_mtime)
    return StartRecord(**fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitRecord:
    """The contents of `exit.json`: how an attempt finished."""

    state: JobState
    reason: Reason | None = None
    detail: str | None = None
    """One line."""
    exit_code: int | None = None
    """128 + n for signal n."""
    oom: bool = False
    """Whether the kernel killed it because memory was exhausted."""
    started: str | None = None
    """RFC 3339, UTC; None if the harness never started."""
    ended: str
    """RFC 3339, UTC."""

    @staticmethod
    def now(state: JobState, reason: Reason | None = None, detail: str | None = None) -> ExitRecord:
        """Return the record of an attempt that finishes at this moment.

        Args:
            state: its final state.
            reason: why it failed.
            detail: one line for people.
        """
        return ExitRecord(state=state, reason=reason, detail=detail, ended=utc_timestamp())

    def to_json(self) -> bytes:
        """Serialise the record."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        return json.dumps(fields, indent=2).encode()

    @staticmethod
    def from_json(data: bytes) -> ExitRecord:
        """Parse a record.

        Raises:
            ValueError: the data is incomplete, or was written by an incompatible version.
        """
        fields: dict[str, Any] = json.loads(data)
        reason = fields.get("reason")
        optional = {name: fields.get(name) for name in ("detail", "exit_code", "started")}
        return ExitRecord(
            state=JobState(fields["state"]),
            reason=Reason(reason) if reason else None,
            oom=bool(fields.get("oom")),
            ended=str(fields["ended"]),
            **optional,
        )

    def status(self) -> JobStatus:
        """Convert the record to the status that `poll` returns."""
        return JobStatus(
            state=self.state,
            reason=self.reason,
            detail=self.detail,
            exit_code=self.exit_code,
            started=self.started,
            ended=self.ended,
        )


class AttemptError(Exception):
    """Aborts an attempt before or while its harness runs."""

    def __init__(self, state: JobState, reason: Reason | None = None, detail: str | None = None) -> None:
        super().__init__(detail or state)
        self.exit_record = ExitRecord.now(state, reason, detail)

    @staticmethod
    def failed(reason: Reason, detail: str) -> AttemptError:
        """Return an error that makes the attempt fail for that reason."""
        return AttemptError(JobState.FAILED, reason, detail)


@dataclass(frozen=True, slots=True)
class AttemptDir:
    """The directory of one attempt."""

    path: Path

    @property
    def name(self) -> str:
        """`<key>-<n>`."""
        return self.path.name

    @property
    def key(self) -> Key:
        """Key of the job."""
        return Key(self.name.rpartition("-")[0])

    @property
    def number(self) -> int:
        """Number of the attempt."""
        return int(self.name.rpartition("-")[2])

    @property
    def work(self) -> Path:
        """Working directory of the harness."""
        return self.path / "work"

    @property
    def artifacts(self) -> Path:
        """Directory for the results of the harness."""
        return JobFiles(self.path).artifacts

    @property
    def logs(self) -> Path:
        """Directory of all logs."""
        return JobFiles(self.path).logs

    @property
    def client_log(self) -> Path:
        """Output of the harness."""
        return self.logs / "client.log"

    @property
    def server_log(self) -> Path:
        """Output of the model server until the attempt finished."""
        return self.logs / "server.log"

    @property
    def setup_log(self) -> Path:
        """Output of the setup steps."""
        return self.logs / "setup.log"

    @property
    def secrets(self) -> Path:
        """Values of `host:` variables; deleted when the attempt finishes."""
        return self.path / "secrets.json"

    @property
    def started_file(self) -> Path:
        """Created exactly once, by the process of the attempt."""
        return self.path / "started"

    @property
    def claim(self) -> Path:
        """Created before the engine is asked for a container; from then on only the engine knows what runs."""
        return self.path / "claim"

    def exists(self) -> bool:
        """Whether the attempt was submitted."""
        return (self.path / JOB_FILE).exists()

    def record(self) -> JobRecord:
        """Read what was submitted.

        Raises:
            ExecutorError: the file is damaged.
        """
        path = self.path / JOB_FILE
        try:
            return JobRecord.from_json(path.read_bytes())
        except (OSError, ValueError) as error:
            msg = f"cannot read {path}: {_first_line(error)}"
            raise ExecutorError(msg, hint="it is damaged, or was written by another version") from error

    def attempt(self) -> Attempt:
        """Return the attempt in the form that the executor protocol uses."""
        try:
            written = (self.path / JOB_FILE).stat().st_mtime
        except FileNotFoundError:
            written = None
        submitted = None if written is None else utc_timestamp(written)
        return Attempt(key=self.key, number=self.number, backend_id=str(self.path), submitted=submitted)

    @property
    def finished(self) -> bool:
        """Whether the attempt has succeeded, failed or been cancelled."""
        return (self.path / EXIT_FILE).exists()

    def exit_record(self) -> ExitRecord | None:
        """Read how the attempt finished; None while it has not.

        Raises:
            ExecutorError: the file is damaged.
        """
        path = self.path / EXIT_FILE
        try:
            return ExitRecord.from_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError) as error:
            msg = f"cannot read {path}: {_first_line(error)}"
            raise ExecutorError(msg) from error

    def write_exit_record(self, record: ExitRecord) -> None:
        """Record how the attempt finished; an existing record is kept."""
        if not self.finished:
            write_atomically(self.path / EXIT_FILE, record.to_json())

    def start_record(self) -> StartRecord | None:
        """Read what was started; None before the start."""
        return read_start_record(self.started_file)

    @property
    def cancel_requested(self) -> bool:
        """Whether cancellation was requested."""
        return (self.path / CANCEL_FILE).exists()

    def request_cancel(self) -> None:
        """Ask the supervisor to cancel the attempt."""
        (self.path / CANCEL_FILE).touch()

    def unobserved(self) -> str | None:
        """Read why it is not known whether the attempt runs; None if that is known."""
        with suppress(OSError):
            return (self.path / UNOBSERVED_FILE).read_text(encoding="utf-8")
        return None

    def set_unobserved(self, detail: str | None) -> None:
        """Publish why it is not known whether the attempt runs; None if that is known again."""
        if detail is None:
            (self.path / UNOBSERVED_FILE).unlink(missing_ok=True)
        else:
            write_atomically(self.path / UNOBSERVED_FILE, detail.encode(), durable=False)

    def phase(self) -> str | None:
        """Read the current step of the preparation."""
        with suppress(OSError):
            return (self.path / PHASE_FILE).read_text(encoding="utf-8")
        return None

    def set_phase(self, text: str) -> None:
        """Publish the current step of the preparation."""
        write_atomically(self.path / PHASE_FILE, text.encode(), durable=False)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
