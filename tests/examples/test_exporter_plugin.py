"""The example package, built and installed like a copy of it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from tests.support.runs import make_run

from nel_action.report.html import render_html
from nel_action.report.store import load_report
from nel_action.report.write import with_run_dir

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.package, pytest.mark.xdist_group("package")]


def export(python: Path, run: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "NEL_ACTION_HOME": str(run.parent / "home")}
    command = [str(python), "-m", "nel_action", "export", str(run), "--dest", "prometheus", *arguments]
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=120, cwd=run)


def test_wheel_contains_every_data_file(python: Path) -> None:
    installed = next(python.parents[1].glob("lib/python*/site-packages/nel_action"))
    source = ROOT / "src" / "nel_action"
    expected = {path.relative_to(source) for path in source.rglob("*") if path.is_file() and ".py" not in path.suffix}
    assert {Path("report/html/assets/report.css"), Path("report/html/assets/report.js")} <= expected
    assert [path for path in expected if not (installed / path).is_file()] == []


def test_installed_package_renders_the_same_report(python: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path)
    arguments = [
        str(python),
        "-m",
        "nel_action",
        "report",
        str(run),
        "--format",
        "html",
        "--output",
        str(run / "x.html"),
    ]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=120, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (run / "x.html").read_bytes() == render_html(with_run_dir(load_report(run), run))


def test_plug_in_is_found_by_name_and_exports_once(python: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs")
    folder = tmp_path / "metrics"
    folder.mkdir()
    option = f"export.prometheus.directory={folder}"
    first, second = (export(python, run, "-o", option) for _ in range(2))
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert "created" in first.stdout
    assert "unchanged" in second.stdout
    text = (folder / "nel_action_acme_7b.prom").read_text()
    assert 'nel_action_score{task="gsm8k",model="acme-7b",metric="exact_match"} 0.741' in text


def test_plug_in_options_are_validated(python: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs")
    done = export(python, run, "-o", "export.prometheus.directry=x")
    assert done.returncode == 2
    assert "did you mean 'directory'" in done.stderr
    assert "Traceback" not in done.stderr
