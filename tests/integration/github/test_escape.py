"""Attempts to pass a gate by another event, another base or another gate, with the action's steps and real jobs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.support.workplace import ActionResult, Workplace

STRICT = {"tasks": {"arith": {"min": 0.7}}}
LAX = {"tasks": {"arith": {"min": 0.1}}}


class Attack:
    """A base that requires 0.7, and a pull request that scores 0.3 and lowers the limit to 0.1."""

    def __init__(self, workplace: Workplace) -> None:
        self.workplace = workplace
        workplace.write_spec({"arith": {"value": 0.3}}, STRICT)
        (workplace.work / ".github").mkdir()
        (workplace.work / ".github/nel-action.yml").write_text("bases: [weak]\n")
        self.base = workplace.commit("base")
        workplace.hub.store.refs["heads/main"] = self.base
        workplace.write_spec({"arith": {"value": 0.3}}, LAX)
        self.weak = workplace.hub.store.refs["heads/weak"] = workplace.commit("a branch with a weaker limit")
        self.head = workplace.commit("head")

    def open(self, number: int = 2, *, ref: str = "main", sha: str | None = None) -> dict[str, Any]:
        """Open a pull request into a branch; return the payload of its event."""
        payload = self.workplace.pull_request(self.head, sha or self.base, number=number)
        payload["pull_request"]["base"]["ref"] = ref
        self.workplace.hub.store.pulls[number]["base"]["ref"] = ref
        return payload

    def conclusions(self) -> list[str | None]:
        """Return the conclusions of all checks of the head, the newest last."""
        return [check["conclusion"] for check in self.workplace.hub.store.checks_of(self.head)]


@pytest.fixture
def attack(workplace: Workplace) -> Attack:
    return Attack(workplace)


@pytest.mark.parametrize("event", ["workflow_dispatch", "push", "schedule", "repository_dispatch", "deployment"])
def test_another_event_on_the_head_does_not_pass_it(attack: Attack, workplace: Workplace, event: str) -> None:
    attack.open()
    result = workplace.act(event, {})
    assert (result.code, attack.conclusions()) == (1, ["failure"]), result.log


def test_push_before_the_pull_request_is_opened_does_not_pass_it(attack: Attack, workplace: Workplace) -> None:
    workplace.environ |= {"GITHUB_REF": "refs/heads/change", "GITHUB_REF_NAME": "change"}
    result = workplace.act("push", {})
    assert (result.code, attack.conclusions()) == (1, ["failure"]), result.log


def test_second_pull_request_into_a_weaker_branch_does_not_pass_the_commit(
    attack: Attack, workplace: Workplace
) -> None:
    attack.open(2)
    result = workplace.act("pull_request", attack.open(3, ref="weak", sha=attack.weak))
    assert (result.code, attack.conclusions()) == (1, ["failure"]), result.log
    (comment,) = workplace.hub.store.comments_of(3)
    assert "judged by the rules of 2 bases" in comment["body"]


def test_retargeted_pull_request_is_judged_again(attack: Attack, workplace: Workplace) -> None:
    result = workplace.act("pull_request", attack.open(ref="weak", sha=attack.weak))
    assert (result.code, attack.conclusions()) == (0, ["success"]), "main states that the rules of weak suffice"
    payload = attack.open() | {"action": "edited", "changes": {"base": {"ref": {"from": "weak"}}}}
    result = workplace.act("pull_request", payload)
    assert (result.code, attack.conclusions()) == (1, ["success", "failure"]), result.log


def test_retargeting_while_jobs_run_is_noticed(attack: Attack, workplace: Workplace, tmp_path: Path) -> None:
    go = tmp_path / "go"
    workplace.write_spec({"arith": {"value": 0.3, "until": str(go)}}, LAX)
    attack.head = workplace.commit("head that waits")
    environ, temp = workplace.prepare("pull_request", attack.open(ref="weak", sha=attack.weak))
    step = workplace.start(environ, temp)
    workplace.wait_for("local/nel-*")
    attack.open()
    go.touch()
    result = workplace.finish(step, environ, temp)
    assert (step.returncode, attack.conclusions()) == (1, ["failure"]), result.log


def test_collect_after_retargeting_is_unmeasurable(attack: Attack, workplace: Workplace, tmp_path: Path) -> None:
    go = tmp_path / "go"
    workplace.write_spec({"arith": {"value": 0.3, "until": str(go)}}, LAX)
    attack.head = workplace.commit("head that waits")
    workplace.act("pull_request", attack.open(ref="weak", sha=attack.weak), mode="submit")
    attack.open()
    go.touch()
    workplace.wait_for("local/nel-*/exit.json")
    result = workplace.act("schedule", {}, mode="collect", spec="")
    assert attack.conclusions() == ["action_required"], result.log


def other_gate(attack: Attack, workplace: Workplace) -> ActionResult:
    """Run another gate of the same commit under the same check name."""
    return workplace.act("pull_request", attack.open(), spec="evals/other.yaml")


def test_second_gate_with_the_name_does_not_pass_the_commit(attack: Attack, workplace: Workplace) -> None:
    workplace.write_spec({"arith": {"value": 0.3}}, LAX)
    (workplace.work / "evals/gate.yaml").rename(workplace.work / "evals/other.yaml")
    workplace.git("checkout", "-q", attack.base)
    workplace.git("checkout", "-q", "-B", "main")
    workplace.git("add", "-A")
    attack.base = workplace.commit("base with two gates")
    attack.head = workplace.commit("head")
    workplace.git("checkout", "-q", attack.head, ".")
    assert workplace.act("pull_request", attack.open()).code == 1
    result = other_gate(attack, workplace)
    assert result.code == 2, result.log
    assert attack.conclusions() == ["failure", "failure"]
    text = " ".join(result.commands("error"))
    assert "evals/gate.yaml" in text
    assert "evals/other.yaml" in text


def test_new_spec_shows_scores_and_requires_action(attack: Attack, workplace: Workplace) -> None:
    (workplace.work / "evals/gate.yaml").rename(workplace.work / "evals/new.yaml")
    attack.head = workplace.commit("a new name")
    result = workplace.act("pull_request", attack.open(), spec="evals/new.yaml")
    assert (result.code, result.outputs["verdict"], result.outputs["exit-code"]) == (3, "unmeasurable", "3")
    assert attack.conclusions() == ["action_required"]
    (comment,) = workplace.hub.store.comments_of(2)
    assert "new_gates: allow" in comment["body"].replace("\\_", "_")
    assert "30.0" in comment["body"]


def test_checkout_in_a_subdirectory_of_the_workspace_is_judged_by_its_base(
    attack: Attack, workplace: Workplace
) -> None:
    environ, temp = workplace.prepare("pull_request", attack.open())
    environ |= {"GITHUB_WORKSPACE": str(workplace.root), "INPUT_WORKING_DIRECTORY": "work"}
    result = workplace.finish(workplace.start(environ, temp), environ, temp)
    assert attack.conclusions() == ["failure"], result.log


def test_executor_of_the_change_does_not_measure_it(attack: Attack, workplace: Workplace) -> None:
    workplace.write_spec({"arith": {"value": 0.3}}, STRICT)
    spec = workplace.work / "evals/gate.yaml"
    changed = spec.read_text().replace("type: local", "type: slurm\n  hostname: 127.0.0.1\n  output_dir: /mallory")
    spec.write_text(changed.replace("runtime: process", "runtime: none"))
    attack.head = workplace.commit("another executor")
    result = workplace.act("pull_request", attack.open())
    assert attack.conclusions() == ["failure"], result.log
    assert result.outputs["verdict"] == "unmeasurable", "its score was measured by the executor of the base"
    assert "execution.type: local → slurm" in workplace.hub.store.comments_of(2)[0]["body"]
