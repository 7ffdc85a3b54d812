"""The example package, built and installed for real, as somebody who copies it would."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.require import require
from tests.support.runs import make_run

EXAMPLE = Path(__file__).parents[2] / "examples" / "exporter_plugin"

pytestmark = [pytest.mark.package, pytest.mark.xdist_group("package")]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the package beside this environment; return the folder it is in."""
    uv = shutil.which("uv")
    require("package", uv is not None, "uv is not installed")
    folder = tmp_path_factory.mktemp("installed")
    source = shutil.copytree(EXAMPLE, tmp_path_factory.mktemp("source") / "plugin")
    words = [str(uv), "pip", "install", "--quiet", "--no-deps", "--python", sys.executable, "--target", str(folder)]
    done = subprocess.run([*words, str(source)], capture_output=True, text=True, check=False, timeout=240)
    require("package", done.returncode == 0, f"the example cannot be built here: {done.stderr[-500:]}")
    return folder


def export(installed: Path, run: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PYTHONPATH": str(installed), "NEL_ACTION_HOME": str(run.parent / "home")}
    command = [sys.executable, "-m", "nel_action", "export", str(run), "--dest", "prometheus", *words]
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=120)


def test_it_is_found_by_its_name_and_writes_once(installed: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs")
    folder = tmp_path / "metrics"
    folder.mkdir()
    option = f"export.prometheus.directory={folder}"
    first, second = (export(installed, run, "-o", option) for _ in range(2))
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert "created" in first.stdout
    assert "unchanged" in second.stdout
    text = (folder / "nel_action_acme_7b.prom").read_text()
    assert 'nel_action_score{task="gsm8k",model="acme-7b",metric="exact_match"} 0.741' in text


def test_its_options_are_checked_like_ours(installed: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs")
    done = export(installed, run, "-o", "export.prometheus.directry=x")
    assert done.returncode == 2
    assert "did you mean 'directory'" in done.stderr
    assert "Traceback" not in done.stderr
