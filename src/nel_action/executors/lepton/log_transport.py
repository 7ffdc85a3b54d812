"""What a job sends home through its log: numbered pieces of an archive, and a record of how it ended."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

__all__ = ["EndRecord", "Message", "is_ours", "parse_record", "read_messages"]

MARK: Final = "@nel:"


@dataclass(frozen=True, slots=True, kw_only=True)
class EndRecord:
    """How a run ended, in its own words."""

    status: int
    """Exit status of the harness; 128 + n for signal n."""
    reason: str
    """Empty, or `time_limit`, `endpoint`, `out_of_memory`, `terminated`, `start`."""
    detail: str
    began: str
    """RFC 3339, UTC."""
    ended: str
    pieces: int
    """How many lines the archive came in; 0 where it was not sent."""
    size: int
    """Bytes of the archive."""
    digest: str
    """Its SHA-256; empty where there is none."""


@dataclass(slots=True)
class Message:
    """All that one run of the program inside a job has sent, as far as it arrived."""

    run: str
    parts: dict[int, bytes] = field(default_factory=dict)
    end: EndRecord | None = None

    @property
    def missing(self) -> int:
        """How many pieces of the archive have not arrived."""
        return sum(number not in self.parts for number in range(1, self.end.pieces + 1)) if self.end else 0

    def archive(self) -> bytes | None:
        """Return the archive, or None where it is not whole."""
        if self.end is None or not self.end.digest or self.missing:
            return None
        data = b"".join(self.parts[number] for number in range(1, self.end.pieces + 1))
        whole = len(data) == self.end.size and hashlib.sha256(data).hexdigest() == self.end.digest
        return data if whole else None


def is_ours(line: str) -> bool:
    """Whether a line of a log is part of a message, which nobody wants to read."""
    return line.startswith(MARK)


def read_messages(lines: Iterable[str], attempt: str) -> list[Message]:
    """Put together what an attempt's runs have sent, in the order in which the lines first speak of them.

    Pieces may come twice and in any order.
    """
    found: dict[str, Message] = {}
    for run, kind, text in _frames(lines, attempt):
        message = found.setdefault(run, Message(run))
        if kind == "part":
            _take(message, text)
        elif kind == "end":
            message.end = _record(text) or message.end
    return list(found.values())


def _frames(lines: Iterable[str], attempt: str) -> Iterator[tuple[str, str, str]]:
    begin = f"{MARK}{attempt}:"
    for line in lines:
        if line.startswith(begin):
            run, _, rest = line[len(begin) :].rstrip("\r\n").partition(":")
            kind, _, text = rest.partition(":")
            yield run, kind, text


def _take(message: Message, text: str) -> None:
    """Keep a piece; one that was cut off is as good as missing, and the digest tells the rest."""
    number, _, data = text.partition(":")
    at, _, _ = number.partition("/")
    try:
        message.parts[int(at)] = base64.b64decode(data, validate=True)
    except (ValueError, binascii.Error):
        return


def _record(text: str) -> EndRecord | None:
    return parse_record(_decode(text))


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        return b""


def parse_record(data: bytes) -> EndRecord | None:
    """Read a record; None where it is not whole."""
    try:
        raw = json.loads(data)
        return EndRecord(
            status=int(raw["status"]),
            reason=str(raw["reason"]),
            detail=" ".join(str(raw["detail"]).split()),
            began=_moment(raw["began"]),
            ended=_moment(raw["ended"]),
            pieces=int(raw["pieces"]),
            size=int(raw["bytes"]),
            digest=str(raw["sha256"]),
        )
    except (ValueError, KeyError, TypeError, OverflowError):
        return None


def _moment(seconds: object) -> str:
    if not isinstance(seconds, int):
        raise TypeError
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
