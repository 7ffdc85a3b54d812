"""The action's steps against a GitHub that remembers, with real jobs on this machine."""

from __future__ import annotations

from tests.support.workplace import Workplace

from nel_action.github.inputs import OUTPUTS

FLOOR = {"tasks": {"arith": {"min": 0.5}}}


def test_a_first_run_passes_and_a_second_push_edits_its_comment(place: Workplace) -> None:
    place.write_spec({"arith": {"value": 0.8}}, FLOOR)
    base = place.commit("base")
    head = place.commit("head")
    done = place.act("pull_request", place.pull_request(head, base))
    assert done.code == 0, done.log
    assert set(OUTPUTS) <= set(done.outputs)
    assert done.outputs["verdict"] == "pass"
    (check,) = place.hub.store.checks_of(head)
    assert (check["status"], check["conclusion"]) == ("completed", "success")
    (comment,) = place.hub.store.comments_of(2)
    assert "arith" in comment["body"]
    assert "arith" in done.summary

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
