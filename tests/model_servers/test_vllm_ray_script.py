"""The script that joins nodes to a Ray cluster, run with a `ray` that records its calls."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from nel_action.model_servers import vllm

SCRIPT = Path(vllm.__file__).with_name(vllm.RAY_SCRIPT)
RAY = """#!/bin/sh
echo "ray $*" >> "$CALLS"
case "$1" in
    status) i=0; while [ "$i" -lt "$(cat "$NODES")" ]; do echo " 1 node_$i"; i=$((i + 1)); done ;;
    start) [ ! -e "$REFUSE" ] || { rm "$REFUSE"; exit 1; } ;;
esac
"""


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    """Write the double of `ray`; return the file with its calls."""
    (tmp_path / "bin").mkdir()
    for name, text in {"ray": RAY, "sleep": '#!/bin/sh\necho 9 > "$NODES"\n'}.items():
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "nodes").write_text("1")
    return tmp_path / "calls"


def run_script(calls: Path, *argv: str, **env: str) -> subprocess.CompletedProcess[str]:
    home = calls.parent
    variables = {"CALLS": str(calls), "NODES": str(home / "nodes"), "REFUSE": str(home / "refuse")}
    path = {"PATH": f"{home / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(
        ["bash", str(SCRIPT), *argv], env={**path, **variables, **env}, capture_output=True, text=True, check=False
    )


def test_head_waits_for_all_nodes_and_then_runs_the_server(calls: Path) -> None:
    completed = run_script(
        calls, "printf", "%s|%s", "two words", "$x", PROC_ID="0", NODES_PER_INSTANCE="2", MASTER_IP="10.0.0.1"
    )
    assert completed.returncode == 0
    assert completed.stdout == "two words|$x"
    lines = calls.read_text().splitlines()
    assert lines[0].startswith("ray start --head --port=6379 --node-manager-port=")
    assert lines.count("ray status") == 2


def test_head_without_workers_starts_the_server_at_once(calls: Path) -> None:
    completed = run_script(calls, "sh", "-c", 'echo "$RAY_ADDRESS ${VLLM_HOST_IP:-none}"')
    assert completed.stdout == "127.0.0.1:6379 none\n"


def test_worker_retries_until_the_head_responds_and_runs_no_server(calls: Path) -> None:
    (calls.parent / "refuse").touch()
    completed = run_script(calls, "echo", "never", PROC_ID="1", MASTER_IP="10.0.0.1")
    assert completed.returncode == 0
    assert "never" not in completed.stdout
    starts = calls.read_text().splitlines()
    assert len(starts) == 2
    assert all(line.startswith("ray start --address=10.0.0.1:6379") and line.endswith("--block") for line in starts)


def test_head_and_worker_give_up_after_the_timeout(calls: Path) -> None:
    completed = run_script(calls, "echo", "never", PROC_ID="0", NODES_PER_INSTANCE="3", RAY_JOIN_TIMEOUT="0")
    assert completed.returncode == 1
    assert "only 1 of 3 nodes joined" in completed.stderr
    (calls.parent / "refuse").touch()
    completed = run_script(calls, "echo", "never", PROC_ID="1", MASTER_IP="10.0.0.1", RAY_JOIN_TIMEOUT="0")
    assert completed.returncode == 1
    assert "did not respond" in completed.stderr


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_script_passes_shellcheck() -> None:
    subprocess.run(["shellcheck", str(SCRIPT)], check=True)
