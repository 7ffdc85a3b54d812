"""The action's steps against the GitHub double, with real jobs on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.doubles.github.events import example
from tests.doubles.github.server import Fault
from tests.doubles.github.store import Identity
from tests.support.workplace import ActionResult, Workplace

from nel_action.github.inputs import OUTPUTS

FLOOR = {"tasks": {"arith": {"min": 0.5}}}
LAX = {"tasks": {"arith": {"min": 0.01}}}


def commit_base_and_head(
    workplace: Workplace, value: float = 0.8, gate: object = FLOOR, **extra: object
) -> tuple[str, str]:
    """Commit a base, and a head with another score; return head and base."""
    workplace.write_spec({"arith": {"value": 0.8}}, FLOOR)
    base = workplace.commit("base")
    workplace.write_spec({"arith": {"value": value} | extra}, gate)
    return workplace.commit("head"), base


def conclusion(workplace: Workplace, sha: str) -> str | None:
    (check,) = workplace.hub.store.checks_of(sha)
    return str(check["conclusion"]) if check["conclusion"] else None


def count_attempts(workplace: Workplace) -> int:
    return len(list((workplace.home / "local").glob("nel-*")))


def assert_outputs_complete(result: ActionResult) -> None:
    assert set(OUTPUTS) <= set(result.outputs), result.log


def test_first_push_passes_and_second_push_edits_the_comment(workplace: Workplace) -> None:
    head, base = commit_base_and_head(workplace)
    result = workplace.act("pull_request", workplace.pull_request(head, base))
    assert result.code == 0, result.log
    assert result.outputs["verdict"] == "pass"
    assert conclusion(workplace, head) == "success"
    (comment,) = workplace.hub.store.comments_of(2)
    assert "arith" in comment["body"]
    assert "arith" in result.summary
    assert_outputs_complete(result)

    workplace.write_spec({"arith": {"value": 0.3}}, FLOOR)
    worse = workplace.commit("worse")
    result = workplace.act("pull_request", workplace.pull_request(worse, base))
    assert (result.code, result.outputs["verdict"], result.outputs["exit-code"]) == (1, "fail", "1")
    (comment,) = workplace.hub.store.comments_of(2)
    assert "✗" in comment["body"]
    (check,) = workplace.hub.store.checks_of(worse)
    assert check["conclusion"] == "failure"
    (annotation,) = workplace.hub.store.annotations[check["id"]]
    assert (annotation["path"], annotation["annotation_level"]) == ("evals/gate.yaml", "failure")
    assert annotation["start_line"] == 1 + next(
        index
        for index, line in enumerate((workplace.work / "evals/gate.yaml").read_text().splitlines())
        if line == "    arith:"
    )


def test_check_is_opened_before_submission(workplace: Workplace) -> None:
    head, base = commit_base_and_head(workplace)
    workplace.act("pull_request", workplace.pull_request(head, base))
    first = next(seen for seen in workplace.hub.seen if seen.method != "GET" and "graphql" not in seen.target)
    assert first.target.endswith("/check-runs")
    assert b'"in_progress"' in first.body


def test_rerun_reuses_results(workplace: Workplace) -> None:
    head, base = commit_base_and_head(workplace)
    payload = workplace.pull_request(head, base)
    workplace.act("pull_request", payload)
    (workplace.home / "ledger.db").unlink()
    result = workplace.act("pull_request", payload)
    assert result.outputs["verdict"] == "pass"
    assert count_attempts(workplace) == 1
    assert "is reused" in result.log


def test_refused_comment_is_a_warning(workplace: Workplace) -> None:
    workplace.hub.grant(contents="read", checks="write", actions="read")
    head, base = commit_base_and_head(workplace)
    result = workplace.act("pull_request", workplace.pull_request(head, base))
    assert (result.code, result.outputs["verdict"], conclusion(workplace, head)) == (0, "pass", "success")
    assert any("pull-requests: " in message for message in result.commands("warning"))


@pytest.mark.parametrize(("value", "code"), [(0.8, 0), (0.2, 1)])
def test_refused_check_does_not_change_the_verdict(workplace: Workplace, value: float, code: int) -> None:
    workplace.hub.grant(contents="read", pull_requests="write", actions="read")
    head, base = commit_base_and_head(workplace, value)
    result = workplace.act("pull_request", workplace.pull_request(head, base))
    assert result.code == code
    assert workplace.hub.store.checks == {}
    assert any("checks: " in message for message in result.commands("warning"))
    assert len(workplace.hub.store.comments_of(2)) == 1


def test_server_errors_do_not_change_the_verdict(workplace: Workplace) -> None:
    workplace.hub.faults = [
        Fault("PATCH .*/check-runs", 502),
        Fault("POST .*/comments", 502, after=True),
        Fault("GET .*/comments", None),
        Fault("POST .*/check-runs", 429, headers={"Retry-After": "1"}),
        Fault("PATCH .*/comments", 403, "You have exceeded a secondary rate limit", {"Retry-After": "1"}),
    ]
    head, base = commit_base_and_head(workplace, 0.2)
    result = workplace.act("pull_request", workplace.pull_request(head, base))
    assert (result.code, conclusion(workplace, head)) == (1, "failure")
    assert len(workplace.hub.store.comments_of(2)) == 1


def test_verdict_without_token(workplace: Workplace) -> None:
    head, base = commit_base_and_head(workplace, 0.2)
    result = workplace.act("pull_request", workplace.pull_request(head, base), **{"github-token": ""})
    assert (result.code, result.outputs["verdict"]) == (1, "fail")
    assert workplace.hub.seen == []
    assert "arith" in result.summary
    assert any("`github-token` is empty" in message for message in result.commands("warning"))


def test_pull_request_is_judged_by_policy_of_base(workplace: Workplace) -> None:
    head, base = commit_base_and_head(workplace, 0.2, LAX)
    result = workplace.act("pull_request", workplace.pull_request(head, base))
    assert result.outputs["verdict"] == "fail"
    (comment,) = workplace.hub.store.comments_of(2)
    assert "this change edits its own gate" in comment["body"]
    assert "0.5 → 0.01" in comment["body"]


def test_pull_request_cannot_remove_gate_or_required_task(workplace: Workplace) -> None:
    workplace.write_spec({"arith": {"value": 0.8}, "other": {"value": 0.8}}, {"tasks": {"arith": {"min": 0.5}}})
    base = workplace.commit("base")
    workplace.write_spec({"other": {"value": 0.8}})
    head = workplace.commit("head")
    result = workplace.act("pull_request", workplace.pull_request(head, base))
    assert (result.code, result.outputs["verdict"]) == (3, "unmeasurable")
    assert conclusion(workplace, head) == "failure"


def test_base_is_read_through_api_in_shallow_checkout(workplace: Workplace) -> None:
    head, base = commit_base_and_head(workplace, 0.2, LAX)
    store = workplace.hub.store
    text = workplace.git("show", f"{base}:evals/gate.yaml") + "\n"
    lines = [line.split(maxsplit=3) for line in workplace.git("ls-tree", "-r", base).splitlines()]
    items = [{"path": path, "mode": mode, "type": kind, "sha": sha} for mode, kind, sha, path in lines]
    next(item for item in items if item["path"] == "evals/gate.yaml")["sha"] = store.put_object("blob", text)
    content = {"tree": store.put_object("tree", items), "parents": [], "message": "base"}
    store.objects[base] = content
    workplace.git("checkout", "-q", "--orphan", "shallow")
    workplace.git("commit", "-q", "-m", "head")
    workplace.git("branch", "-D", "main")
    workplace.git("reflog", "expire", "--expire=now", "--all")
    workplace.git("gc", "-q", "--prune=now")
    result = workplace.act("pull_request", workplace.pull_request(head, base))
    assert result.outputs["verdict"] == "fail", result.log


def test_invalid_spec_is_annotated_and_runs_nothing(workplace: Workplace) -> None:
    head, base = commit_base_and_head(workplace, 0.8, {"tasks": {"arith": {"mni": 0.5}}})
    result = workplace.act("pull_request", workplace.pull_request(head, base))
    assert (result.code, result.outputs["exit-code"], result.outputs["verdict"]) == (2, "2", "none")
    assert count_attempts(workplace) == 0
    (check,) = workplace.hub.store.checks_of(head)
    assert check["conclusion"] == "failure"
    (annotation,) = workplace.hub.store.annotations[check["id"]]
    lines = (workplace.work / "evals/gate.yaml").read_text().splitlines()
    assert "mni" in lines[annotation["start_line"] - 1]
    assert "min" in annotation["message"]
    assert_outputs_complete(result)


def test_failed_job_is_unmeasurable_and_its_log_is_untrusted(workplace: Workplace) -> None:
    head, base = commit_base_and_head(workplace, say="::error::pwned\n::add-mask::e", fail="3")
    result = workplace.act("pull_request", workplace.pull_request(head, base))
    assert (result.code, result.outputs["verdict"]) == (3, "unmeasurable")
    assert conclusion(workplace, head) == "failure"
    stopped = result.log.partition("::stop-commands::")[2]
    token = stopped.partition("\n")[0]
    assert "::error::pwned" in stopped.partition(f"::{token}::")[0]
    assert_outputs_complete(result)


def test_max_wait_leaves_check_open(workplace: Workplace, tmp_path: Path) -> None:
    head, base = commit_base_and_head(workplace, until=str(tmp_path / "go"))
    result = workplace.act("pull_request", workplace.pull_request(head, base), max_wait="1")
    assert (result.code, result.outputs["state"], result.outputs["exit-code"]) == (5, "running", "5")
    assert conclusion(workplace, head) is None
    assert_outputs_complete(result)


@pytest.mark.parametrize(
    ("event", "payload"),
    [
        ("push", "push"),
        ("workflow_dispatch", "workflow_dispatch"),
        ("schedule", ""),
        ("repository_dispatch", "repository_dispatch.on-demand-test"),
        ("merge_group", "merge_group.checks_requested"),
    ],
)
def test_other_events_have_check_but_no_comment(workplace: Workplace, event: str, payload: str) -> None:
    workplace.write_spec({"arith": {"value": 0.8}}, FLOOR)
    sha = workplace.commit("base")
    event_payload: dict[str, Any] = example(payload) if payload else {"schedule": "23 3 * * *"}
    if event == "merge_group":
        event_payload["merge_group"] |= {"head_sha": sha, "base_sha": sha}
    result = workplace.act(event, event_payload)
    assert (result.code, conclusion(workplace, sha)) == (0, "success"), result.log
    assert workplace.hub.store.comments == {}


def test_merge_group_is_judged_by_policy_of_base(workplace: Workplace) -> None:
    head, base = commit_base_and_head(workplace, 0.2, LAX)
    payload = example("merge_group.checks_requested")
    payload["merge_group"].update(head_sha=head, base_sha=base)
    result = workplace.act("merge_group", payload)
    assert (result.code, conclusion(workplace, head)) == (1, "failure"), result.log


def test_own_comment_is_found_among_101_others_and_a_forgery(workplace: Workplace) -> None:
    store = workplace.hub.store
    head, base = commit_base_and_head(workplace)
    workplace.act("pull_request", workplace.pull_request(head, base))
    (own,) = store.comments_of(2)
    mallory = Identity("mallory", "User")
    forged = store.add_comment(2, own["body"], mallory)
    for number in range(101):
        store.add_comment(2, f"comment {number}", mallory)
    # NOTE: GitHub lists comments by id, so the new id moves the gate's comment to the second page.
    store.comments[store.next_id()] = store.comments.pop(own["id"])
    moved = max(store.comments)
    store.comments[moved] |= {"id": moved}
    store.comment_issue[moved] = 2
    workplace.write_spec({"arith": {"value": 0.2}}, FLOOR)
    worse = workplace.commit("worse")
    result = workplace.act("pull_request", workplace.pull_request(worse, base))
    assert result.outputs["verdict"] == "fail"
    assert len(store.comments_of(2)) == 103
    assert "✗" in store.comments[moved]["body"]
    assert "✗" not in forged["body"]


def test_unreachable_target_is_reported_before_submission(workplace: Workplace) -> None:
    workplace.target = "http://127.0.0.1:9/v1/chat/completions"
    head, base = commit_base_and_head(workplace)
    result = workplace.act("pull_request", workplace.pull_request(head, base))
    assert (result.code, conclusion(workplace, head)) == (3, "failure")
    assert count_attempts(workplace) == 0
    (comment,) = workplace.hub.store.comments_of(2)
    assert "connection refused" in comment["body"]
    assert_outputs_complete(result)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"mode": "maybe"}, "run, submit, collect"),
        ({"max_wait": "soon"}, "5h30m"),
        ({"spec": ""}, "no spec is given"),
        ({"fail_on": "bogus"}, "bogus"),
    ],
)
def test_invalid_inputs_are_reported(workplace: Workplace, inputs: dict[str, str], message: str) -> None:
    workplace.write_spec({"arith": {"value": 0.8}}, FLOOR)
    workplace.commit("base")
    result = workplace.act("push", {}, **inputs)
    assert result.code == 2
    assert conclusion(workplace, workplace.git("rev-parse", "HEAD")) == "failure"
    assert any(message in error for error in result.commands("error"))
    assert_outputs_complete(result)


def test_unwritable_summary_does_not_change_the_verdict(workplace: Workplace, tmp_path: Path) -> None:
    head, base = commit_base_and_head(workplace)
    workplace.environ["GITHUB_STEP_SUMMARY"] = str(tmp_path / "gone" / "summary")
    result = workplace.act("pull_request", workplace.pull_request(head, base))
    assert (result.code, conclusion(workplace, head)) == (0, "success"), result.log
    assert any("summary could not be written" in message for message in result.commands("warning"))
    assert_outputs_complete(result)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"GITHUB_REPOSITORY": "Hello-World"}, "is not the name of a repository"),
        ({"GITHUB_EVENT_PATH": "/nowhere/event.json"}, "cannot be read"),
    ],
)
def test_malformed_environment_is_reported(workplace: Workplace, variables: dict[str, str], message: str) -> None:
    head, base = commit_base_and_head(workplace)
    workplace.environ |= variables
    result = workplace.act("pull_request", workplace.pull_request(head, base))
    assert result.code == 2
    assert any(message in error for error in result.commands("error"))
    assert_outputs_complete(result)


def test_fail_on_changes_step_but_not_check(workplace: Workplace) -> None:
    head, base = commit_base_and_head(workplace, 0.2)
    result = workplace.act("pull_request", workplace.pull_request(head, base), fail_on="never")
    assert (result.code, result.outputs["verdict"], conclusion(workplace, head)) == (0, "fail", "failure")


@pytest.mark.parametrize(("mode", "value", "count"), [("off", 0.2, 0), ("failures", 0.8, 0), ("failures", 0.2, 1)])
def test_comment_modes(workplace: Workplace, mode: str, value: float, count: int) -> None:
    head, base = commit_base_and_head(workplace, value)
    workplace.act("pull_request", workplace.pull_request(head, base), comment=mode)
    assert len(workplace.hub.store.comments_of(2)) == count


def test_artifact_contains_results_reports_logs_and_record(workplace: Workplace) -> None:
    head, base = commit_base_and_head(workplace)
    result = workplace.act("pull_request", workplace.pull_request(head, base))
    artifact = Path(result.outputs["artifact-path"])
    names = {str(path.relative_to(artifact)) for path in artifact.rglob("*") if path.is_file()}
    assert {"results.json", "report.json", "report.md", "junit.xml", "invocation.json", "plan.json"} <= names
    assert any(name.startswith("arith/logs/") for name in names)
    assert not any("artifacts" in name for name in names)
    assert result.outputs["artifact-name"] == "nel-action-benchmark-gate"
