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


def call(*words: object) -> Result:
    return CliRunner().invoke(report, [str(word) for word in words], standalone_mode=False)


def test_scores_are_printed_and_nothing_is_decided(run: Path) -> None:
    done = call(run)
    assert done.return_value == 0
    assert "gsm8k" in done.output
    assert "fail (exit 1)" in done.output


@pytest.mark.parametrize(
    ("kind", "start"), [("markdown", "### ✗"), ("html", "<!DOCTYPE html>"), ("junit", "<?xml"), ("terminal", "task")]
)
def test_each_format_to_a_file(run: Path, tmp_path: Path, kind: str, start: str) -> None:
    assert call(run, "--format", kind, "-o", tmp_path / "out").return_value == 0
    assert (tmp_path / "out").read_text(encoding="utf-8").startswith(start)


def test_markdown_to_the_terminal(run: Path) -> None:
    assert call(run, "--format", "markdown").output.startswith("### ✗ Benchmark gate")


def test_files_are_written_again(run: Path) -> None:
    done = call(run, "--format", "files")
    assert {path.name for path in map(Path, done.output.split())} == {
        "report.json",
        "report.md",
        "report.html",
        "junit.xml",
    }


@pytest.mark.parametrize(("judged", "message"), [(False, "have not been judged"), (None, "no invocation 'nope'")])
def test_what_is_not_there_is_said(tmp_path: Path, judged: bool | None, message: str) -> None:  # noqa: FBT001 - a table
    run = Path("nope") if judged is None else make_run(tmp_path / "runs", judged=judged)
    done = call(run)
    assert isinstance(done.exception, NelActionError)
    assert message in str(done.exception)
