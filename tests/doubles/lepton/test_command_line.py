"""The `lep` command line, an independent client, against the double."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.doubles.lepton.server import LeptonDouble

pytestmark = pytest.mark.slow

LEP = Path(sys.executable).with_name("lep")

# NOTE: one process for all commands, because importing them takes longer than running them.
COMMAND_LOOP = """
import json, sys
from click.testing import CliRunner
from leptonai.cli.cli import lep
for line in sys.stdin:
    result = CliRunner().invoke(lep, json.loads(line))
    print(json.dumps([result.exit_code, result.output]), flush=True)
"""

Lep = Callable[..., str]


@pytest.fixture
def environ(double: LeptonDouble, tmp_path: Path) -> dict[str, str]:
    base = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LEPTON_CACHE_DIR": str(tmp_path)}
    return base | {"COLUMNS": "200"} | double.environ()


@pytest.fixture
def lep(environ: dict[str, str]) -> Iterator[Lep]:
    argv = [sys.executable, "-W", "ignore", "-c", COMMAND_LOOP]
    with subprocess.Popen(argv, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        stdin, stdout = process.stdin, process.stdout

        def call(*arguments: str) -> str:
            print(json.dumps(arguments), file=stdin, flush=True)
            code, output = json.loads(stdout.readline())
            assert code == 0, output
            return str(output)

        yield call


def test_lep_creates_lists_stops_and_removes_jobs(double: LeptonDouble, lep: Lep, environ: dict[str, str]) -> None:
    lep("secret", "create", "-n", "key", "-v", "s3cr3t")
    script = "echo hi ${#KEY}; sleep 600"
    lep("job", "create", "-n", "by-hand", "--resource-shape", "cpu.small", "--command", script, "--secret", "KEY=key")
    [record] = double.jobs.named("by-hand")
    assert "Running" in lep("job", "get", "--id", record.id)
    assert '"hi 6"' in lep("log", "get", "--job", record.id, "--start", "today", "--end", "now")
    lep("job", "stop", "--id", record.id)
    completed = subprocess.run(
        [LEP, "job", "list"], env=environ, capture_output=True, text=True, timeout=120, check=True
    )
    assert record.id in completed.stdout
    lep("job", "remove", "--id", record.id)
    assert double.running() == []


@pytest.mark.parametrize("new_api", [False, True], ids=["deployments", "endpoints"])
def test_lep_creates_and_removes_endpoints(double: LeptonDouble, lep: Lep, new_api: bool) -> None:  # noqa: FBT001 - a pytest parameter
    double.settings.new_api = new_api
    server = f"exec {sys.executable} -m http.server 8000 --bind 127.0.0.1"
    shape = ("--resource-shape", "cpu.large", "--container-image", "img:1", "--container-port", "8000")
    lep("endpoint", "create", "-n", "by-hand", *shape, "--container-command", server, "--public")
    output = lep("endpoint", "status", "-n", "by-hand")
    assert "img:1" in output
    assert ("not yet supported by the new endpoint API" in output) is new_api
    assert double.endpoints.records["by-hand"].running
    lep("endpoint", "remove", "-n", "by-hand")
    assert double.running() == []
