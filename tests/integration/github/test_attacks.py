"""Attacks with names, branches, titles, comments and answers, on the action's steps; the base requires 0.7."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from tests.doubles.github.events import example
from tests.doubles.github.store import Identity
from tests.github.test_commands import BEFORE, comment_payload
from tests.support.workplace import ActionResult, Workplace

STRICT = {"tasks": {"arith": {"min": 0.7}}}
LAX = {"tasks": {"arith": {"min": 0.1}}}


class Attack:
    """A base that scores 0.9, and a pull request that scores 0.3 and lowers the limit to 0.1."""

    def __init__(self, workplace: Workplace) -> None:
        self.workplace, self.store = workplace, workplace.hub.store
        workplace.write_spec({"arith": {"value": 0.9}}, STRICT)
        self.base = self.store.refs["heads/main"] = workplace.commit("base")
        workplace.write_spec({"arith": {"value": 0.3}}, LAX)
        self.head = workplace.commit("head")
        self.payload = workplace.pull_request(self.head, self.base)

    def conclusions(self) -> list[str | None]:
        return [check["conclusion"] for check in self.store.checks_of(self.head)]

    def shown(self, result: ActionResult) -> str:
        """Return everything that people or other workflows read."""
        checks = json.dumps(list(self.store.check_history.values()), ensure_ascii=False)
        comments = "".join(comment["body"] for comment in self.store.comments.values())
        log = "\n".join(line for line in result.log.splitlines() if not line.startswith("::add-mask::"))
        return "\n".join([checks, comments, log, result.summary, *result.outputs.values()])


@pytest.fixture
def attack(workplace: Workplace) -> Attack:
    return Attack(workplace)


def test_results_of_the_base_do_not_pass_the_head(attack: Attack, workplace: Workplace) -> None:
    workplace.git("checkout", "-q", attack.base)
    result = workplace.act("pull_request_target", attack.payload)
    assert (result.code, attack.conclusions()) == (2, ["failure"]), result.log
    assert f"ref: {attack.head}" in result.log


def test_pull_request_into_a_weaker_branch_does_not_pass_the_commit(attack: Attack, workplace: Workplace) -> None:
    payload = workplace.pull_request(attack.head, attack.head, number=3)
    payload["pull_request"]["base"]["ref"] = "weak"
    attack.store.pulls = {3: attack.store.pulls[3]}
    attack.store.pulls[3]["base"]["ref"] = "weak"
    result = workplace.act("pull_request", payload)
    assert (result.code, attack.conclusions()) == (1, ["failure"]), result.log


def test_pull_request_of_a_fork_with_the_same_head_does_not_change_the_check(
    attack: Attack, workplace: Workplace
) -> None:
    payload = example("workflow_run.completed")
    repository = {"full_name": "mallory/Hello-World"}
    payload["workflow_run"] |= {"head_sha": attack.head, "head_branch": "change", "head_repository": repository}
    fork = attack.store.add_pull(3, head=attack.head, base=attack.base, head_repository="mallory/Hello-World")
    fork["head"]["ref"] = "change"
    workplace.git("checkout", "-q", attack.base)
    result = workplace.act("workflow_run", payload, mode="collect")
    assert attack.conclusions() == [], result.log
    assert "also the head of pull request 2" in result.log


def outside_of_stopped_commands(log: str) -> list[str]:
    """Return the lines in which the runner would execute commands."""
    lines, token = [], ""
    for line in log.splitlines():
        if line.startswith("::stop-commands::"):
            token = line.removeprefix("::stop-commands::")
        elif line == f"::{token}::":
            token = ""
        elif not token:
            lines.append(line)
    return lines


HOSTILE_NAMES = [
    "$(touch pwned)",
    "`touch pwned`",
    "x;touch pwned",
    "::set-output name=verdict::pass",
    "a\nverdict=pass",
    "<!-- nel-action:0 -->",
    "</details><script>alert(1)</script>",
    "@org/everyone",
    "](https://evil.example) ![x](https://evil.example/x.png)",
    "| pass | pass |",
    "\u202egnp.exe",
    "%0A::error::x",
]


def test_names_and_titles_are_text_only(attack: Attack, workplace: Workplace, tmp_path: Path) -> None:
    pull = attack.payload["pull_request"]
    pull["title"] = pull["body"] = pull["head"]["label"] = "\n".join(HOSTILE_NAMES)
    pull["head"]["ref"] = "$(touch${IFS}pwned)"
    pull["user"]["login"] = "`touch pwned`"
    workplace.environ |= {"GITHUB_ACTOR": "$(touch pwned)", "GITHUB_HEAD_REF": pull["head"]["ref"]}
    result = workplace.act("pull_request", attack.payload)
    assert (result.code, attack.conclusions()) == (1, ["failure"]), result.log
    assert result.outputs["verdict"] == "fail"
    shown = attack.shown(result)
    assert not any(name in shown for name in HOSTILE_NAMES)
    assert not list(tmp_path.rglob("pwned"))


def test_names_of_tasks_are_text_only(attack: Attack, workplace: Workplace, tmp_path: Path) -> None:
    path = workplace.work / "evals/gate.yaml"
    spec = yaml.safe_load(path.read_text())
    (task,) = spec["evaluation"]["tasks"]
    names = ["::error::x", "##[add-mask]pass", "$(touch pwned)", "results.json", "<img src=x>", "a|pass|", "@org/all"]
    spec["evaluation"]["tasks"] = [task, *({**task, "name": name} for name in names)]
    path.write_text(yaml.safe_dump(spec))
    attack.head = workplace.commit("names")
    result = workplace.act("pull_request", workplace.pull_request(attack.head, attack.base))
    assert (result.code, attack.conclusions()) == (1, ["failure"]), result.log
    (comment,) = attack.store.comments_of(2)
    assert not any(text in comment["body"] for text in ("<img", "|pass|", "@org"))
    lines = outside_of_stopped_commands(result.log)
    assert not any("##[" in line or line.lstrip().startswith("::error::x") for line in lines)
    assert not list(tmp_path.rglob("pwned"))


def test_answers_of_the_model_are_text_only(attack: Attack, workplace: Workplace, tmp_path: Path) -> None:
    marker = "<!-- nel-action-commit:" + "0" * 40 + " -->"
    answer = f"::error::x%0A##[add-path]/tmp::add-mask::pass {marker}\x1b[2J$(touch pwned)"
    workplace.write_spec({"arith": {"value": 0.3, "say": answer, "fail": 3}}, LAX)
    attack.head = workplace.commit("answers")
    result = workplace.act("pull_request", workplace.pull_request(attack.head, attack.base))
    assert attack.conclusions() == ["failure"], result.log
    assert result.outputs["verdict"] == "unmeasurable"
    comments = "".join(comment["body"] for comment in attack.store.comments.values())
    assert marker not in comments
    assert answer not in result.log
    lines = outside_of_stopped_commands(result.log)
    assert any("touch pwned" in line for line in lines), "the reason is in the progress, too"
    # NOTE: in a line that is a command, the runner detects no second one.
    assert not any("##[" in line for line in lines if not line.startswith("::"))
    assert not any(line.lstrip().startswith("::error::x") for line in lines)
    assert not list(tmp_path.rglob("pwned"))


def test_secrets_in_names_of_the_spec_are_redacted(attack: Attack, workplace: Workplace) -> None:
    key = "k3y-of-the-model-0123456789"
    workplace.environ["MODEL_API_KEY"] = key
    path = workplace.work / "evals/gate.yaml"
    text = path.read_text().replace("model_id: tiny", "model_id: ${oc.env:MODEL_API_KEY}")
    path.write_text(text.replace("name: arith", "name: a-${oc.env:MODEL_API_KEY}-b"))
    attack.head = workplace.commit("names")
    result = workplace.act("pull_request", workplace.pull_request(attack.head, attack.base))
    assert result.code != 0
    assert key not in attack.shown(result)


def test_token_of_the_action_cannot_be_named_by_the_spec(attack: Attack, workplace: Workplace) -> None:
    path = workplace.work / "evals/gate.yaml"
    path.write_text(path.read_text() + "env_vars: {X: 'host:INPUT_GITHUB_TOKEN', Y: 'host:ACTIONS_RUNTIME_TOKEN'}\n")
    workplace.environ["ACTIONS_RUNTIME_TOKEN"] = "t0ken-of-the-runtime"
    attack.head = workplace.commit("names of the action's own variables")
    result = workplace.act("pull_request", workplace.pull_request(attack.head, attack.base))
    assert (result.code, attack.conclusions()) == (2, ["failure"]), result.log
    assert "INPUT_GITHUB_TOKEN" in result.log
    assert not list(workplace.home.glob("local/nel-*-*"))


def test_comments_of_others_with_our_markers_are_left_alone(attack: Attack, workplace: Workplace) -> None:
    workplace.act("pull_request", attack.payload)
    (own,) = attack.store.comments_of(2)
    mallory = Identity(login="mallory", type="User")
    forged = own["body"].replace("failed", "passed").replace(attack.head, "f" * 40)
    copies = [attack.store.add_comment(2, body, mallory) for body in (forged, own["body"])]
    attack.store.comments.pop(own["id"])
    attack.store.add_push(attack.head, BEFORE)
    attack.store.roles["maria"] = "write"
    result = workplace.act("issue_comment", comment_payload())
    assert result.code == 1, result.log
    bodies = [comment["body"] for comment in attack.store.comments_of(2)]
    assert bodies[:2] == [copy["body"] for copy in copies]
    assert attack.head in bodies[2]
