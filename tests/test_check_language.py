from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "check-language"


def check(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT, path], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("docstring.py", '"""Ends a job for want of memory."""\n'),
        ("comment.py", "x = 1  # the eldest wins\n"),
        ("message.py", 'text = f"{1} items: the whole run"\n'),
        ("name.py", "found = 3\n"),
        ("page.md", "This stands for a run.\n"),
        ("step.yml", "# nobody waits\n"),
    ],
)
def test_check_language_reports_a_word_with_its_line(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text("\n" + text)
    done = check(path)
    assert done.returncode == 1
    assert f"{name}:2: " in done.stdout


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("identifier.py", 'row.ended = 1\nkey = "ended"\n'),
        ("plain.py", '"""Return the oldest attempt."""\n'),
        ("span.md", "The key `ended` holds a time.\n"),
        ("block.md", "```\nit was told\n```\n"),
        ("record.sh", 'printf \'{"ended": %d}\' "$1"\n'),
    ],
)
def test_check_language_accepts_identifiers_and_code(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    assert check(path).returncode == 0
