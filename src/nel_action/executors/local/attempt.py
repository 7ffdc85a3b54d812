"""One attempt's directory: who wrote what there, read from disk each time, as others write there too."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nel_action.errors import ExecutorError
from nel_action.executors.local.record import Ending, JobRecord, moment
from nel_action.files import write_atomically
from nel_action.model.job import Attempt, Key

__all__ = ["AttemptDir", "Started", "read_started"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The contents of `started`: what was started, so that a later agent knows it from a stranger."""

    at: float
    """Seconds since 1970."""
    pid: int | None = None
    ticks: int | None = None
    """Start time of `pid` in the kernel's own count: another process of that id has another one."""
    boot: str | None = None
    """The kernel's boot id: after another boot no process is left."""
    container: str | None = None


def read_started(path: Path) -> Started | None:
    """Read a file that a program wrote as it started; None where there is none."""
    try:
        fields: dict[str, Any] = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:
        # NOTE: killed between creating the file and filling it, a moment before the program would have run
        return Started(at=path.stat().st_mtime)
    return Started(**fields)


@dataclass(frozen=True, slots=True)
class AttemptDir:
    """One attempt's directory. Everything is read from disk each time, as others write there too."""

    path: Path

    @property
    def name(self) -> str:
        """`<key>-<n>`."""
        return self.path.name

    @property
    def key(self) -> Key:
        """The job's key."""
        return Key(self.name.rpartition("-")[0])

    @property
    def number(self) -> int:
        """The attempt's number."""
        return int(self.name.rpartition("-")[2])

    @property
    def work(self) -> Path:
        """The harness's working directory."""
        return self.path / "work"

    @property
    def artifacts(self) -> Path:
        """Where the harness writes its results."""
        return self.path / "artifacts"

    @property
    def logs(self) -> Path:
        """All logs."""
        return self.path / "logs"

    @property
    def client_log(self) -> Path:
        """What the harness says."""
        return self.logs / "client.log"

    @property
    def server_log(self) -> Path:
        """What its server said, up to the attempt's end."""
        return self.logs / "server.log"

    @property
    def setup_log(self) -> Path:
        """What preparing it said."""
        return self.logs / "setup.log"

    @property
    def secrets(self) -> Path:
        """Values of variables."""
        return self.path / "secrets.json"

    @property
    def started_file(self) -> Path:
        """Written once by the attempt's own process."""
        return self.path / "started"

    def exists(self) -> bool:
        """Whether the attempt was submitted."""
        return (self.path / "job.json").exists()

    def record(self) -> JobRecord:
        """Read what was submitted.

        Raises:
            ExecutorError: it is damaged.
        """
        try:
            return JobRecord.from_json((self.path / "job.json").read_bytes())
        except (OSError, ValueError) as error:
            msg = f"{self.path / 'job.json'} cannot be read: {_first_line(error)}"
            raise ExecutorError(msg, hint="it was damaged, or written by another version") from error

    def attempt(self) -> Attempt:
        """Return the attempt as executors speak of it."""
        try:
            written = (self.path / "job.json").stat().st_mtime
        except FileNotFoundError:
            written = None
        submitted = None if written is None else moment(written)
        return Attempt(key=self.key, number=self.number, backend_id=str(self.path), submitted=submitted)

    @property
    def ended(self) -> bool:
        """Whether it has ended, in whatever way."""
        return (self.path / "exit.json").exists()

    def ending(self) -> Ending | None:
        """Read how it ended; None while it has not.

        Raises:
            ExecutorError: the file is damaged.
        """
        try:
            return Ending.from_json((self.path / "exit.json").read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError) as error:
            msg = f"{self.path / 'exit.json'} cannot be read: {_first_line(error)}"
            raise ExecutorError(msg) from error

    def end(self, ending: Ending) -> None:
        """Write how it ended, last of all; the first writer is right."""
        if not self.ended:
            write_atomically(self.path / "exit.json", ending.to_json())

    def started(self) -> Started | None:
        """Read what was started; None before that."""
        return read_started(self.started_file)

    @property
    def cancelled(self) -> bool:
        """Whether somebody asked for its end."""
        return (self.path / "cancel").exists()

    def request_cancel(self) -> None:
        """Ask whoever runs it to end it."""
        (self.path / "cancel").touch()

    def phase(self) -> str | None:
        """Read what is being prepared."""
        with suppress(OSError):
            return (self.path / "phase").read_text(encoding="utf-8")
        return None

    def set_phase(self, text: str) -> None:
        """Say what is being prepared."""
        write_atomically(self.path / "phase", text.encode(), durable=False)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
