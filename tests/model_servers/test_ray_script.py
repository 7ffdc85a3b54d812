"""The script that joins nodes to a Ray cluster, run for real with a `ray` that only keeps a diary."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from nel_action.model_servers import vllm_ray

SCRIPT = Path(vllm_ray.__file__).with_name(vllm_ray.SCRIPT)
RAY = """#!/bin/sh
echo "ray $*" >> "$DIARY"
case "$1" in
    status) i=0; while [ "$i" -lt "$(cat "$NODES")" ]; do echo " 1 node_$i"; i=$((i + 1)); done ;;
    start) [ ! -e "$REFUSE" ] || { rm "$REFUSE"; exit 1; } ;;
esac
"""


@pytest.fixture
def diary(tmp_path: Path) -> Path:
    """Put the double on the path's first place; return its diary."""
    (tmp_path / "bin").mkdir()
    for name, text in {"ray": RAY, "sleep": '#!/bin/sh\necho 9 > "$NODES"\n'}.items():
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "nodes").write_text("1")
    return tmp_path / "diary"


def run(diary: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    home = diary.parent
    known = {"DIARY": str(diary), "NODES": str(home / "nodes"), "REFUSE": str(home / "refuse")}
    path = {"PATH": f"{home / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(
        ["bash", str(SCRIPT), *words], env={**path, **known, **env}, capture_output=True, text=True, check=False
    )


def test_the_head_waits_for_all_nodes_and_then_becomes_the_server(diary: Path) -> None:
    ran = run(diary, "printf", "%s|%s", "two words", "$x", PROC_ID="0", NODES_PER_INSTANCE="2", MASTER_IP="10.0.0.1")
    assert ran.returncode == 0
    assert ran.stdout == "two words|$x"
    lines = diary.read_text().splitlines()
    assert lines[0].startswith("ray start --head --port=6379 --node-manager-port=")
    assert lines.count("ray status") == 2


def test_on_one_machine_the_head_is_alone(diary: Path) -> None:
    ran = run(diary, "sh", "-c", 'echo "$RAY_ADDRESS ${VLLM_HOST_IP:-none}"')
    assert ran.stdout == "127.0.0.1:6379 none\n"


def test_a_worker_tries_until_the_head_answers_and_serves_nothing(diary: Path) -> None:
    (diary.parent / "refuse").touch()
    ran = run(diary, "echo", "never", PROC_ID="1", MASTER_IP="10.0.0.1")
    assert ran.returncode == 0
    assert "never" not in ran.stdout
    starts = diary.read_text().splitlines()
    assert len(starts) == 2
    assert all(line.startswith("ray start --address=10.0.0.1:6379") and line.endswith("--block") for line in starts)


def test_waiting_has_an_end(diary: Path) -> None:
    ran = run(diary, "echo", "never", PROC_ID="0", NODES_PER_INSTANCE="3", RAY_JOIN_TIMEOUT="0")
    assert ran.returncode == 1
    assert "only 1 of 3 nodes joined" in ran.stderr
    (diary.parent / "refuse").touch()
    ran = run(diary, "echo", "never", PROC_ID="1", MASTER_IP="10.0.0.1", RAY_JOIN_TIMEOUT="0")
    assert ran.returncode == 1
    assert "did not answer" in ran.stderr


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="needs shellcheck")
def test_shellcheck_finds_nothing() -> None:
    subprocess.run(["shellcheck", str(SCRIPT)], check=True)
