from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from nel_action.cli.app import COMMANDS
from nel_action.errors import ExitCode

HEAVY = ("pydantic", "numpy", "scipy", "docker", "requests", "rich", "hydra", "omegaconf", "yaml")


def nel_action(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "nel_action", *arguments], capture_output=True, text=True, check=False, timeout=60
    )


def test_help_lists_every_command_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; from nel_action.cli.app import root; root.main(['--help'], standalone_mode=False); "
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr.strip() == "[]"
    for name, (_, text) in COMMANDS.items():
        assert name in done.stdout
        assert text in done.stdout


def test_unknown_command_suggests_the_nearest_and_exits_with_2() -> None:
    done = nel_action("rnu")
    assert done.returncode == 2
    assert "did you mean 'run'?" in done.stderr
    assert "Traceback" not in done.stderr


def test_version_is_that_of_the_package() -> None:
    from importlib.metadata import version

    assert nel_action("--version").stdout == f"nel-action {version('nel-action')}\n"


def test_exit_codes_in_the_readme_are_those_of_the_code() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    rows = re.findall(r"^\| (\d+) \| ([a-z ]+)", readme, re.MULTILINE)
    names = {ExitCode(int(code)): name for code, name in rows}
    assert set(names) == set(ExitCode)
    for code in (ExitCode.PASS, ExitCode.FAIL, ExitCode.UNMEASURABLE, ExitCode.INCONCLUSIVE, ExitCode.CANCELLED):
        assert names[code].startswith(code.name.lower())
