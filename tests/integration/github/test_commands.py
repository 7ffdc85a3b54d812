"""Commands in comments, with the action's steps and real jobs; the base requires 0.5."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.github.test_commands import BEFORE, comment_payload
from tests.support.workplace import ActionResult, Workplace

STRICT = {"tasks": {"arith": {"min": 0.5}}}
LAX = {"tasks": {"arith": {"min": 0.1}}}
TASKS = {"arith": {"value": 0.3}, "words": {"value": 0.9}}


class Commented:
    """A pull request that scores 0.3 and lowers the limit, with a comment of a maintainer."""

    def __init__(self, workplace: Workplace) -> None:
        self.workplace, self.store = workplace, workplace.hub.store
        workplace.write_spec(TASKS, STRICT)
        self.base = workplace.commit("base")
        workplace.write_spec(TASKS, LAX)
        self.head = workplace.commit("head")
        self.payload = workplace.pull_request(self.head, self.base)
        self.store.add_push(self.head, BEFORE)
        self.store.roles["maria"] = "maintain"
        # NOTE: a comment's workflow runs on the default branch.
        workplace.environ["GITHUB_SHA"] = self.base

    def push(self, message: str) -> None:
        """Push a commit to the branch of the pull request, before the comment."""
        self.head = self.workplace.commit(message)
        self.workplace.pull_request(self.head, self.base)
        self.store.pushes.clear()
        self.store.add_push(self.head, BEFORE)

    def comment(self, body: str = "/evaluate", **inputs: str) -> ActionResult:
        return self.workplace.act("issue_comment", comment_payload(body), **inputs)

    def bodies(self) -> list[str]:
        return [comment["body"] for comment in self.store.comments_of(2)]

    def conclusions(self) -> list[Any]:
        return [check["conclusion"] for check in self.store.checks_of(self.head)]

    def jobs(self) -> int:
        return len(list(self.workplace.home.glob("local/nel-*-*")))


@pytest.fixture
def commented(workplace: Workplace) -> Commented:
    return Commented(workplace)


def test_command_runs_the_gate_by_the_rules_of_the_base(commented: Commented, workplace: Workplace) -> None:
    first = workplace.act("pull_request", commented.payload)
    result = commented.comment()
    assert (first.code, result.code, result.outputs["verdict"]) == (1, 1, "fail"), result.log
    assert commented.conclusions() == ["failure", "failure"], "the same gate, so no conflict of names"
    (comment,) = commented.bodies()
    assert f"<!-- nel-action-commit:{commented.head} -->" in comment
    assert commented.jobs() == 2, "finished jobs are found by their keys"


def test_command_with_arguments_shows_scores_and_touches_nothing(commented: Commented, workplace: Workplace) -> None:
    workplace.act("pull_request", commented.payload)
    checks, comments = list(commented.store.check_history.values()), commented.bodies()
    result = commented.comment("/evaluate words limit=100", history_branch="nel-action-data", baseline="main")
    assert (result.code, result.outputs["verdict"], result.outputs["exit-code"]) == (0, "none", "0"), result.log
    assert list(commented.store.check_history.values()) == checks
    assert commented.bodies()[:-1] == comments
    answer = commented.bodies()[-1]
    assert "/evaluate words limit=100: scores for information" in answer
    assert "90.0" in answer
    assert "arith" not in answer
    assert "passed" not in answer, answer
    assert result.outputs["artifact-name"] == "nel-action-command-77"
    assert commented.store.refs == {}
    assert commented.store.issues == {}


def test_unknown_task_runs_no_job(commented: Commented, workplace: Workplace) -> None:
    workplace.write_spec(TASKS | {"new": {}}, LAX)
    commented.push("a task that only the head has")
    result = commented.comment("/evaluate new")
    assert (result.code, commented.jobs(), commented.conclusions()) == (2, 0, []), result.log
    (answer,) = commented.bodies()
    assert "no task of the base" in answer
    assert "arith" in answer


def test_interrupted_command_is_completed_by_the_final_step(
    commented: Commented, workplace: Workplace, tmp_path: Path
) -> None:
    workplace.write_spec({"arith": {"value": 0.3, "until": str(tmp_path / "go")}}, LAX)
    commented.push("head that waits")
    for count, body in enumerate(("/evaluate", "/evaluate arith limit=5"), start=1):
        environ, temp = workplace.prepare("issue_comment", comment_payload(body), on_cancel="cancel")
        step = workplace.start(environ, temp)
        workplace.wait_for("local/nel-*", count=count)
        workplace.cancel(step)
        result = workplace.finish(step, environ, temp)
        assert commented.conclusions() == ["cancelled"], result.log
        assert result.outputs["exit-code"] == "130"
        assert len(commented.bodies()) == count
