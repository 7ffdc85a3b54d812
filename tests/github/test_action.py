"""action.yml, the code and the docs say the same; and what a composite action must never do is not done."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from nel_action.github.inputs import DEFAULTS, OUTPUTS

ROOT = Path(__file__).parents[2]
ACTION = ROOT / "action.yml"
DOCS = ROOT / "docs/actions.md"


@pytest.fixture(scope="module")
def action() -> dict[str, Any]:
    return dict(yaml.safe_load(ACTION.read_text()))


def steps(action: dict[str, Any]) -> list[dict[str, Any]]:
    return list(action["runs"]["steps"])


def table(name: str) -> list[list[str]]:
    """Return the rows of a marked table in the docs."""
    match = re.search(rf"<!-- {name}.*?-->(.*?)<!-- end of {name} -->", DOCS.read_text(), re.DOTALL)
    assert match
    rows = [line.strip().strip("|").split(" | ") for line in match[1].splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in row] for row in rows]


def test_inputs_are_those_of_the_code(action: dict[str, Any]) -> None:
    assert list(action["inputs"]) == list(DEFAULTS)
    there = {name: given.get("default", "") for name, given in action["inputs"].items()}
    told_by_github = {"github-token": "${{ github.token }}", "gate": "true"}
    assert there == {name: told_by_github.get(name, value) for name, value in DEFAULTS.items()}


def test_outputs_are_those_of_the_code_and_come_from_the_step_that_always_runs(action: dict[str, Any]) -> None:
    assert tuple(action["outputs"]) == OUTPUTS
    for name, given in action["outputs"].items():
        assert given["value"] == f"${{{{ steps.finish.outputs.{name} }}}}"
    finish = next(step for step in steps(action) if step.get("id") == "finish")
    assert finish["if"] == "always()"


def test_the_docs_list_every_input(action: dict[str, Any]) -> None:
    expected = [
        [f"`{name}`", f"`{given['default']}`" if given.get("default") else "", given["description"]]
        for name, given in action["inputs"].items()
    ]
    assert table("inputs") == expected, "scripts/docs-actions writes the tables"


def test_the_docs_list_every_output(action: dict[str, Any]) -> None:
    assert table("outputs") == [[f"`{name}`", given["description"]] for name, given in action["outputs"].items()]


def test_every_input_reaches_the_step_by_environment(action: dict[str, Any]) -> None:
    run = next(step for step in steps(action) if step.get("id") == "run")
    given = {f"INPUT_{name.upper().replace('-', '_')}": f"${{{{ inputs.{name} }}}}" for name in DEFAULTS}
    for elsewhere in ("INPUT_VERSION", "INPUT_WORKING_DIRECTORY"):
        given.pop(elsewhere)
    assert run["env"] == given


def test_nothing_is_pasted_into_a_shell_line(action: dict[str, Any]) -> None:
    for step in steps(action):
        assert "${{" not in step.get("run", ""), step["name"]


def test_every_step_that_works_replaces_its_shell(action: dict[str, Any]) -> None:
    for step in steps(action):
        assert "run" not in step or step["run"].startswith("exec "), step["name"]


@pytest.mark.parametrize(
    "path", [ACTION, *(ROOT / "workflows").glob("*.yml"), *(ROOT / ".github/workflows").glob("*.yml")]
)
def test_others_actions_are_pinned_by_commit_with_their_version(path: Path) -> None:
    for line in path.read_text().splitlines():
        match = re.match(r"^\s*(?:- )?uses:\s*(\S+)(.*)$", line)
        if match and not match[1].startswith(("./", "ORG/")):
            assert re.search(r"@[0-9a-f]{40}$", match[1]), line
            assert re.match(r"^ # v\d+\.\d+\.\d+$", match[2]), line


def test_one_commit_for_each_of_others_actions() -> None:
    pins: dict[str, set[str]] = {}
    for path in [ACTION, DOCS, *(ROOT / "workflows").glob("*.yml"), *(ROOT / ".github/workflows").glob("*.yml")]:
        for name, commit in re.findall(r"uses:\s*([\w.-]+/[\w./-]+)@([0-9a-f]{40}.*)", path.read_text()):
            pins.setdefault(name, set()).add(commit.strip())
    assert {name: commits for name, commits in pins.items() if len(commits) > 1} == {}


@pytest.mark.parametrize("path", list((ROOT / "workflows").glob("*.yml")), ids=lambda path: path.name)
def test_the_check_required_is_not_the_jobs_own(path: Path) -> None:
    jobs = yaml.safe_load(path.read_text())["jobs"]
    assert all(job["name"] != DEFAULTS["check-name"] for job in jobs.values())
    assert yaml.safe_load(path.read_text())["permissions"] == {}


def test_docs_name_every_workflow_to_copy() -> None:
    for path in (ROOT / "workflows").glob("*.yml"):
        assert f"`{path.name}`" in DOCS.read_text(), path.name
