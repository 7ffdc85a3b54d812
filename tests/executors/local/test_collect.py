from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nel_action.errors import CollectError
from nel_action.executors.local.collect import collect

pytestmark = pytest.mark.slow

MEGABYTE = b"x" * 1_000_000


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for name in ("artifacts/deep", "logs", "work"):
        (tmp_path / "source" / name).mkdir(parents=True)
    (tmp_path / "source/artifacts/deep/scores.json").write_bytes(MEGABYTE)
    (tmp_path / "source/logs/client.log").write_text("fine\n")
    return tmp_path / "source"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 300 kB."""
    directory = tmp_path / "small"
    directory.mkdir()
    argv = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(directory)]
    try:
        mounted = subprocess.run(argv, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("this user may not mount a file system")
    yield directory
    subprocess.run(["umount", str(directory)], check=True)


def names(into: Path) -> list[str]:
    return sorted(path.name for path in into.iterdir())


def test_collect_copies_artifacts_and_logs_only(source: Path, tmp_path: Path) -> None:
    collect(source, tmp_path / "out")
    assert (tmp_path / "out/artifacts/deep/scores.json").read_bytes() == MEGABYTE
    assert (tmp_path / "out/logs/client.log").read_text() == "fine\n"
    assert names(tmp_path / "out") == ["artifacts", "logs"]


def test_collect_replaces_an_earlier_copy_and_keeps_other_files(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    collect(source, out)
    (out / "run.sh").write_text("mine")
    (out / "artifacts/stale").write_text("from another attempt")
    (source / "artifacts/deep/scores.json").write_text("new")
    collect(source, out)
    assert (out / "artifacts/deep/scores.json").read_text() == "new"
    assert not (out / "artifacts/stale").exists()
    assert names(out) == ["artifacts", "logs", "run.sh"]


def test_collect_on_a_full_disk_keeps_the_earlier_copy(source: Path, small_disk: Path) -> None:
    out = small_disk / "out"
    (out / "artifacts").mkdir(parents=True)
    (out / "artifacts/old").write_text("as before")
    with pytest.raises(CollectError, match="No space left on device") as caught:
        collect(source, out)
    assert "MB are free there" in str(caught.value)
    assert (out / "artifacts/old").read_text() == "as before"
    assert names(out) == ["artifacts"]
    assert (source / "artifacts/deep/scores.json").read_bytes() == MEGABYTE


def test_collect_reports_a_file_size_limit(source: Path, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, hard))
    try:
        with pytest.raises(CollectError, match="File too large"):
            collect(source, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names(tmp_path / "out") == []


def test_collect_reports_a_missing_attempt(tmp_path: Path) -> None:
    with pytest.raises(CollectError, match="No such file"):
        collect(tmp_path / "nowhere", tmp_path / "out")


def test_collect_skips_and_lists_external_links_and_special_files(source: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("of this machine")
    artifacts = source / "artifacts"
    (artifacts / "inside").symlink_to("deep/scores.json")
    (artifacts / "absolute").symlink_to(secret)
    (artifacts / "climbing").symlink_to("../../secret")
    (artifacts / "folder").symlink_to(tmp_path)
    os.mkfifo(artifacts / "pipe")
    collect(source, tmp_path / "out")
    out = tmp_path / "out"
    assert names(out / "artifacts") == ["deep", "inside"]
    assert (out / "artifacts/inside").read_bytes() == MEGABYTE
    skipped = [line.partition(":")[0] for line in (out / "logs/left-out.txt").read_text().splitlines()]
    assert sorted(skipped) == [f"artifacts/{name}" for name in ("absolute", "climbing", "folder", "pipe")]


def test_collect_removes_the_temporary_directory_of_a_killed_collector(source: Path, tmp_path: Path) -> None:
    process = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    (tmp_path / f"out/.collect-{int(process.stdout)}-00000000/artifacts").mkdir(parents=True)
    collect(source, tmp_path / "out")
    assert names(tmp_path / "out") == ["artifacts", "logs"]
