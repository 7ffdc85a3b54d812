"""The durable record of answered requests: append-only segments, an index in memory, group commit.

A directory holds segments `<sequence>-<random>.segment`, each written by one process and never changed afterwards:

    segment = magic, entry, entry, …          the first entry is the header (JSON)
    entry   = length (4 bytes), CRC-32 (4 bytes), payload; little-endian
    payload = key (32 bytes), number (4 bytes), length of meta (4 bytes), meta (JSON), request body, answer body

A reader stops at the first incomplete or damaged entry of a segment and never truncates. Of several entries for one key
and number, that of the earliest segment is valid. Segments of a newer format are ignored and counted.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import struct
import time
import uuid
import zlib
from typing import Any, BinaryIO, Callable, Iterator, NamedTuple, Sequence

from nel_action.gateway.requests import CANONICAL_VERSION, KEY_SIZE
from nel_action.gateway.spending import add_entry

__all__ = ["FORMAT_VERSION", "SHORT_KEY", "Entry", "Index", "Segment", "Writer", "read_segment", "segments"]

FORMAT_VERSION = 1
MAGIC = b"NELREC\r\n"
MAX_SEGMENT = 64 * 1024 * 1024
"""Bytes after which a new segment begins."""
MAX_RECORD = 4 * 1024 * 1024 * 1024
"""Bytes of all segments of a directory; later answers are not stored."""
MAX_REQUEST = 64 * 1024
"""Bytes of a request body up to which it is stored; of a longer one only its key is."""
SHORT_KEY = 16
"""Bytes of a key by which answers are found: 128 bits never collide in practice and take less memory."""
MAX_ENTRY = 32 * 1024 * 1024

_NAME = re.compile(r"(\d{6})-[0-9a-f]{16}\.segment")
_FRAME = struct.Struct("<II")
_PREFIX = struct.Struct(f"<{KEY_SIZE}sII")


class Entry(NamedTuple):
    """One recorded answer."""

    key: bytes
    number: int
    """Occurrence of the request within its pass, from 0."""
    meta: dict[str, Any]
    """`time` (Unix seconds), `status`, `type`, `flags`, `usage`, `latency` (s), `tries`, `model`, `path`,
    `malformed`, `request_size`, `answer_size`."""
    request: bytes
    """Body as sent upstream; empty if it was too long or is not stored."""
    answer: bytes
    """Body as received."""


class Segment(NamedTuple):
    """A segment file."""

    path: str
    header: dict[str, Any]
    """`format`, `canonical`, `key`, `attempt`, `invocation`, `time`."""


def segments(directory: str) -> tuple[list[Segment], int]:
    """Return the readable segments of a directory, the earliest first, and the number of those of a newer format."""
    try:
        names = sorted(name for name in os.listdir(directory) if _NAME.fullmatch(name))
    except FileNotFoundError:
        return [], 0
    readable, newer = [], 0
    for name in names:
        path = os.path.join(directory, name)
        header = _read_header(path)
        if header is None:
            continue
        if header.get("format") != FORMAT_VERSION or header.get("canonical") != CANONICAL_VERSION:
            newer += 1
            continue
        readable.append(Segment(path, header))
    return readable, newer


def _read_header(path: str) -> dict[str, Any] | None:
    with open(path, "rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            return None
        payload = _read_payload(file)
    if payload is None:
        return None
    try:
        header = json.loads(payload)
    except ValueError:
        return None
    return header if isinstance(header, dict) else None


def _read_payload(file: BinaryIO) -> bytes | None:
    """Read the next payload; None at the end and at the first incomplete or damaged entry."""
    frame = file.read(_FRAME.size)
    if len(frame) < _FRAME.size:
        return None
    length, checksum = _FRAME.unpack(frame)
    if length > MAX_ENTRY:
        return None
    payload = file.read(length)
    return payload if len(payload) == length and zlib.crc32(payload) == checksum else None


def read_segment(path: str) -> Iterator[tuple[int, bytes]]:
    """Yield offset and payload of each intact entry after the header."""
    with open(path, "rb", buffering=1024 * 1024) as file:
        file.seek(len(MAGIC))
        if _read_payload(file) is None:
            return
        while True:
            offset = file.tell()
            payload = _read_payload(file)
            if payload is None or len(payload) < _PREFIX.size:
                return
            yield offset, payload


def pack(entry: Entry) -> bytes:
    """Serialise an entry with its length and checksum."""
    meta = json.dumps(entry.meta, separators=(",", ":")).encode()
    prefix = _PREFIX.pack(entry.key, entry.number, len(meta))
    payload = b"".join((prefix, meta, entry.request, entry.answer))
    return _FRAME.pack(len(payload), zlib.crc32(payload)) + payload


def unpack(payload: bytes) -> Entry:
    """Parse a payload.

    Raises:
        ValueError: it is no entry.
    """
    key, number, length = _PREFIX.unpack_from(payload)
    end = _PREFIX.size + length
    meta = json.loads(payload[_PREFIX.size : end])
    middle = len(payload) - meta["answer_size"]
    if middle < end:
        msg = "sizes of an entry do not fit"
        raise ValueError(msg)
    return Entry(key, number, meta, payload[end:middle], payload[middle:])


class Index:
    """Where each replayable answer is stored; about 250 bytes of memory per answer."""

    def __init__(
        self, directory: str, *, skip: Callable[[dict[str, Any]], bool] = lambda _: False, invocation: str = ""
    ) -> None:
        """Read all segments of a directory.

        Args:
            directory: of the segments; may not exist yet; empty for no record.
            skip: whether an entry with this meta is not to be replayed.
            invocation: whose answers are summed up in `paid`.
        """
        self._files: list[BinaryIO] = []
        self._first: dict[bytes, int] = {}
        self._others: dict[tuple[bytes, int], int] = {}
        self.size = 0
        """Bytes of all segments at the start."""
        self.unreadable = 0
        """Segments of a newer format, which were ignored."""
        self.paid: dict[str, int] = {}
        """Amounts that the invocation has paid for (see `spending`)."""
        readable, self.unreadable = segments(directory) if directory else ([], 0)
        for segment in readable:
            self._read(segment.path, skip, paid=bool(invocation) and segment.header.get("invocation") == invocation)

    def __len__(self) -> int:
        return len(self._first) + len(self._others)

    def _read(self, path: str, skip: Callable[[dict[str, Any]], bool], *, paid: bool) -> None:
        self.size += os.path.getsize(path)
        file = self.add_file(path)
        for offset, payload in read_segment(path):
            try:
                key, number, length = _PREFIX.unpack_from(payload)
                meta = json.loads(payload[_PREFIX.size : _PREFIX.size + length])
            except ValueError:
                return
            if paid:
                add_entry(self.paid, meta)
            if meta.get("malformed") is None and not skip(meta):
                self.add(key, number, file, offset)

    def add_file(self, path: str) -> int:
        """Register a segment; return its number for `add`."""
        self._files.append(open(path, "rb", buffering=0))  # noqa: SIM115 - closed by close
        return len(self._files) - 1

    def add(self, key: bytes, number: int, file: int, offset: int) -> None:
        """Register an answer; the earliest one of a key and number stays.

        Args:
            key: of the request, 32 bytes.
            number: occurrence of the request within its pass.
            file: number of the segment, from `add_file`.
            offset: of the entry in the segment, in bytes.
        """
        location = file << 40 | offset
        short = key[:SHORT_KEY]
        if number == 0:
            self._first.setdefault(short, location)
        else:
            self._others.setdefault((short, number), location)

    def get(self, key: bytes, number: int) -> Entry | None:
        """Return a recorded answer; None where there is none or its file was damaged since."""
        short = key[:SHORT_KEY]
        location = self._first.get(short) if number == 0 else self._others.get((short, number))
        if location is None:
            return None
        file = self._files[location >> 40].fileno()
        offset = location & ((1 << 40) - 1)
        length, checksum = _FRAME.unpack(os.pread(file, _FRAME.size, offset))
        payload = os.pread(file, length, offset + _FRAME.size)
        if len(payload) != length or zlib.crc32(payload) != checksum:
            return None
        entry = unpack(payload)
        return entry if entry.key == key else None

    def close(self) -> None:
        """Close the files."""
        for file in self._files:
            file.close()


class Writer:
    """Appends entries to a segment of its own; the directory has mode 0700, the files 0600.

    A failing disk never fails a request: writing stops and `problem` says why.
    """

    def __init__(self, directory: str, header: dict[str, Any], index: Index) -> None:
        """Prepare; the first segment is created with the first entry.

        Args:
            directory: of the segments; created if missing.
            header: `key`, `attempt` and `invocation` for the header of each segment.
            index: learns of each durable entry.
        """
        self._directory = directory
        self._header = header
        self._index = index
        self._size = index.size
        self._file: BinaryIO | None = None
        self._file_number = -1
        self._offset = 0
        self._queue: list[tuple[Entry, asyncio.Future[None]]] = []
        self._flushing: asyncio.Task[None] | None = None
        self.problem: str | None = None
        """Why answers are no longer stored; None while they are."""

    async def append(self, entry: Entry) -> None:
        """Store an entry; return when it is durable, or when `problem` is set."""
        if self.problem is not None:
            return
        done = asyncio.get_event_loop().create_future()
        self._queue.append((entry, done))
        if self._flushing is None:
            self._flushing = asyncio.ensure_future(self._flush())
        await done

    async def close(self) -> None:
        """Write what is queued and close the segment."""
        if self._flushing is not None:
            await self._flushing
        if self._file is not None:
            self._file.close()
            self._file = None

    async def _flush(self) -> None:
        """Write groups of entries; while one group is synced, the next one gathers."""
        loop = asyncio.get_event_loop()
        try:
            while self._queue:
                batch, self._queue = self._queue, []
                if self.problem is None:
                    try:
                        offsets = await loop.run_in_executor(None, self._write, [entry for entry, _ in batch])
                    except OSError as error:
                        self.problem = "the record cannot be written: %s" % (error.strerror or error)
                    else:
                        for (entry, _), offset in zip(batch, offsets):
                            if offset is not None and entry.meta.get("malformed") is None:
                                self._index.add(entry.key, entry.number, self._file_number, offset)
                for _, done in batch:
                    if not done.done():
                        done.set_result(None)
        finally:
            self._flushing = None

    def _write(self, entries: Sequence[Entry]) -> list[int | None]:
        """Write and sync a group; runs in a thread."""
        offsets: list[int | None] = []
        data: list[bytes] = []
        if self._file is None or self._offset > MAX_SEGMENT:
            self._open()
        assert self._file is not None  # noqa: S101 - opened above
        for entry in entries:
            packed = pack(entry)
            if self._size + len(packed) > MAX_RECORD:
                self.problem = f"the record has reached its limit of {MAX_RECORD} bytes"
                offsets.append(None)
                continue
            offsets.append(self._offset)
            self._offset += len(packed)
            self._size += len(packed)
            data.append(packed)
        _write_all(self._file, b"".join(data))
        os.fdatasync(self._file.fileno())
        return offsets

    def _open(self) -> None:
        """Begin a new segment."""
        if self._file is not None:
            self._file.close()
            self._file = None
        os.makedirs(self._directory, mode=0o700, exist_ok=True)
        taken = [int(match[1]) for match in map(_NAME.fullmatch, os.listdir(self._directory)) if match]
        name = f"{max(taken, default=0) + 1:06}-{uuid.uuid4().hex[:16]}.segment"
        path = os.path.join(self._directory, name)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        file = os.fdopen(os.open(path, flags, 0o600), "wb", buffering=0)
        header = {**self._header, "format": FORMAT_VERSION, "canonical": CANONICAL_VERSION, "time": time.time()}
        payload = json.dumps(header).encode()
        start = MAGIC + _FRAME.pack(len(payload), zlib.crc32(payload)) + payload
        _write_all(file, start)
        _sync_directory(self._directory)
        self._file, self._offset = file, len(start)
        self._file_number = self._index.add_file(path)


def _write_all(file: BinaryIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def _sync_directory(directory: str) -> None:
    """Make a new name in a directory durable; not every network file system can."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)
