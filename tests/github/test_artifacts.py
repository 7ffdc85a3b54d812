"""Artifacts: names, safe extraction of archives, and selection and redaction of uploaded files."""

from __future__ import annotations

import base64
import gzip
import io
import zipfile
from pathlib import Path

import pytest
from tests.doubles.github.server import GitHubDouble

from nel_action.errors import ResultsError
from nel_action.github import artifacts as artifacts_module
from nel_action.github.api import GitHubApi
from nel_action.github.artifacts import (
    artifact_name,
    copy_artifact_files,
    download_results,
    extract_results,
    list_artifacts,
)
from nel_action.model.file_names import file_name, original_name
from nel_action.redaction import HIDDEN, Redactor

REPOSITORY = "Codertocat/Hello-World"
SECRET = "s3cret-of-the-model"


def zipped(**files: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


@pytest.mark.parametrize(
    ("check", "name"),
    [
        ("Benchmark gate", "nel-action-benchmark-gate"),
        ("é/..\\:*", "nel-action._.e9__.2f_.._.5c__.3a__.2a_"),
        ("A  b", "nel-action.A_.20__.20_b"),
    ],
)
def test_artifact_name_contains_allowed_characters_only(check: str, name: str) -> None:
    assert artifact_name(check) == name


def test_extract_results_writes_known_files_only(tmp_path: Path) -> None:
    data = zipped(**{"results.json": b"{}", "samples/gsm8k.jsonl.gz": b"x", "logs/evil.sh": b"rm", "x.json": b"y"})
    extract_results(data, tmp_path / "out")
    names = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert names == {"out/results.json", "out/samples/gsm8k.jsonl.gz"}


@pytest.mark.parametrize(
    "name", ["../results.json", "/root/results.json", "samples/../../x.jsonl.gz", "samples//x.jsonl.gz"]
)
def test_extract_results_ignores_names_outside_the_folder(tmp_path: Path, name: str) -> None:
    extract_results(zipped(**{"results.json": b"{}", name: b"evil"}), tmp_path / "out")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["results.json"]


def test_extract_results_writes_symbolic_link_as_text(tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        link = zipfile.ZipInfo("results.json")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    extract_results(out.getvalue(), tmp_path)
    assert not (tmp_path / "results.json").is_symlink()
    assert (tmp_path / "results.json").read_text() == "/etc/passwd"


def test_extract_results_stops_at_content_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifacts_module, "CONTENT_LIMIT", 1_000_000)
    with pytest.raises(ResultsError, match="unpacks to more"):
        extract_results(zipped(**{"results.json": b"0" * 50_000_000}), tmp_path)
    assert (tmp_path / "results.json").stat().st_size <= 1_000_000


def test_extract_results_refuses_too_many_files(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="2001 files"):
        extract_results(zipped(**{f"f{number}": b"" for number in range(2001)}), tmp_path)


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 cut", zipped(**{"other.json": b"{}"})])
def test_extract_results_refuses_damaged_archive_or_missing_results(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(ResultsError):
        extract_results(data, tmp_path)


def test_extract_results_refuses_corrupted_content(tmp_path: Path) -> None:
    data = bytearray(zipped(**{"results.json": b"abc" * 1000}))
    data[60] ^= 0xFF
    with pytest.raises((ResultsError, zipfile.BadZipFile)):
        extract_results(bytes(data), tmp_path)


def test_list_artifacts_skips_expired_and_marks_forks(api: GitHubApi, hub: GitHubDouble, tmp_path: Path) -> None:
    hub.store.add_artifact(1, "gate", b"", expired=True)
    fork = hub.store.add_artifact(2, "gate", b"")
    own = hub.store.add_artifact(3, "gate", zipped(**{"results.json": b"{}"}))
    for number, head_repository in ((fork, 9), (own, 5)):
        hub.store.artifacts[number]["workflow_run"] |= {
            "repository_id": 5,
            "head_repository_id": head_repository,
            "head_branch": "main",
            "head_sha": "a",
        }
    artifacts = list(list_artifacts(api, REPOSITORY, "gate"))
    listed = [(artifact.id, artifact.same_repository, artifact.branch) for artifact in artifacts]
    assert listed == [(own, True, "main"), (fork, False, "main")]
    assert (download_results(api, REPOSITORY, artifacts[0], tmp_path) / "results.json").read_bytes() == b"{}"
    assert [artifact.id for artifact in list_artifacts(api, REPOSITORY, "gate", run_id=2)] == [fork]


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


def test_copy_artifact_files_selects_known_files_only(run_dir: Path, tmp_path: Path) -> None:
    omitted = copy_artifact_files(run_dir, tmp_path / "kept", Redactor([SECRET]))
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
    assert omitted == ["samples/cut.jsonl.gz"]


def test_copy_artifact_files_redacts_text_bytes_and_archives(run_dir: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    copy_artifact_files(run_dir, kept, Redactor([SECRET]))
    assert (kept / "report.md").read_text() == f"leaked {HIDDEN}"
    assert (kept / "arith/logs/client.log").read_bytes() == f"\xff\x00 key {HIDDEN}\n".encode("latin-1")
    assert HIDDEN in gzip.decompress((kept / "samples/arith.jsonl.gz").read_bytes()).decode()
    assert (kept / "samples/clean.jsonl.gz").read_bytes() == (run_dir / "samples/clean.jsonl.gz").read_bytes()


def test_copy_artifact_files_returns_names_of_files_that_are_too_large(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifacts_module, "UPLOAD_LIMIT", 3)
    omitted = copy_artifact_files(run_dir, tmp_path / "kept", Redactor([]))
    assert "report.md" in omitted
    assert (tmp_path / "kept/results.json").exists()


def test_artifact_names_of_different_gates_differ() -> None:
    checks = (
        "GPT 4",
        "GPT-4",
        "gpt-4",
        "Gpt 4",
        "模型",
        "模型二",
        "модель",
        "gate",
        "Gate",
        "gate.",
        "nel-action.gate",
    )
    assert len({artifact_name(check) for check in checks}) == len(checks)


def test_samples_of_every_task_name_are_extracted(tmp_path: Path) -> None:
    tasks = ("file.py@task", "a/b.py@t-1", "задача", "results.json", "x y", "日本", ".hidden", "a@b@c", "a.2")
    names = {f"samples/{file_name(task)}.jsonl.gz": b"x" for task in tasks}
    folder = extract_results(zipped(**{"results.json": b"{}"}, **names), tmp_path)
    assert {f"samples/{path.name}" for path in (folder / "samples").iterdir()} == names.keys()
    assert {original_name(path.name.removesuffix(".jsonl.gz")) for path in (folder / "samples").iterdir()} == set(tasks)


@pytest.mark.parametrize(
    "content",
    [
        b"x" * (5 * 1024 * 1024),
        b"\n" * 2_000_001,
        b'{"id": "1", "scores": {"acc": 1}}\n' * 1_000_000,
    ],
    ids=["long line", "many lines", "ratio"],
)
def test_bombs_inside_samples_are_rejected(content: bytes, tmp_path: Path) -> None:
    data = zipped(**{"results.json": b"{}", "samples/t.jsonl.gz": gzip.compress(content, 9)})
    with pytest.raises(ResultsError, match="cannot be extracted"):
        extract_results(data, tmp_path)


def test_samples_together_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nel_action.github.artifacts.CONTENT_LIMIT", 150_000)
    files = {f"samples/{index}.jsonl.gz": gzip.compress(b"line of samples\n" * 5_000) for index in range(3)}
    with pytest.raises(ResultsError, match="unpacks to more than"):
        extract_results(zipped(**{"results.json": b"{}", **files}), tmp_path)


def test_damaged_samples_are_left_to_the_gate(tmp_path: Path) -> None:
    damaged = gzip.compress(b"line\n" * 5_000)[:-9]
    extract_results(zipped(**{"results.json": b"{}", "samples/t.jsonl.gz": damaged}), tmp_path)
    assert (tmp_path / "samples/t.jsonl.gz").read_bytes() == damaged


def test_plain_word_in_a_secret_variable_does_not_rewrite_results(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "samples").mkdir(parents=True)
    text = b'{"metric": "accuracy", "detail": "k3y-t0p-s3cret"}'
    (run / "results.json").write_bytes(text)
    (run / "report.md").write_bytes(text)
    (run / "samples/t.jsonl.gz").write_bytes(gzip.compress(text))
    copy_artifact_files(run, tmp_path / "copy", Redactor(["accuracy", "k3y-t0p-s3cret"]))
    kept = b'{"metric": "accuracy", "detail": "***"}'
    assert (tmp_path / "copy/results.json").read_bytes() == kept
    assert gzip.decompress((tmp_path / "copy/samples/t.jsonl.gz").read_bytes()) == kept
    assert (tmp_path / "copy/report.md").read_bytes() == b'{"metric": "***", "detail": "***"}'
