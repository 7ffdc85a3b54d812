"""How a job says that it ended: the `exit.json` that its last act leaves."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime

__all__ = ["ExitRecord", "parse_record"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitRecord:
    """The contents of `exit.json`."""

    job: int
    """The Slurm job that wrote it."""
    status: int
    """Exit status of the batch script."""
    reason: str
    """A word of the script's, empty when all went well."""
    started: str
    """RFC 3339, UTC, on the cluster's clock: when the first job of the attempt began."""
    ended: str
    files: int
    """Files among the artifacts."""
    bytes: int
    """Their size."""


def parse_record(text: str) -> ExitRecord | None:
    """Read an `exit.json`; None where it is not whole."""
    try:
        data = json.loads(text)
        return ExitRecord(
            job=int(data["job"]),
            status=int(data["status"]),
            reason=str(data["reason"]),
            started=_moment(data["began"]),
            ended=_moment(data["ended"]),
            files=int(data["files"]),
            bytes=int(data["bytes"]),
        )
    except (ValueError, KeyError, TypeError, OverflowError):
        return None


def _moment(seconds: object) -> str:
    if not isinstance(seconds, int):
        raise TypeError
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
