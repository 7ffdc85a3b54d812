"""Nights: history, trend, and one issue while a regression lasts."""

from __future__ import annotations

from pathlib import Path

from tests.support.workplace import Done, Workplace

FLOOR = {"tasks": {"arith": {"min": 0.5}}}


def night(place: Workplace, value: float) -> Done:
    place.write_spec({"arith": {"value": value}}, FLOOR)
    place.commit(f"main at {value}")
    return place.act("schedule", {"schedule": "17 3 * * *"}, history_branch="nel-action-data")


def test_an_issue_is_opened_when_confirmed_kept_true_and_closed(place: Workplace) -> None:
    issues = place.hub.store.open_issues
    assert night(place, 0.8).code == 0
    assert issues() == []
    assert night(place, 0.2).code == 1
    assert issues() == [], "one night is not confirmed"
    done = night(place, 0.21)
    (issue,) = issues()
    assert "arith fell" in issue["title"]
    assert "xychart" in done.summary
    assert "arith: 3 scores from 80.0" in Path(done.outputs["report-path"]).with_suffix(".html").read_text()
    night(place, 0.22)
    assert [one["number"] for one in issues()] == [issue["number"]]
    assert night(place, 0.8).code == 0
    assert issues() == []
    lines = place.hub.store.read_branch("nel-action-data")["nel-action-benchmark-gate.jsonl"].splitlines()
    assert len(lines) == 5


def test_without_the_right_to_write_a_night_still_has_its_verdict(place: Workplace) -> None:
    place.hub.grant(contents="read", checks="write")
    done = night(place, 0.2)
    assert (done.code, done.outputs["verdict"]) == (1, "fail")
    assert any("contents: write" in one for one in done.commands("warning"))


def test_a_pull_request_stands_beside_the_nights_and_is_none(place: Workplace) -> None:
    for value in (0.8, 0.7):
        night(place, value)
    base = place.git("rev-parse", "HEAD")
    place.write_spec({"arith": {"value": 0.9}}, FLOOR)
    done = place.act("pull_request", place.pull_request(place.commit(), base), history_branch="nel-action-data")
    assert "arith: 3 scores from 80.0" in Path(done.outputs["report-path"]).with_suffix(".html").read_text()
    lines = place.hub.store.read_branch("nel-action-data")["nel-action-benchmark-gate.jsonl"].splitlines()
    assert len(lines) == 2
