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
    folder = tmp_path / "small"
    folder.mkdir()
    argv = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(folder)]
    try:
        made = subprocess.run(argv, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        made = False
    if not made:
        pytest.skip("this user may not mount a file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def left(into: Path) -> list[str]:
    return sorted(path.name for path in into.iterdir())


def test_artifacts_and_logs_come_whole_and_nothing_else(source: Path, tmp_path: Path) -> None:
    collect(source, tmp_path / "out")
    assert (tmp_path / "out/artifacts/deep/scores.json").read_bytes() == MEGABYTE
    assert (tmp_path / "out/logs/client.log").read_text() == "fine\n"
    assert left(tmp_path / "out") == ["artifacts", "logs"]


def test_a_second_time_replaces_the_first_and_leaves_other_files(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    collect(source, out)
    (out / "run.sh").write_text("mine")
    (out / "artifacts/stale").write_text("from another attempt")
    (source / "artifacts/deep/scores.json").write_text("new")
    collect(source, out)
    assert (out / "artifacts/deep/scores.json").read_text() == "new"
    assert not (out / "artifacts/stale").exists()
    assert left(out) == ["artifacts", "logs", "run.sh"]


def test_a_full_disk_loses_nothing(source: Path, small_disk: Path) -> None:
    out = small_disk / "out"
    (out / "artifacts").mkdir(parents=True)
    (out / "artifacts/old").write_text("as before")
    with pytest.raises(CollectError, match="No space left on device") as caught:
        collect(source, out)
    assert "MB are free there" in str(caught.value)
    assert (out / "artifacts/old").read_text() == "as before"
    assert left(out) == ["artifacts"]
    assert (source / "artifacts/deep/scores.json").read_bytes() == MEGABYTE


def test_a_file_that_may_not_grow_so_large_is_an_error(source: Path, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, hard))
    try:
        with pytest.raises(CollectError, match="File too large"):
            collect(source, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert left(tmp_path / "out") == []


def test_what_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CollectError, match="No such file"):
        collect(tmp_path / "nowhere", tmp_path / "out")


def test_links_that_lead_out_and_what_is_no_file_stay_behind_and_are_named(source: Path, tmp_path: Path) -> None:
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
    assert left(out / "artifacts") == ["deep", "inside"]
    assert (out / "artifacts/inside").read_bytes() == MEGABYTE
    named = [line.partition(":")[0] for line in (out / "logs/left-out.txt").read_text().splitlines()]
    assert sorted(named) == [f"artifacts/{name}" for name in ("absolute", "climbing", "folder", "pipe")]


def test_what_a_killed_collector_left_is_removed(source: Path, tmp_path: Path) -> None:
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    (tmp_path / f"out/.collect-{int(gone.stdout)}-00000000/artifacts").mkdir(parents=True)
    collect(source, tmp_path / "out")
    assert left(tmp_path / "out") == ["artifacts", "logs"]
