"""Variables from a file: what is read, what comes first, and what is never shown."""

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
def test_a_line_is_read_as_people_write_it(tmp_path: Path, line: str, value: str) -> None:
    file = tmp_path / "e"
    file.write_text(f"{line}\n")
    assert read_env_file(file) == {"A": value}


@pytest.mark.parametrize("line", ["no name", "A='open", 'A="open', "A='x' more", "1A=x"])
def test_what_is_no_line_is_told_by_its_place_alone(tmp_path: Path, line: str) -> None:
    file = tmp_path / "e"
    file.write_text(f"B=1\n{line}\n")
    with pytest.raises(SpecError) as caught:
        read_env_file(file)
    assert str(caught.value.problems[0]).startswith(f"{file}:2:1: is no NAME=value")
    assert line not in str(caught.value.problems[0])


def test_the_environment_comes_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "e"
    file.write_text("A=secret-1\nB=secret-2\n")
    assert environment({"A": "mine"}, file) == {"A": "mine", "B": "secret-2"}
    said = capsys.readouterr().err
    assert "A is set in the environment" in said
    assert "secret" not in said


def test_a_file_that_was_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="cannot read it"):
        environment({}, tmp_path / "nowhere")


def test_dot_env_is_read_by_people_and_not_in_ci(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("A=1\n")
    monkeypatch.chdir(tmp_path)
    assert environment({}, None) == {"A": "1"}
    assert environment({"CI": "true"}, None) == {"CI": "true"}
