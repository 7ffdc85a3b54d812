"""`--env-file`: parsing, precedence, and protection of values."""

from __future__ import annotations

from pathlib import Path

import pytest

from nel_action.cli.env_file import environment, read_env_file
from nel_action.errors import SpecError


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=plain", "plain"),
        ("export A = spaced ", "spaced"),
        ("A='as it $(is)'", "as it $(is)"),
        ('A="two\\nlines \\"quoted\\""', 'two\nlines "quoted"'),
        ("A=before # a comment", "before"),
        ("A='a#b' # a comment", "a#b"),
        ("A=a#b", "a#b"),
        ("A=", ""),
        ("# nothing\n\nA=1", "1"),
    ],
)
def test_read_env_file_parses_line(tmp_path: Path, line: str, value: str) -> None:
    file = tmp_path / "e"
    file.write_text(f"{line}\n")
    assert read_env_file(file) == {"A": value}


@pytest.mark.parametrize("line", ["no name", "A='open", 'A="open', "A='x' more", "1A=x"])
def test_read_env_file_reports_location_but_not_text_of_malformed_line(tmp_path: Path, line: str) -> None:
    file = tmp_path / "e"
    file.write_text(f"B=1\n{line}\n")
    with pytest.raises(SpecError) as caught:
        read_env_file(file)
    assert str(caught.value.problems[0]).startswith(f"{file}:2:1: not a NAME=value line")
    assert line not in str(caught.value.problems[0])


def test_environment_takes_precedence_over_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "e"
    file.write_text("A=secret-1\nB=secret-2\n")
    assert environment({"A": "mine"}, file) == {"A": "mine", "B": "secret-2"}
    stderr = capsys.readouterr().err
    assert "A is also set in the environment" in stderr
    assert "secret" not in stderr


def test_environment_reports_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="cannot be read"):
        environment({}, tmp_path / "nowhere")


def test_environment_reads_dot_env_except_in_ci(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("A=1\n")
    monkeypatch.chdir(tmp_path)
    assert environment({}, None) == {"A": "1"}
    assert environment({"CI": "true"}, None) == {"CI": "true"}
