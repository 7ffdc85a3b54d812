"""Regression tests for four faults in the exports of NeMo Evaluator Launcher 0.2.6."""

from __future__ import annotations

import csv
import json
import re
from importlib.metadata import requires
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.support import reports
from tests.support.runs import make_run

from nel_action.cli.export import export
from nel_action.errors import NelActionError
from nel_action.exporters.gsheets import exporter as gsheets
from nel_action.model.results import Score

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return a run with two metrics whose names have a common part."""
    report = reports.passed()
    scores = tuple(
        Score(metric=f"{level}_level_strict_acc", value=value, stderr=0.02, n=541)
        for level, value in (("prompt", 0.71), ("inst", 0.79))
    )
    task = report.results.tasks[0].model_copy(update={"scores": scores})
    results = report.results.model_copy(update={"tasks": (task,)})
    return make_run(tmp_path / "runs", type(report)(results=results, gate=report.gate, metadata=report.metadata))


def call(*arguments: object) -> Result:
    return CliRunner().invoke(export, [str(argument) for argument in arguments], standalone_mode=False)


def test_1_log_metrics_excludes_other_metrics(run: Path, tmp_path: Path) -> None:
    done = call(run, "--dest", "local", "--output-dir", tmp_path, "--log-metrics", "prompt_level")
    assert done.return_value == 0
    text = (tmp_path / "processed_results.json").read_text()
    assert "prompt_level" in text
    assert "inst_level" not in text


def test_2_standard_errors_and_counts_are_exported(run: Path, tmp_path: Path) -> None:
    for kind in ("json", "csv"):
        assert call(run, "--dest", "local", "--output-dir", tmp_path, "--format", kind).return_value == 0
    (entry,) = json.loads((tmp_path / "processed_results.json").read_text())["benchmarks"]["ifeval"]["models"][
        "acme-7b"
    ]
    assert entry["scores"]["prompt_level_strict_acc_stderr"] == 0.02
    assert entry["scores"]["prompt_level_strict_acc_n"] == 541
    with (tmp_path / "processed_results.csv").open(newline="") as lines:
        assert {(row["stderr"], row["n"]) for row in csv.DictReader(lines)} == {("0.02", "541")}


def test_3_extra_installs_the_library_that_is_used() -> None:
    requirements = [text for text in requires("nel-action") or () if 'extra == "gsheets"' in text.replace("'", '"')]
    assert [re.match(r"[\w-]+", text)[0] for text in requirements] == ["gspread"]  # type: ignore[index]
    locked = re.findall(r"^([\w.-]+)==", (ROOT / "requirements" / "gsheets.txt").read_text(), re.MULTILINE)
    assert "gspread" in locked
    assert "gsheets" not in locked


def test_3_missing_library_is_an_error(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gsheets, "find_spec", lambda _name: None)
    done = call(run, "--dest", "gsheets", "-o", "export.gsheets.spreadsheet_id=x")
    assert isinstance(done.exception, NelActionError)
    assert done.exception.exit_code == 2
    assert done.exception.problems[0].hint == "pip install 'nel-action[gsheets]'"


def test_4_failed_export_exits_with_3(run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = call(run, "--dest", "local", "--output-dir", tmp_path / "file" / "out")
    assert done.return_value == 3
    assert "failed" in done.output


def test_4_invalid_option_exits_with_2(run: Path, tmp_path: Path) -> None:
    (tmp_path / "e.yaml").write_text("export: {local: {fromat: csv}}")
    done = call(run, "--dest", "local", "--config", tmp_path / "e.yaml")
    assert isinstance(done.exception, NelActionError)
    assert done.exception.exit_code == 2
    assert "did you mean 'format'" in str(done.exception)
