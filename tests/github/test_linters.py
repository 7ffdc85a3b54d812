"""Linters report nothing in the workflows and the action."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.require import require

pytestmark = [pytest.mark.slow, pytest.mark.act]

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted([*(ROOT / "workflows").glob("*.yml"), *(ROOT / ".github/workflows").glob("*.yml")])
OWN_ACTIONS = [ROOT / "action.yml", ROOT / "command/action.yml"]
ACTIONS = [*OWN_ACTIONS, *sorted((ROOT / "tests/doubles/actions").glob("*/action.yml"))]


def run(tool: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    sibling = Path(sys.executable).with_name(tool)
    executable = str(sibling) if sibling.exists() else shutil.which(tool)
    require("act", executable is not None, f"{tool} is not installed: uv pip install -e '.[workflows]'")
    argv = [str(executable), *map(str, arguments)]
    return subprocess.run(argv, capture_output=True, text=True, check=False, cwd=ROOT, timeout=120)


def test_zizmor_reports_nothing_and_exceptions_have_reasons() -> None:
    paths = [*WORKFLOWS, ROOT / ".github/dependabot.yml", *OWN_ACTIONS]
    done = run("zizmor", "--offline", "--persona", "pedantic", *paths)
    assert done.returncode == 0, done.stdout
    for path in WORKFLOWS:
        for line in path.read_text().splitlines():
            rule, _, reason = line.partition("# zizmor: ignore[")[2].partition("]")
            assert not rule or len(reason.split()) >= 3, f"{path.name}: {rule} is ignored without a reason"


def test_findings_of_the_auditor_persona_are_explained() -> None:
    options = ["--offline", "--persona", "auditor", "--format", "json"]
    done = run("zizmor", *options, *WORKFLOWS, ROOT / ".github/dependabot.yml", *OWN_ACTIONS)
    findings = [finding for finding in json.loads(done.stdout) if not finding["ignored"]]
    found: dict[str, set[str]] = {}
    for finding in findings:
        files = {Path(next(iter(place["symbolic"]["key"]["Local"].values()))).name for place in finding["locations"]}
        found.setdefault(finding["ident"], set()).update(files)
    table = (ROOT / "docs/security.md").read_text().partition("### Linters")[2].partition("\n## ")[0]
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| `")]
    assert found == {row[0].strip("|` "): set(re.findall(r"`([^`]+)`", row[1])) for row in rows}


def test_zizmor_reports_unsafe_workflow(tmp_path: Path) -> None:
    unsafe = tmp_path / "unsafe.yml"
    unsafe.write_text(
        "on: issue_comment\njobs:\n  x:\n    runs-on: ubuntu-latest\n    steps:\n"
        "      - run: echo ${{ github.event.comment.body }}\n      - uses: actions/checkout@v4\n"
    )
    done = run("zizmor", "--offline", "--persona", "pedantic", unsafe)
    assert done.returncode != 0
    assert "[template-injection]" in done.stdout
    assert "[unpinned-uses]" in done.stdout


def test_actionlint_reports_nothing() -> None:
    done = run("actionlint", "-shellcheck=", *WORKFLOWS)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(("schema", "paths"), [("github-workflows", WORKFLOWS), ("github-actions", ACTIONS)])
def test_workflows_and_actions_match_their_schemas(schema: str, paths: list[Path]) -> None:
    done = run("check-jsonschema", "--builtin-schema", f"vendor.{schema}", *paths)
    assert done.returncode == 0, done.stdout
