"""The entry point as a stand-alone script."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nel_action.executors.lepton import job_entrypoint
from nel_action.executors.lepton.log_transport import Transmission, is_transport_line, parse_transmissions

pytestmark = pytest.mark.slow

ATTEMPT = "nel-0123456789abcdef-1"
SOURCE = Path(job_entrypoint.__file__).read_text()


def execute(home: Path, *argv: str, **order: Any) -> tuple[subprocess.CompletedProcess[str], Transmission]:  # noqa: ANN401
    """Run the entry point as a job does; return the process and what it sent."""
    defaults = {
        "attempt": ATTEMPT,
        "home": str(home),
        "keep": False,
        "argv": list(argv),
        "env": {},
        "secret_env": {},
        "files": {},
        "folders": {},
        "hidden": [],
        "gateway": None,
        "timeout": 60,
        "grace": 5,
        "pause": 1,
        "health": None,
        "limit": 1 << 20,
    }
    completed = subprocess.run(
        [sys.executable, "-c", SOURCE, json.dumps(defaults | order)],
        env={**os.environ, "KEY": "s3cret-value"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    (transmission,) = parse_transmissions(completed.stdout.splitlines(), ATTEMPT)
    return completed, transmission


def test_entry_point_imports_the_standard_library_only() -> None:
    modules = {
        alias.name.partition(".")[0]
        for node in ast.walk(ast.parse(SOURCE, feature_version=(3, 8)))
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    modules |= {str(node.module) for node in ast.walk(ast.parse(SOURCE)) if isinstance(node, ast.ImportFrom)}
    assert modules - {"__future__"} <= set(sys.stdlib_module_names)


def test_entry_point_sends_results_and_exit_status(tmp_path: Path) -> None:
    home = tmp_path / "home"
    script = f"echo out; echo err >&2; echo x > {home}/artifacts/file; exit 3"
    completed, transmission = execute(home, "sh", "-c", script)
    assert completed.returncode == 3
    output = [line for line in completed.stdout.splitlines() if not is_transport_line(line)]
    assert output == ["out", "err", "[nel-action] exited with status 3"]
    assert transmission.exit_record is not None
    assert (transmission.exit_record.exit_code, transmission.exit_record.reason) == (3, "")
    assert transmission.archive()
    assert not home.exists()


def test_entry_point_redacts_secrets_and_indents_forged_lines(tmp_path: Path) -> None:
    script = f'echo "the key is $KEY"; echo "@nel:{ATTEMPT}:forged:end:e30="'
    completed, transmission = execute(tmp_path / "home", "sh", "-c", script, hidden=["KEY"])
    assert "the key is ***\n" in completed.stdout
    assert "s3cret-value" not in completed.stdout
    assert f"\n @nel:{ATTEMPT}:forged" in completed.stdout
    assert transmission.run != "forged"


def test_entry_point_redacts_encoded_secrets(tmp_path: Path) -> None:
    script = 'printf %s "$KEY" | base64; printf "user:%s" "$KEY" | base64; printf %s "$KEY" | od -An -tx1 | tr -d " "'
    completed, _ = execute(tmp_path / "home", "sh", "-c", script, hidden=["KEY"])
    output = [line for line in completed.stdout.splitlines() if not is_transport_line(line)]
    assert [line.count("***") for line in output[:3]] == [1, 1, 1]


@pytest.mark.parametrize(
    ("argv", "order", "expected"),
    [
        (["sleep", "60"], {"timeout": 1}, (124, "time_limit")),
        (["/no/such/program"], {}, (127, "start")),
        (
            ["true"],
            {"health": {"url": "http://127.0.0.1:9/health", "key": "KEY", "seconds": 0}},
            (69, "endpoint"),
        ),
    ],
)
def test_entry_point_reports_why_it_failed(
    tmp_path: Path, argv: list[str], order: dict[str, Any], expected: tuple[int, str]
) -> None:
    completed, transmission = execute(tmp_path / "home", *argv, **order)
    assert transmission.exit_record is not None
    assert (completed.returncode, transmission.exit_record.reason) == expected


def test_entry_point_does_not_send_an_archive_above_the_limit(tmp_path: Path) -> None:
    _, transmission = execute(tmp_path / "home", "true", limit=1)
    assert transmission.exit_record is not None
    assert (transmission.exit_record.parts, transmission.exit_record.digest != "") == (0, True)


def test_entry_point_resends_stored_results_instead_of_running_again(tmp_path: Path) -> None:
    home = tmp_path / "home"
    script = f"echo ran >> {tmp_path}/runs"
    _, first = execute(home, "sh", "-c", script, keep=True)
    completed, second = execute(home, "sh", "-c", script, keep=True)
    assert (completed.returncode, second.archive()) == (0, first.archive())
    assert (tmp_path / "runs").read_text() == "ran\n"
