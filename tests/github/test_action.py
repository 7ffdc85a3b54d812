"""Consistency of action.yml, code and docs, and security rules of the composite action and the workflows."""

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
    """Return the rows of a table between markers in the docs."""
    match = re.search(rf"<!-- {name}.*?-->(.*?)<!-- end of {name} -->", DOCS.read_text(), re.DOTALL)
    assert match
    rows = [line.strip().strip("|").split(" | ") for line in match[1].splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in row] for row in rows]


def test_action_inputs_match_code(action: dict[str, Any]) -> None:
    assert list(action["inputs"]) == list(DEFAULTS)
    defaults = {name: declared.get("default", "") for name, declared in action["inputs"].items()}
    action_only = {"github-token": "${{ github.token }}", "gate": "true"}
    assert defaults == {name: action_only.get(name, value) for name, value in DEFAULTS.items()}


def test_action_outputs_match_code_and_come_from_final_step(action: dict[str, Any]) -> None:
    assert tuple(action["outputs"]) == OUTPUTS
    for name, declared in action["outputs"].items():
        assert declared["value"] == f"${{{{ steps.finish.outputs.{name} }}}}"
    finish = next(step for step in steps(action) if step.get("id") == "finish")
    assert finish["if"] == "always()"


def test_docs_list_all_inputs(action: dict[str, Any]) -> None:
    expected = [
        [f"`{name}`", f"`{declared['default']}`" if declared.get("default") else "", declared["description"]]
        for name, declared in action["inputs"].items()
    ]
    assert table("inputs") == expected, "run scripts/docs-actions to update the tables"


def test_docs_list_all_outputs(action: dict[str, Any]) -> None:
    assert table("outputs") == [[f"`{name}`", declared["description"]] for name, declared in action["outputs"].items()]


def test_main_step_gets_all_inputs_as_environment_variables(action: dict[str, Any]) -> None:
    run = next(step for step in steps(action) if step.get("id") == "run")
    variables = {f"INPUT_{name.upper().replace('-', '_')}": f"${{{{ inputs.{name} }}}}" for name in DEFAULTS}
    variables.pop("INPUT_VERSION")  # of another step
    assert run["env"] == variables


def test_shell_lines_contain_no_expressions(action: dict[str, Any]) -> None:
    for step in steps(action):
        assert "${{" not in step.get("run", ""), step["name"]


def test_run_steps_replace_their_shell(action: dict[str, Any]) -> None:
    for step in steps(action):
        assert "run" not in step or step["run"].startswith("exec "), step["name"]


@pytest.mark.parametrize(
    "path", [ACTION, *(ROOT / "workflows").glob("*.yml"), *(ROOT / ".github/workflows").glob("*.yml")]
)
def test_third_party_actions_are_pinned_by_commit_with_version(path: Path) -> None:
    for line in path.read_text().splitlines():
        match = re.match(r"^\s*(?:- )?uses:\s*(\S+)(.*)$", line)
        if match and not match[1].startswith(("./", "ORG/")):
            assert re.search(r"@[0-9a-f]{40}$", match[1]), line
            assert re.match(r"^ # v\d+\.\d+\.\d+$", match[2]), line


def test_third_party_actions_have_one_commit_each() -> None:
    pins: dict[str, set[str]] = {}
    for path in [ACTION, DOCS, *(ROOT / "workflows").glob("*.yml"), *(ROOT / ".github/workflows").glob("*.yml")]:
        for name, commit in re.findall(r"uses:\s*([\w.-]+/[\w./-]+)@([0-9a-f]{40}.*)", path.read_text()):
            pins.setdefault(name, set()).add(commit.strip())
    assert {name: commits for name, commits in pins.items() if len(commits) > 1} == {}


@pytest.mark.parametrize("path", list((ROOT / "workflows").glob("*.yml")), ids=lambda path: path.name)
def test_workflow_jobs_differ_in_name_from_default_check(path: Path) -> None:
    jobs = yaml.safe_load(path.read_text())["jobs"]
    assert all(job["name"] != DEFAULTS["check-name"] for job in jobs.values())
    assert yaml.safe_load(path.read_text())["permissions"] == {}


def test_docs_list_all_workflows() -> None:
    for path in (ROOT / "workflows").glob("*.yml"):
        assert f"`{path.name}`" in DOCS.read_text(), path.name
