"""Protocol of the result lines in a job's log: numbered parts of an archive, and an exit record.

The job's entry point writes the lines (`@nel:<attempt>:<run>:<kind>:<payload>`), `parse_transmissions` reads them. Jobs
that were submitted by another version must stay readable, so the format does not change.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

__all__ = ["ExitRecord", "Transmission", "is_transport_line", "parse_exit_record", "parse_transmissions"]

PREFIX: Final = "@nel:"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitRecord:
    """How one run of the entry point finished."""

    exit_code: int
    """Exit status of the harness; 128 + n for signal n."""
    reason: str
    """Empty, or `time_limit`, `endpoint`, `out_of_memory`, `terminated`, `start`, `infrastructure`."""
    detail: str
    started: str
    """RFC 3339, UTC."""
    ended: str
    """RFC 3339, UTC."""
    parts: int
    """Lines that contain the archive; 0 where it was not sent."""
    size: int
    """Bytes of the archive."""
    digest: str
    """SHA-256 of the archive; empty where there is none."""


@dataclass(slots=True)
class Transmission:
    """The lines that were received from one run of the entry point; the platform may run a job several times."""

    run: str
    parts: dict[int, bytes] = field(default_factory=dict)
    """Part number, from 1, to its bytes."""
    exit_record: ExitRecord | None = None

    @property
    def missing(self) -> int:
        """Number of parts that were not received."""
        if self.exit_record is None:
            return 0
        return sum(number not in self.parts for number in range(1, self.exit_record.parts + 1))

    def archive(self) -> bytes | None:
        """Return the archive, or None where it is incomplete or does not match its digest."""
        record = self.exit_record
        if record is None or not record.digest or self.missing:
            return None
        data = b"".join(self.parts[number] for number in range(1, record.parts + 1))
        verified = len(data) == record.size and hashlib.sha256(data).hexdigest() == record.digest
        return data if verified else None


def is_transport_line(line: str) -> bool:
    """Whether a log line belongs to the transport and not to the harness's output."""
    return line.startswith(PREFIX)


def parse_transmissions(lines: Iterable[str], attempt: str) -> list[Transmission]:
    """Parse the transport lines of an attempt's log.

    Args:
        lines: the log; parts may be repeated and in any order.
        attempt: the attempt's name; lines of other attempts are ignored.

    Returns:
        One transmission per run, in the order of their first lines.
    """
    transmissions: dict[str, Transmission] = {}
    for run, kind, payload in _split_lines(lines, attempt):
        transmission = transmissions.setdefault(run, Transmission(run))
        if kind == "part":
            _add_part(transmission, payload)
        elif kind == "end":
            transmission.exit_record = parse_exit_record(_decode(payload)) or transmission.exit_record
    return list(transmissions.values())


def _split_lines(lines: Iterable[str], attempt: str) -> Iterator[tuple[str, str, str]]:
    """Yield run, kind and payload of each transport line."""
    prefix = f"{PREFIX}{attempt}:"
    for line in lines:
        if line.startswith(prefix):
            run, _, rest = line[len(prefix) :].rstrip("\r\n").partition(":")
            kind, _, payload = rest.partition(":")
            yield run, kind, payload


def _add_part(transmission: Transmission, payload: str) -> None:
    """Store a part; a truncated one counts as missing or fails the digest."""
    position, _, data = payload.partition(":")
    number, _, _ = position.partition("/")
    try:
        transmission.parts[int(number)] = base64.b64decode(data, validate=True)
    except (ValueError, binascii.Error):
        return


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        return b""


def parse_exit_record(data: bytes) -> ExitRecord | None:
    """Parse the JSON of an exit record; return None where it is truncated or malformed."""
    try:
        fields = json.loads(data)
        return ExitRecord(
            exit_code=int(fields["status"]),
            reason=str(fields["reason"]),
            detail=" ".join(str(fields["detail"]).split()),
            started=_timestamp(fields["began"]),
            ended=_timestamp(fields["ended"]),
            parts=int(fields["pieces"]),
            size=int(fields["bytes"]),
            digest=str(fields["sha256"]),
        )
    except (ValueError, KeyError, TypeError, OverflowError):
        return None


def _timestamp(seconds: object) -> str:
    """Format seconds since 1970 as RFC 3339."""
    if not isinstance(seconds, int):
        raise TypeError
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
