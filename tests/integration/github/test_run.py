"""The action's steps against a GitHub that remembers, with real jobs on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.doubles.github.events import example
from tests.doubles.github.server import Fault
from tests.doubles.github.store import Identity
from tests.support.workplace import Done, Workplace

from nel_action.github.inputs import OUTPUTS

FLOOR = {"tasks": {"arith": {"min": 0.5}}}
LAX = {"tasks": {"arith": {"min": 0.01}}}


def opened(place: Workplace, value: float = 0.8, gate: object = FLOOR, **extra: object) -> tuple[str, str]:
    """Commit a base, and a head with another score."""
    place.write_spec({"arith": {"value": 0.8}}, FLOOR)
    base = place.commit("base")
    place.write_spec({"arith": {"value": value} | extra}, gate)
    return place.commit("head"), base


def conclusion(place: Workplace, sha: str) -> str | None:
    (check,) = place.hub.store.checks_of(sha)
    return str(check["conclusion"]) if check["conclusion"] else None


def evaluations(place: Workplace) -> int:
    return len(list((place.home / "local").glob("nel-*")))


def whole(done: Done) -> None:
    """Every output is there, whatever happened."""
    assert set(OUTPUTS) <= set(done.outputs), done.log


def test_a_first_run_passes_and_a_second_push_edits_its_comment(place: Workplace) -> None:
    head, base = opened(place)
    done = place.act("pull_request", place.pull_request(head, base))
    assert done.code == 0, done.log
    assert done.outputs["verdict"] == "pass"
    assert conclusion(place, head) == "success"
    (comment,) = place.hub.store.comments_of(2)
    assert "arith" in comment["body"]
    assert "arith" in done.summary
    whole(done)

    place.write_spec({"arith": {"value": 0.3}}, FLOOR)
    worse = place.commit("worse")
    done = place.act("pull_request", place.pull_request(worse, base))
    assert (done.code, done.outputs["verdict"], done.outputs["exit-code"]) == (1, "fail", "1")
    (comment,) = place.hub.store.comments_of(2)
    assert "✗" in comment["body"]
    (check,) = place.hub.store.checks_of(worse)
    assert check["conclusion"] == "failure"
    (note,) = place.hub.store.annotations[check["id"]]
    assert (note["path"], note["annotation_level"]) == ("evals/gate.yaml", "failure")
    assert note["start_line"] == 1 + next(
        at for at, line in enumerate((place.work / "evals/gate.yaml").read_text().splitlines()) if line == "    arith:"
    )


def test_the_check_is_open_before_anything_is_spent(place: Workplace) -> None:
    head, base = opened(place)
    place.act("pull_request", place.pull_request(head, base))
    first = next(seen for seen in place.hub.seen if seen.method != "GET" and "graphql" not in seen.target)
    assert first.target.endswith("/check-runs")
    assert b'"in_progress"' in first.body


def test_a_re_run_evaluates_nothing_again(place: Workplace) -> None:
    head, base = opened(place)
    payload = place.pull_request(head, base)
    place.act("pull_request", payload)
    (place.home / "ledger.db").unlink()
    done = place.act("pull_request", payload)
    assert done.outputs["verdict"] == "pass"
    assert evaluations(place) == 1
    assert "is reused" in done.log


def test_a_refused_comment_is_a_warning_with_its_lines(place: Workplace) -> None:
    place.hub.grant(contents="read", checks="write", actions="read")
    head, base = opened(place)
    done = place.act("pull_request", place.pull_request(head, base))
    assert (done.code, done.outputs["verdict"], conclusion(place, head)) == (0, "pass", "success")
    assert any("pull-requests: " in one for one in done.commands("warning"))


@pytest.mark.parametrize(("value", "code"), [(0.8, 0), (0.2, 1)])
def test_a_refused_check_changes_no_verdict(place: Workplace, value: float, code: int) -> None:
    place.hub.grant(contents="read", pull_requests="write", actions="read")
    head, base = opened(place, value)
    done = place.act("pull_request", place.pull_request(head, base))
    assert done.code == code
    assert place.hub.store.checks == {}
    assert any("checks: " in one for one in done.commands("warning"))
    assert len(place.hub.store.comments_of(2)) == 1


def test_a_stumbling_server_changes_no_verdict(place: Workplace) -> None:
    place.hub.faults = [
        Fault("PATCH .*/check-runs", 502),
        Fault("POST .*/comments", 502, after=True),
        Fault("GET .*/comments", None),
        Fault("POST .*/check-runs", 429, headers={"Retry-After": "1"}),
        Fault("PATCH .*/comments", 403, "You have exceeded a secondary rate limit", {"Retry-After": "1"}),
    ]
    head, base = opened(place, 0.2)
    done = place.act("pull_request", place.pull_request(head, base))
    assert (done.code, conclusion(place, head)) == (1, "failure")
    assert len(place.hub.store.comments_of(2)) == 1


def test_without_a_token_there_is_still_a_verdict(place: Workplace) -> None:
    head, base = opened(place, 0.2)
    done = place.act("pull_request", place.pull_request(head, base), **{"github-token": ""})
    assert (done.code, done.outputs["verdict"]) == (1, "fail")
    assert place.hub.seen == []
    assert "arith" in done.summary


def test_a_change_is_judged_by_its_bases_rules(place: Workplace) -> None:
    head, base = opened(place, 0.2, LAX)
    done = place.act("pull_request", place.pull_request(head, base))
    assert done.outputs["verdict"] == "fail"
    (comment,) = place.hub.store.comments_of(2)
    assert "this change edits its own gate" in comment["body"]
    assert "0.5 → 0.01" in comment["body"]


def test_a_change_cannot_drop_its_gate_or_its_task(place: Workplace) -> None:
    place.write_spec({"arith": {"value": 0.8}, "other": {"value": 0.8}}, {"tasks": {"arith": {"min": 0.5}}})
    base = place.commit("base")
    place.write_spec({"other": {"value": 0.8}})
    head = place.commit("head")
    done = place.act("pull_request", place.pull_request(head, base))
    assert (done.code, done.outputs["verdict"]) == (3, "unmeasurable")
    assert conclusion(place, head) == "failure"


def test_a_shallow_checkout_asks_the_api_for_the_base(place: Workplace) -> None:
    head, base = opened(place, 0.2, LAX)
    store = place.hub.store
    text = place.git("show", f"{base}:evals/gate.yaml") + "\n"
    items = [{"path": "evals/gate.yaml", "mode": "100644", "type": "blob", "sha": store.put_object("blob", text)}]
    content = {"tree": store.put_object("tree", items), "parents": [], "message": "base"}
    store.objects[base] = content
    place.git("checkout", "-q", "--orphan", "shallow")
    place.git("commit", "-q", "-m", "head")
    place.git("branch", "-D", "main")
    place.git("reflog", "expire", "--expire=now", "--all")
    place.git("gc", "-q", "--prune=now")
    done = place.act("pull_request", place.pull_request(head, base))
    assert done.outputs["verdict"] == "fail", done.log


def test_a_wrong_spec_is_shown_at_its_line_and_runs_nothing(place: Workplace) -> None:
    head, base = opened(place, 0.8, {"tasks": {"arith": {"mni": 0.5}}})
    done = place.act("pull_request", place.pull_request(head, base))
    assert (done.code, done.outputs["exit-code"], done.outputs["verdict"]) == (2, "2", "none")
    assert evaluations(place) == 0
    (check,) = place.hub.store.checks_of(head)
    assert check["conclusion"] == "failure"
    (note,) = place.hub.store.annotations[check["id"]]
    lines = (place.work / "evals/gate.yaml").read_text().splitlines()
    assert "mni" in lines[note["start_line"] - 1]
    assert "min" in note["message"]
    whole(done)


def test_a_failed_job_is_unmeasurable_and_its_log_commands_nothing(place: Workplace) -> None:
    head, base = opened(place, say="::error::pwned\n::add-mask::e", fail="3")
    done = place.act("pull_request", place.pull_request(head, base))
    assert (done.code, done.outputs["verdict"]) == (3, "unmeasurable")
    assert conclusion(place, head) == "failure"
    stopped = done.log.partition("::stop-commands::")[2]
    token = stopped.partition("\n")[0]
    assert "::error::pwned" in stopped.partition(f"::{token}::")[0]
    whole(done)


def test_the_longest_wait_leaves_the_check_open(place: Workplace, tmp_path: Path) -> None:
    head, base = opened(place, until=str(tmp_path / "go"))
    done = place.act("pull_request", place.pull_request(head, base), max_wait="1")
    assert (done.code, done.outputs["state"], done.outputs["exit-code"]) == (5, "running", "5")
    assert conclusion(place, head) is None
    whole(done)


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
def test_other_events_have_a_check_and_no_comment(place: Workplace, event: str, payload: str) -> None:
    place.write_spec({"arith": {"value": 0.8}}, FLOOR)
    sha = place.commit("base")
    told: dict[str, Any] = example(payload) if payload else {"schedule": "23 3 * * *"}
    if event == "merge_group":
        told["merge_group"] |= {"head_sha": sha, "base_sha": sha}
    done = place.act(event, told)
    assert (done.code, conclusion(place, sha)) == (0, "success"), done.log
    assert place.hub.store.comments == {}


def test_a_merge_group_is_judged_by_its_bases_rules(place: Workplace) -> None:
    head, base = opened(place, 0.2, LAX)
    told = example("merge_group.checks_requested")
    told["merge_group"].update(head_sha=head, base_sha=base)
    done = place.act("merge_group", told)
    assert (done.code, conclusion(place, head)) == (1, "failure"), done.log


def test_among_101_others_and_a_forgery_its_own_comment_is_found_again(place: Workplace) -> None:
    store = place.hub.store
    head, base = opened(place)
    place.act("pull_request", place.pull_request(head, base))
    (own,) = store.comments_of(2)
    mallory = Identity("mallory", "User")
    forged = store.add_comment(2, own["body"], mallory)
    for number in range(101):
        store.add_comment(2, f"what about {number}?", mallory)
    # NOTE: GitHub lists by id: ours goes behind all the others, on the second page.
    store.comments[store.next_id()] = store.comments.pop(own["id"])
    moved = max(store.comments)
    store.comments[moved] |= {"id": moved}
    store.comment_issue[moved] = 2
    place.write_spec({"arith": {"value": 0.2}}, FLOOR)
    worse = place.commit("worse")
    done = place.act("pull_request", place.pull_request(worse, base))
    assert done.outputs["verdict"] == "fail"
    assert len(store.comments_of(2)) == 103
    assert "✗" in store.comments[moved]["body"]
    assert "✗" not in forged["body"]


def test_a_target_that_refuses_is_told_before_anything_runs(place: Workplace) -> None:
    place.target = "http://127.0.0.1:9/v1/chat/completions"
    head, base = opened(place)
    done = place.act("pull_request", place.pull_request(head, base))
    assert (done.code, conclusion(place, head)) == (3, "failure")
    assert evaluations(place) == 0
    (comment,) = place.hub.store.comments_of(2)
    assert "connection refused" in comment["body"]
    whole(done)


@pytest.mark.parametrize(
    ("inputs", "said"),
    [({"mode": "maybe"}, "run, submit, collect"), ({"max_wait": "soon"}, "5h30m"), ({"spec": ""}, "no spec is given")],
)
def test_wrong_inputs_are_told(place: Workplace, inputs: dict[str, str], said: str) -> None:
    place.write_spec({"arith": {"value": 0.8}}, FLOOR)
    place.commit("base")
    done = place.act("push", {}, **inputs)
    assert done.code == 2
    assert any(said in one for one in done.commands("error"))
    whole(done)


def test_what_fails_the_step_is_the_workflows_choice_and_the_check_stays_true(place: Workplace) -> None:
    head, base = opened(place, 0.2)
    done = place.act("pull_request", place.pull_request(head, base), fail_on="never")
    assert (done.code, done.outputs["verdict"], conclusion(place, head)) == (0, "fail", "failure")


@pytest.mark.parametrize(("mode", "value", "count"), [("off", 0.2, 0), ("failures", 0.8, 0), ("failures", 0.2, 1)])
def test_comment_modes(place: Workplace, mode: str, value: float, count: int) -> None:
    head, base = opened(place, value)
    place.act("pull_request", place.pull_request(head, base), comment=mode)
    assert len(place.hub.store.comments_of(2)) == count


def test_the_artifact_holds_results_reports_logs_and_the_record(place: Workplace) -> None:
    head, base = opened(place)
    done = place.act("pull_request", place.pull_request(head, base))
    kept = Path(done.outputs["artifact-path"])
    names = {str(path.relative_to(kept)) for path in kept.rglob("*") if path.is_file()}
    assert {"results.json", "report.json", "report.md", "junit.xml", "invocation.json", "plan.json"} <= names
    assert any(name.startswith("arith/logs/") for name in names)
    assert not any("artifacts" in name for name in names)
    assert done.outputs["artifact-name"] == "nel-action-benchmark-gate"
