"""The `lep` command line against the double: an independent client that knows nothing of us."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.doubles.lepton.server import LeptonDouble

LEP = Path(sys.executable).with_name("lep")


@pytest.fixture
def lep(double: LeptonDouble, tmp_path: Path) -> object:
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "COLUMNS": "200", "LEPTON_CACHE_DIR": str(tmp_path)}

    def call(*arguments: str) -> str:
        done = subprocess.run(
            [LEP, *arguments], env=environ | double.environ(), capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return call


def test_jobs(double: LeptonDouble, lep: object) -> None:
    call = lep
    assert callable(call)
    told = call("job", "create", "-n", "by-hand", "--resource-shape", "cpu.small", "--command", "echo hi; sleep 600")
    [record] = double.jobs.named("by-hand")
    assert record.id in told
    assert "Running" in call("job", "get", "--id", record.id)
    assert record.id in call("job", "list")
    call("job", "stop", "--id", record.id)
    call("job", "remove", "--id", record.id)
    assert double.running() == []


@pytest.mark.parametrize("new_api", [False, True], ids=["deployments", "endpoints"])
def test_endpoints(double: LeptonDouble, lep: object, new_api: bool) -> None:  # noqa: FBT001
    call = lep
    assert callable(call)
    double.settings.new_api = new_api
    server = f"exec {sys.executable} -m http.server 8000 --bind 127.0.0.1"
    shape = ("--resource-shape", "cpu.large", "--container-image", "img:1", "--container-port", "8000")
    call("endpoint", "create", "-n", "by-hand", *shape, "--container-command", server, "--public")
    assert "by-hand" in call("endpoint", "list")
    assert double.endpoints.records["by-hand"].running
    call("endpoint", "remove", "-n", "by-hand")
    assert double.running() == []
