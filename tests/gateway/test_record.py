from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import os
import stat
import struct
from pathlib import Path

import pytest

from nel_action.gateway import record
from nel_action.gateway.record import Entry, Index, Writer, read_segment, segments, unpack

HEADER = {"key": "nel-0123456789abcdef", "attempt": "1", "invocation": "a" * 16}


def digest(key: int) -> bytes:
    return hashlib.sha256(b"%d" % key).digest()


def entry(key: int = 1, number: int = 0, answer: bytes = b"answer", **meta: object) -> Entry:
    values = {"time": 1.0, "status": 200, "flags": [], "malformed": None, "answer_size": len(answer), **meta}
    return Entry(digest(key), number, values, b"request", answer)


def write(directory: Path, *entries: Entry) -> Writer:
    async def work() -> Writer:
        index = Index(str(directory))
        writer = Writer(str(directory), HEADER, index)
        await asyncio.gather(*(writer.append(item) for item in entries))
        await writer.close()
        index.close()
        return writer

    return asyncio.run(work())


def only_segment(directory: Path) -> Path:
    (path,) = directory.glob("*.segment")
    return path


def get(directory: Path, key: int = 1, number: int = 0) -> Entry | None:
    index = Index(str(directory))
    try:
        return index.get(digest(key), number)
    finally:
        index.close()


def test_written_entries_are_read_back(tmp_path: Path) -> None:
    write(tmp_path, entry(1), entry(1, 1, b"second"), entry(2, answer=b"\0\xff" * 1000))
    assert get(tmp_path) == entry(1)
    assert (get(tmp_path, 1, 1) or entry()).answer == b"second"
    assert (get(tmp_path, 2) or entry()).answer == b"\0\xff" * 1000
    assert get(tmp_path, 3) is None


def test_entries_are_readable_in_the_process_that_writes_them(tmp_path: Path) -> None:
    async def work() -> None:
        index = Index(str(tmp_path))
        writer = Writer(str(tmp_path), HEADER, index)
        await writer.append(entry(7))
        assert index.get(digest(7), 0) == entry(7)
        await writer.close()
        index.close()

    asyncio.run(work())


def test_directory_and_segments_are_private(tmp_path: Path) -> None:
    directory = tmp_path / "record"
    write(directory, entry())
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE(only_segment(directory).stat().st_mode) == 0o600


def test_the_header_names_key_attempt_and_invocation(tmp_path: Path) -> None:
    write(tmp_path, entry())
    (segment,), _ = segments(str(tmp_path))
    assert HEADER.items() <= segment.header.items()


@pytest.mark.parametrize("cut", [1, 7, 8, 20, 60])
def test_a_torn_tail_hides_only_itself_and_is_not_truncated(tmp_path: Path, cut: int) -> None:
    write(tmp_path, entry(1), entry(2))
    path = only_segment(tmp_path)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - cut)
    size = path.stat().st_size
    assert get(tmp_path, 1) == entry(1)
    assert get(tmp_path, 2) is None
    assert path.stat().st_size == size


def test_a_damaged_entry_ends_the_segment(tmp_path: Path) -> None:
    write(tmp_path, entry(1), entry(2), entry(3))
    path = only_segment(tmp_path)
    offsets = [offset for offset, _ in read_segment(str(path))]
    data = bytearray(path.read_bytes())
    data[offsets[1] + 30] ^= 1
    path.write_bytes(data)
    assert get(tmp_path, 1) == entry(1)
    assert get(tmp_path, 2) is None
    assert get(tmp_path, 3) is None


def test_an_absurd_length_is_not_allocated(tmp_path: Path) -> None:
    write(tmp_path, entry(1))
    with only_segment(tmp_path).open("ab") as file:
        file.write(struct.pack("<II", 0xFFFFFFFF, 0) + b"x" * 100)
    assert get(tmp_path, 1) == entry(1)


def test_of_two_entries_for_one_number_the_earliest_segment_wins(tmp_path: Path) -> None:
    write(tmp_path, entry(1, answer=b"first"))
    write(tmp_path, entry(1, answer=b"later"))
    assert len(list(tmp_path.glob("*.segment"))) == 2
    assert (get(tmp_path) or entry()).answer == b"first"


def test_each_process_writes_a_segment_of_its_own(tmp_path: Path) -> None:
    write(tmp_path, entry(1))
    before = only_segment(tmp_path).read_bytes()
    write(tmp_path, entry(2))
    assert min(tmp_path.glob("*.segment")).read_bytes() == before


def test_segments_of_a_newer_format_are_ignored_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, entry(1))
    with monkeypatch.context() as later:
        later.setattr(record, "FORMAT_VERSION", 2)
        write(tmp_path, entry(2))
    index = Index(str(tmp_path))
    index.close()
    assert (len(index), index.unreadable) == (1, 1)


@pytest.mark.parametrize("name", ["notes.txt", "000001-abc.segment", "x-0123456789abcdef.segment"])
def test_other_files_in_the_directory_are_ignored(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"anything")
    assert segments(str(tmp_path)) == ([], 0)


def test_malformed_answers_are_stored_and_never_replayed(tmp_path: Path) -> None:
    write(tmp_path, entry(1, malformed="not JSON"))
    assert get(tmp_path) is None
    ((_, payload),) = read_segment(str(only_segment(tmp_path)))
    assert unpack(payload).meta["malformed"] == "not JSON"


def test_skipped_entries_are_not_replayed(tmp_path: Path) -> None:
    write(tmp_path, entry(1, flags=["empty"]), entry(2))
    index = Index(str(tmp_path), skip=lambda meta: "empty" in meta["flags"])
    index.close()
    assert len(index) == 1


def test_a_large_segment_is_followed_by_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "MAX_SEGMENT", 100)

    async def work() -> None:
        index = Index(str(tmp_path))
        writer = Writer(str(tmp_path), HEADER, index)
        for key in range(3):
            await writer.append(entry(key))
        await writer.close()
        index.close()

    asyncio.run(work())
    assert len(list(tmp_path.glob("*.segment"))) == 3
    assert [get(tmp_path, key) for key in range(3)] == [entry(key) for key in range(3)]


def test_a_full_disk_stops_the_record_and_fails_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fdatasync", full)
    writer = write(tmp_path, entry(1), entry(2))
    assert writer.problem == "the record cannot be written: No space left on device"


def test_the_record_stops_at_its_size_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "MAX_RECORD", 400)
    writer = write(tmp_path, *(entry(key) for key in range(10)))
    assert writer.problem == "the record has reached its limit of 400 bytes"
    assert sum(path.stat().st_size for path in tmp_path.glob("*.segment")) <= 700


def test_sizes_that_do_not_fit_are_no_entry() -> None:
    meta = json.dumps({"answer_size": 99}).encode()
    payload = struct.pack("<32sII", b"k" * 32, 0, len(meta)) + meta + b"short"
    with pytest.raises(ValueError, match="do not fit"):
        unpack(payload)


def test_keys_that_agree_in_their_first_half_are_not_confused(tmp_path: Path) -> None:
    write(tmp_path, entry(1))
    index = Index(str(tmp_path))
    similar = digest(1)[:16] + bytes(16)
    assert index.get(similar, 0) is None
    index.close()
