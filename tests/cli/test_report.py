from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.support.runs import make_run

from nel_action.cli.report import report
from nel_action.errors import NelActionError


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NEL_ACTION_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "runs")


def call(*arguments: object) -> Result:
    return CliRunner().invoke(report, [str(argument) for argument in arguments], standalone_mode=False)


def test_report_prints_scores_and_exits_with_0(run: Path) -> None:
    done = call(run)
    assert done.return_value == 0
    assert "gsm8k" in done.output
    assert "fail (exit 1)" in done.output


@pytest.mark.parametrize(
    ("kind", "start"), [("markdown", "### ✗"), ("html", "<!DOCTYPE html>"), ("junit", "<?xml"), ("terminal", "task")]
)
def test_each_format_is_written_to_a_file(run: Path, tmp_path: Path, kind: str, start: str) -> None:
    assert call(run, "--format", kind, "-o", tmp_path / "out").return_value == 0
    assert (tmp_path / "out").read_text(encoding="utf-8").startswith(start)


def test_markdown_is_printed(run: Path) -> None:
    assert call(run, "--format", "markdown").output.startswith("### ✗ Benchmark gate")


def test_format_files_rewrites_all_reports(run: Path) -> None:
    done = call(run, "--format", "files")
    assert {path.name for path in map(Path, done.output.split())} == {
        "report.json",
        "report.md",
        "report.html",
        "junit.xml",
    }


@pytest.mark.parametrize(("judged", "message"), [(False, "have not been judged"), (None, "no invocation 'nope'")])
def test_missing_verdict_and_missing_run_are_reported(tmp_path: Path, judged: bool | None, message: str) -> None:  # noqa: FBT001 - a table
    run = Path("nope") if judged is None else make_run(tmp_path / "runs", judged=judged)
    done = call(run)
    assert isinstance(done.exception, NelActionError)
    assert message in str(done.exception)
