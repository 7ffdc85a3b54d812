"""Pull requests from forks: the first stage has no write access, the second stage trusts no data of the fork."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest
from tests.doubles.github.events import example
from tests.doubles.github.store import Identity
from tests.support.workplace import ActionResult, Workplace

FLOOR = {"tasks": {"arith": {"min": 0.5}}}


def run_first_stage(workplace: Workplace, value: float) -> tuple[ActionResult, str]:
    """Run the workflow of a fork's pull request, with a read-only token and no secrets."""
    workplace.write_spec({"arith": {"value": 0.8}}, FLOOR)
    base = workplace.commit("base")
    workplace.write_spec({"arith": {"value": value}}, {"tasks": {"arith": {"min": 0.0}}})
    head = workplace.commit("head")
    before = dict(workplace.hub.tokens)
    workplace.hub.tokens[workplace.hub.token] = Identity(rights={"contents": "read"})
    result = workplace.act("pull_request", workplace.pull_request(head, base, fork=True))
    workplace.hub.tokens |= before
    return result, head


def run_second_stage(
    workplace: Workplace, first: ActionResult, head: str, run: int = 42, **inputs: str
) -> ActionResult:
    """Upload the artifact of the first stage, and run the second stage in a checkout of the base."""
    out = io.BytesIO()
    artifact = Path(first.outputs["artifact-path"])
    with zipfile.ZipFile(out, "w") as archive:
        for path in artifact.rglob("*"):
            if path.is_file():
                archive.write(path, path.relative_to(artifact))
    workplace.hub.store.add_artifact(run, first.outputs["artifact-name"], out.getvalue())
    workplace.git("checkout", "-q", "HEAD~1")
    payload: dict[str, Any] = example("workflow_run.completed")
    fork = {"full_name": "mallory/Hello-World"}
    payload["workflow_run"] |= {"id": run, "head_sha": head, "head_branch": "change", "head_repository": fork}
    return workplace.act("workflow_run", payload, mode="collect", **inputs)


def test_first_stage_writes_nothing_and_prepares_artifact(workplace: Workplace) -> None:
    result, head = run_first_stage(workplace, 0.8)
    assert result.code == 0
    assert [seen for seen in workplace.hub.seen if seen.method != "GET"] == []
    assert workplace.hub.store.checks_of(head) == []
    assert (Path(result.outputs["artifact-path"]) / "results.json").exists()


def test_second_stage_with_pass_requires_action_of_a_maintainer(workplace: Workplace) -> None:
    first, head = run_first_stage(workplace, 0.8)
    result = run_second_stage(workplace, first, head)
    assert result.code == 0, result.log
    (check,) = workplace.hub.store.checks_of(head)
    assert check["conclusion"] == "action_required"
    (comment,) = workplace.hub.store.comments_of(2)
    assert "fork's own code" in comment["body"]


def test_second_stage_applies_policy_of_base(workplace: Workplace) -> None:
    first, head = run_first_stage(workplace, 0.2)
    assert first.outputs["verdict"] == "fail"
    result = run_second_stage(workplace, first, head)
    (check,) = workplace.hub.store.checks_of(head)
    assert (result.outputs["verdict"], check["conclusion"]) == ("fail", "failure")


def test_second_stage_ignores_pull_request_with_another_head(workplace: Workplace) -> None:
    first, head = run_first_stage(workplace, 0.8)
    workplace.hub.store.pulls[2]["head"]["sha"] = "d" * 40
    result = run_second_stage(workplace, first, head)
    assert result.code == 2
    assert workplace.hub.store.comments == {}
    assert workplace.hub.store.checks == {}


def test_second_stage_ignores_pull_requests_of_own_repository(workplace: Workplace) -> None:
    # NOTE: the job of the first stage is skipped for them, but the run completes and triggers the second stage.
    workplace.write_spec({"arith": {"value": 0.8}}, FLOOR)
    head = workplace.commit("head")
    workplace.pull_request(head, head)
    payload: dict[str, Any] = example("workflow_run.completed")
    own = {"full_name": workplace.hub.store.repository}
    payload["workflow_run"] |= {"id": 42, "head_sha": head, "head_branch": "change", "head_repository": own}
    result = workplace.act("workflow_run", payload, mode="collect")
    assert (result.code, result.outputs["verdict"]) == (0, "none")
    assert workplace.hub.store.checks == {}
    assert workplace.hub.store.comments == {}


@pytest.mark.parametrize("event", ["workflow_run", "issue_comment"])
def test_events_without_trusted_commit_are_refused(workplace: Workplace, event: str) -> None:
    workplace.write_spec({"arith": {"value": 0.8}}, FLOOR)
    workplace.commit("base")
    payload = example("workflow_run.completed" if event == "workflow_run" else "issue_comment.created")
    if event == "workflow_run":
        payload["workflow_run"] |= {"head_repository": {"full_name": "mallory/Hello-World"}}
    else:
        payload["issue"]["pull_request"] = {"url": "https://x.example"}
    result = workplace.act(event, payload)
    assert result.code == 2, result.log
    assert not (workplace.home / "local").exists()


def test_pull_request_target_of_fork_is_refused(workplace: Workplace) -> None:
    workplace.write_spec({"arith": {"value": 0.8}}, FLOOR)
    base = workplace.commit("base")
    head = workplace.commit("head")
    result = workplace.act("pull_request_target", workplace.pull_request(head, base, fork=True))
    assert result.code == 2
    assert any("secrets" in message for message in result.commands("error"))
    assert not (workplace.home / "local").exists()
