"""Pull requests from forks: stage one writes nothing, stage two believes nothing."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest
from tests.doubles.github.events import example
from tests.doubles.github.store import Identity
from tests.support.workplace import Done, Workplace

FLOOR = {"tasks": {"arith": {"min": 0.5}}}


def stage_one(place: Workplace, value: float) -> tuple[Done, str]:
    """Run as a fork's own workflow does: a token that reads, no secrets."""
    place.write_spec({"arith": {"value": 0.8}}, FLOOR)
    base = place.commit("base")
    place.write_spec({"arith": {"value": value}}, {"tasks": {"arith": {"min": 0.0}}})
    head = place.commit("head")
    before = dict(place.hub.tokens)
    place.hub.tokens[place.hub.token] = Identity(rights={"contents": "read"})
    done = place.act("pull_request", place.pull_request(head, base, fork=True))
    place.hub.tokens |= before
    return done, head


def stage_two(place: Workplace, done: Done, head: str, run: int = 42, **inputs: str) -> Done:
    """Upload what stage one kept, and tell that it ended; the checkout is the base's."""
    out = io.BytesIO()
    kept = Path(done.outputs["artifact-path"])
    with zipfile.ZipFile(out, "w") as archive:
        for path in kept.rglob("*"):
            if path.is_file():
                archive.write(path, path.relative_to(kept))
    place.hub.store.add_artifact(run, done.outputs["artifact-name"], out.getvalue())
    place.git("checkout", "-q", "HEAD~1")
    payload: dict[str, Any] = example("workflow_run.completed")
    home = {"full_name": "mallory/Hello-World"}
    payload["workflow_run"] |= {"id": run, "head_sha": head, "head_branch": "change", "head_repository": home}
    return place.act("workflow_run", payload, mode="collect", **inputs)


def test_stage_one_writes_nothing_and_keeps_results(place: Workplace) -> None:
    done, head = stage_one(place, 0.8)
    assert done.code == 0
    assert [seen for seen in place.hub.seen if seen.method != "GET"] == []
    assert place.hub.store.checks_of(head) == []
    assert (Path(done.outputs["artifact-path"]) / "results.json").exists()


def test_stage_two_judges_by_the_base_and_a_pass_asks_a_maintainer(place: Workplace) -> None:
    one, head = stage_one(place, 0.8)
    done = stage_two(place, one, head)
    assert done.code == 0, done.log
    (check,) = place.hub.store.checks_of(head)
    assert check["conclusion"] == "action_required"
    (comment,) = place.hub.store.comments_of(2)
    assert "fork's own code" in comment["body"]


def test_stage_two_fails_what_fell_whatever_the_forks_gate_says(place: Workplace) -> None:
    one, head = stage_one(place, 0.2)
    assert one.outputs["verdict"] == "fail"
    done = stage_two(place, one, head)
    (check,) = place.hub.store.checks_of(head)
    assert (done.outputs["verdict"], check["conclusion"]) == ("fail", "failure")


def test_stage_two_names_no_other_pull_request(place: Workplace) -> None:
    one, head = stage_one(place, 0.8)
    place.hub.store.pulls[2]["head"]["sha"] = "d" * 40
    done = stage_two(place, one, head)
    assert done.code == 2
    assert place.hub.store.comments == {}
    assert place.hub.store.checks == {}


def test_stage_two_leaves_this_repositorys_own_pull_requests_to_their_own_gate(place: Workplace) -> None:
    # NOTE: stage one's job is skipped for them, and a skipped run ends and is told of like any other.
    place.write_spec({"arith": {"value": 0.8}}, FLOOR)
    head = place.commit("head")
    place.pull_request(head, head)
    payload: dict[str, Any] = example("workflow_run.completed")
    here = {"full_name": place.hub.store.repository}
    payload["workflow_run"] |= {"id": 42, "head_sha": head, "head_branch": "change", "head_repository": here}
    done = place.act("workflow_run", payload, mode="collect")
    assert (done.code, done.outputs["verdict"]) == (0, "none")
    assert place.hub.store.checks == {}
    assert place.hub.store.comments == {}


@pytest.mark.parametrize("event", ["workflow_run", "issue_comment"])
def test_what_could_judge_another_commit_than_it_says_is_refused(place: Workplace, event: str) -> None:
    place.write_spec({"arith": {"value": 0.8}}, FLOOR)
    place.commit("base")
    payload = example("workflow_run.completed" if event == "workflow_run" else "issue_comment.created")
    if event == "workflow_run":
        payload["workflow_run"] |= {"head_repository": {"full_name": "mallory/Hello-World"}}
    else:
        payload["issue"]["pull_request"] = {"url": "https://x.example"}
    done = place.act(event, payload)
    assert done.code == 2, done.log
    assert not (place.home / "local").exists()


def test_pull_request_target_of_a_fork_is_refused(place: Workplace) -> None:
    place.write_spec({"arith": {"value": 0.8}}, FLOOR)
    base = place.commit("base")
    head = place.commit("head")
    done = place.act("pull_request_target", place.pull_request(head, base, fork=True))
    assert done.code == 2
    assert any("secrets" in one for one in done.commands("error"))
    assert not (place.home / "local").exists()
