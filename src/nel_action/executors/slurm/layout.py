"""Layout of an attempt's directory on the cluster, and the exit record that its last job writes there.

<output_dir>/<key>-<n>/
    sbatch_<task>.sh    the batch script
    job.json            key, task, model, image, invocation
    .secrets.env        values of variables, mode 0600; removed when the last job of the attempt has finished
    files/              configuration files of the commands, with placeholders for ports
    run/                visible to programs (as `/nel` or `/mnt` in a container)
        artifacts/      result files of the harness
        work/           working directory of the programs
        task/ dataset/  copies of folders that the spec names
    logs/               client.log, server-0.log, slurm-<job>.log …
    state/              intent, submitted, owner, turn, links, exit.json
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath

from nel_action.model.job import Attempt, Key, attempt_name

__all__ = ["AttemptDir", "ExitRecord", "parse_exit_record", "split_name"]


def split_name(name: str) -> tuple[Key, int] | None:
    """Split an attempt's name into key and number; None for any other name."""
    key, _, number = name.rpartition("-")
    return (Key(key), int(number)) if key.startswith("nel-") and number.isdigit() else None


@dataclass(frozen=True, slots=True)
class AttemptDir:
    """Paths in an attempt's directory on the cluster."""

    path: PurePosixPath

    @classmethod
    def of(cls, output_dir: str, key: Key, number: int) -> AttemptDir:
        """Return the directory of an attempt, whether or not it exists.

        Args:
            output_dir: directory of all attempts.
            key: key of the job.
            number: number of the attempt.
        """
        return cls(PurePosixPath(output_dir) / attempt_name(key, number))

    @classmethod
    def of_attempt(cls, output_dir: str, attempt: Attempt) -> AttemptDir:
        """Return the directory of an attempt."""
        return cls.of(output_dir, attempt.key, attempt.number)

    @property
    def name(self) -> str:
        """`<key>-<n>`, which is also the name of the attempt's Slurm jobs."""
        return self.path.name

    @property
    def run(self) -> PurePosixPath:
        """Directory that programs see."""
        return self.path / "run"

    @property
    def logs(self) -> PurePosixPath:
        """Directory of all logs."""
        return self.path / "logs"

    @property
    def client_log(self) -> PurePosixPath:
        """Output of the harness."""
        return self.logs / "client.log"

    @property
    def state(self) -> PurePosixPath:
        """Directory in which submitters and jobs record their progress."""
        return self.path / "state"

    @property
    def exit_record(self) -> PurePosixPath:
        """The exit record; exists once the attempt has finished."""
        return self.state / "exit.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitRecord:
    """Contents of `exit.json`."""

    job: int
    """Slurm job that wrote it."""
    status: int
    """Exit status of the batch script."""
    reason: str
    """The batch script's reason for a failure; empty after success."""
    started: str
    """Start of the attempt's first job: RFC 3339, UTC, by the cluster's clock."""
    ended: str
    """End of the attempt, likewise."""
    files: int
    """Number of artifacts."""
    bytes: int
    """Total size of the artifacts."""


def parse_exit_record(text: str) -> ExitRecord | None:
    """Parse an `exit.json`; None if it is incomplete."""
    try:
        data = json.loads(text)
        return ExitRecord(
            job=int(data["job"]),
            status=int(data["status"]),
            reason=str(data["reason"]),
            started=_rfc3339(data["began"]),
            ended=_rfc3339(data["ended"]),
            files=int(data["files"]),
            bytes=int(data["bytes"]),
        )
    except (ValueError, KeyError, TypeError, OverflowError):
        return None


def _rfc3339(seconds: object) -> str:
    if not isinstance(seconds, int):
        raise TypeError
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
