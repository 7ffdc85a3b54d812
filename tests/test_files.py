"""Files: limits on everything that is unpacked, and digests of folders."""

from __future__ import annotations

import gzip
import io
import os
import zipfile
from pathlib import Path

import pytest

from nel_action.errors import ResultsError
from nel_action.files import digest_tree, limited, try_lock
from nel_action.formats import inspect_samples
from nel_action.gating.items import read_items
from nel_action.model.results import read_samples


@pytest.mark.parametrize(
    ("data", "accepted"),
    [
        (b"", True),
        (b"x" * 10, True),
        (b"x" * 11, False),
        (b"x" * 10 + b"\n" + b"x" * 10, True),
        (b"x\n" + b"x" * 11 + b"\nx", False),
        (b"x\n" * 25, True),
        (b"x\n" * 26, False),
    ],
)
@pytest.mark.parametrize("chunk", [1, 3, 1000])
def test_limited_reader_rejects_long_lines_and_streams(data: bytes, chunk: int, *, accepted: bool) -> None:
    class Chunks(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(chunk, size or chunk))

    stream = limited(Chunks(data), limit=50, line_limit=10)
    if accepted:
        assert stream.read() == data
    else:
        with pytest.raises(ValueError, match="more than"):
            stream.read()


def test_readers_of_samples_reject_a_line_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.jsonl.gz"
    path.write_bytes(gzip.compress(b" " * 10**7))
    monkeypatch.setattr(limited, "__kwdefaults__", {"limit": 10**9, "line_limit": 10**6})
    with pytest.raises(ResultsError, match="a line of more than"):
        read_items(path, "acc")
    with pytest.raises(ResultsError, match="a line of more than"):
        list(read_samples(path))


def test_member_of_an_inspect_log_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspect_samples, "MEMBER_LIMIT", 1000)
    path = tmp_path / "log.eval"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.json", b" " * 2000 + b"{}")
    with pytest.raises(ResultsError, match="unpacks to more than"):
        inspect_samples.load_log(path)


def test_digest_tree_leaves_out_git_bytecode_run_directories_and_homes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEL_ACTION_HOME", str(tmp_path / "new-home"))
    (tmp_path / "evaluate.py").write_text("one", encoding="utf-8")
    (tmp_path / "runs").mkdir()
    digest = digest_tree(tmp_path)
    for name in (
        ".git/index",
        "__pycache__/a.pyc",
        "runs/20260101-a/invocation.json",
        "runs/20260101-a/jobs/log",
        "old-home/ledger.db",
        "old-home/local/x",
        "new-home/envs/x",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name, encoding="utf-8")
    assert digest_tree(tmp_path) == digest
    (tmp_path / "runs" / "input").write_text("not ours", encoding="utf-8")
    assert digest_tree(tmp_path) != digest


def test_try_lock_is_exclusive_until_its_descriptor_is_closed(tmp_path: Path) -> None:
    first = try_lock(tmp_path / "lock")
    assert first is not None
    assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o600
    assert try_lock(tmp_path / "lock") is None
    os.close(first)
    second = try_lock(tmp_path / "lock")
    assert second is not None
    os.close(second)
