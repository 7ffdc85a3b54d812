"""Redaction of collected files."""

from __future__ import annotations

import base64
import gzip
import os
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.plans import make_spec

from nel_action.files import open_zip
from nel_action.lifecycle.redact_files import redact_job_files
from nel_action.model.env_ref import EnvRef
from nel_action.model.run_files import JobFiles
from nel_action.planning.jobs import Context
from nel_action.planning.planner import make_plan

SECRET = "k3y-t0p-s3cret-value"
ZSTANDARD = 93
"""Its number as the compression of a zip member."""


def test_collected_logs_and_artifacts_contain_no_secret_in_any_form(tmp_path: Path) -> None:
    job = make_plan(make_spec("a"), Context(), base_dir=tmp_path).jobs[0]
    job = replace(job, env={"KEY": EnvRef.host("KEY"), "METRIC_KEY": EnvRef.host("METRIC_KEY")})
    files = JobFiles(tmp_path)
    text = f"accuracy {SECRET} {base64.b64encode(SECRET.encode()).decode()}\n"
    for folder in (files.logs, files.artifacts / "sub"):
        folder.mkdir(parents=True)
        (folder / "file.txt").write_text(text)
    (files.artifacts / "model.bin").write_bytes(b"\0" + SECRET.encode())
    redact_job_files(job, files, {"KEY": SECRET, "METRIC_KEY": "accuracy"})
    assert (files.logs / "file.txt").read_text() == "*** *** ***\n"
    assert (files.artifacts / "sub/file.txt").read_text() == "accuracy *** ***\n"
    assert (files.artifacts / "model.bin").read_bytes() == b"\0" + b"*" * len(SECRET)
    assert not list(tmp_path.rglob("*.redacted"))


@pytest.fixture
def collected(tmp_path: Path) -> JobFiles:
    files = JobFiles(tmp_path)
    for folder in (files.logs, files.artifacts):
        folder.mkdir(parents=True)
    return files


def redact(files: JobFiles, references: dict[str, EnvRef], environ: dict[str, str]) -> None:
    job = make_plan(make_spec("a"), Context(), base_dir=files.root).jobs[0]
    redact_job_files(replace(job, env=references), files, environ)


def test_compressed_artifacts_are_unpacked_and_keep_their_other_content(collected: JobFiles) -> None:
    text = f'{{"model": "accuracy", "header": "{SECRET}"}}\n'
    with gzip.open(collected.artifacts / "samples.jsonl.gz", "wt") as out:
        out.write(text)
    with zipfile.ZipFile(collected.artifacts / "log.eval", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.json", text)
        archive.writestr("data.bin", b"\0" + SECRET.encode())
        archive.writestr("other/plain.json", "{}")
    redact(collected, {"KEY": EnvRef.host("KEY"), "NAME": EnvRef.host("NAME")}, {"KEY": SECRET, "NAME": "accuracy"})
    expected = text.replace(SECRET, "***")
    assert gzip.decompress((collected.artifacts / "samples.jsonl.gz").read_bytes()).decode() == expected
    with zipfile.ZipFile(collected.artifacts / "log.eval") as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["header.json", "data.bin", "other/plain.json"]
        assert archive.read("header.json").decode() == expected
        assert archive.read("data.bin") == b"\0" + b"*" * len(SECRET)


def test_members_compressed_with_zstandard_are_unpacked(collected: JobFiles) -> None:
    log = collected.artifacts / "log.eval"
    with open_zip(log, "w") as archive:
        archive.writestr("header.json", f'{{"header": "{SECRET}"}}', compress_type=ZSTANDARD)
        archive.writestr("samples/1.json", "{}", compress_type=ZSTANDARD)
    redact(collected, {"KEY": EnvRef.host("KEY")}, {"KEY": SECRET})
    with open_zip(log) as archive:
        assert [member.compress_type for member in archive.infolist()] == [ZSTANDARD] * 2
        assert archive.read("header.json") == b'{"header": "***"}'
        assert archive.read("samples/1.json") == b"{}"


def test_damaged_member_keeps_its_archive(collected: JobFiles, caplog: pytest.LogCaptureFixture) -> None:
    log = collected.artifacts / "log.eval"
    with open_zip(log, "w") as archive:
        archive.writestr("header.json", os.urandom(5000).hex(), compress_type=ZSTANDARD)
    data = bytearray(log.read_bytes())
    data[2000:2010] = bytes(10)
    log.write_bytes(data)
    redact(collected, {"KEY": EnvRef.host("KEY")}, {"KEY": SECRET})
    assert log.read_bytes() == data
    assert "log.eval cannot be unpacked" in caplog.text


def test_files_without_secrets_are_not_rewritten(collected: JobFiles) -> None:
    paths = [collected.artifacts / name for name in ("a.gz", "b.zip", "c.bin", "d.txt", "damaged.gz", "damaged.zip")]
    with zipfile.ZipFile(paths[1], "w") as archive:
        archive.writestr("x", "y")
    for path, data in zip(paths, (gzip.compress(b"x"), None, b"\0x", b"x", b"\x1f\x8bx", b"PK\x03\x04x"), strict=True):
        if data is not None:
            path.write_bytes(data)
        path.touch()
    before = [(path.read_bytes(), path.stat().st_ino) for path in paths]
    redact(collected, {"KEY": EnvRef.host("KEY")}, {"KEY": SECRET})
    assert [(path.read_bytes(), path.stat().st_ino) for path in paths] == before
    assert len(list(collected.root.rglob("*"))) == len(paths) + 2


@pytest.mark.parametrize("offset", [0, 1, (1 << 20) - 5, (1 << 20) - 1, 1 << 20])
def test_secret_across_blocks_of_a_binary_file_is_found(collected: JobFiles, offset: int) -> None:
    path = collected.artifacts / "model.bin"
    path.write_bytes(b"\0" * offset + b"\0" + SECRET.encode() + b"\0" * 100)
    redact(collected, {"KEY": EnvRef.host("KEY")}, {"KEY": SECRET})
    assert path.read_bytes() == b"\0" * offset + b"\0" + b"*" * len(SECRET) + b"\0" * 100


def test_variables_of_the_machine_that_runs_the_job_are_redacted_if_this_machine_has_them(collected: JobFiles) -> None:
    path = collected.logs / "client.log"
    path.write_text(f"token {SECRET}\n")
    redact(collected, {"KEY": EnvRef.runtime("NODE_KEY")}, {"NODE_KEY": SECRET})
    assert path.read_text() == "token ***\n"
