"""What goes into the artifact, and what never does."""

from __future__ import annotations

import base64
import gzip
from pathlib import Path

import pytest

from nel_action.github import artifact_files
from nel_action.github.artifact_files import copy_artifact_files
from nel_action.redaction import HIDDEN, Redactor

SECRET = "s3cret-of-the-model"


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    root = tmp_path / "run"
    files = {
        "results.json": b"{}",
        "report.md": f"leaked {SECRET}".encode(),
        "spec.yaml": b"a: b",
        ".hidden.json": b"x",
        "arith/run.sh": b"echo",
        "arith/logs/client.log": b"\xff\x00 key " + base64.b64encode(SECRET.encode()) + b"\n",
        "arith/logs/deep/more.log": b"fine",
        "arith/artifacts/huge.bin": b"x",
        "arith/artifacts/results.json": b"{}",
        "arith/.secrets.env": SECRET.encode(),
    }
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    (root / "samples").mkdir()
    (root / "samples/arith.jsonl.gz").write_bytes(gzip.compress(f'{{"output": "{SECRET}"}}\n'.encode()))
    (root / "samples/clean.jsonl.gz").write_bytes(gzip.compress(b"{}\n"))
    (root / "samples/cut.jsonl.gz").write_bytes(gzip.compress(b"{}\n" * 1000)[:-12])
    (root / "arith/logs/link.log").symlink_to("/etc/passwd")
    return root


def test_known_things_are_kept_and_nothing_else(run_dir: Path, tmp_path: Path) -> None:
    left = copy_artifact_files(run_dir, tmp_path / "kept", Redactor([SECRET]))
    names = {str(path.relative_to(tmp_path / "kept")) for path in (tmp_path / "kept").rglob("*") if path.is_file()}
    assert names == {
        "results.json",
        "report.md",
        "spec.yaml",
        "arith/run.sh",
        "arith/logs/client.log",
        "arith/logs/deep/more.log",
        "samples/arith.jsonl.gz",
        "samples/clean.jsonl.gz",
    }
    assert left == ["samples/cut.jsonl.gz"]


def test_secrets_are_hidden_in_text_in_bytes_and_in_archives(run_dir: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    copy_artifact_files(run_dir, kept, Redactor([SECRET]))
    assert (kept / "report.md").read_text() == f"leaked {HIDDEN}"
    assert (kept / "arith/logs/client.log").read_bytes() == f"\xff\x00 key {HIDDEN}\n".encode("latin-1")
    assert HIDDEN in gzip.decompress((kept / "samples/arith.jsonl.gz").read_bytes()).decode()
    assert (kept / "samples/clean.jsonl.gz").read_bytes() == (run_dir / "samples/clean.jsonl.gz").read_bytes()


def test_huge_files_stay_behind_and_are_named(run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifact_files, "LARGEST", 3)
    left = copy_artifact_files(run_dir, tmp_path / "kept", Redactor([]))
    assert "report.md" in left
    assert (tmp_path / "kept/results.json").exists()
