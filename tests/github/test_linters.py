"""Three linters read every workflow and the action, and find nothing."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.require import require

pytestmark = pytest.mark.act

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted([*(ROOT / "workflows").glob("*.yml"), *(ROOT / ".github/workflows").glob("*.yml")])
ACTIONS = [ROOT / "action.yml", *sorted((ROOT / "tests/doubles/actions").glob("*/action.yml"))]


def run(tool: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
    beside = Path(sys.executable).with_name(tool)
    found = str(beside) if beside.exists() else shutil.which(tool)
    require("act", found is not None, f"{tool} is not installed: uv pip install -e '.[workflows]'")
    command = [str(found), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=120)


def test_zizmor_finds_nothing_and_is_told_only_what_has_a_reason() -> None:
    done = run("zizmor", "--offline", "--persona", "pedantic", *WORKFLOWS, ROOT / ".github/dependabot.yml", ACTIONS[0])
    assert done.returncode == 0, done.stdout
    for path in WORKFLOWS:
        for line in path.read_text().splitlines():
            rule, _, reason = line.partition("# zizmor: ignore[")[2].partition("]")
            assert not rule or len(reason.split()) >= 3, f"{path.name}: why {rule}?"


def test_zizmor_would_find_something(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yml"
    bad.write_text(
        "on: issue_comment\njobs:\n  x:\n    runs-on: ubuntu-latest\n    steps:\n"
        "      - run: echo ${{ github.event.comment.body }}\n      - uses: actions/checkout@v4\n"
    )
    done = run("zizmor", "--offline", "--persona", "pedantic", bad)
    assert done.returncode != 0
    assert "[template-injection]" in done.stdout
    assert "[unpinned-uses]" in done.stdout


def test_actionlint_finds_nothing() -> None:
    done = run("actionlint", "-shellcheck=", *WORKFLOWS)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(("schema", "paths"), [("github-workflows", WORKFLOWS), ("github-actions", ACTIONS)])
def test_files_fit_their_schemas(schema: str, paths: list[Path]) -> None:
    done = run("check-jsonschema", "--builtin-schema", f"vendor.{schema}", *paths)
    assert done.returncode == 0, done.stdout
