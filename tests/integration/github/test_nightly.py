"""Scheduled runs: history, trend, and an issue for confirmed regressions."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.workplace import ActionResult, Workplace

FLOOR = {"tasks": {"arith": {"min": 0.5}}}


def run_scheduled(workplace: Workplace, value: float) -> ActionResult:
    workplace.write_spec({"arith": {"value": value}}, FLOOR)
    workplace.commit(f"main at {value}")
    return workplace.act("schedule", {"schedule": "17 3 * * *"}, history_branch="nel-action-data")


def test_issue_is_opened_when_confirmed_updated_and_closed(workplace: Workplace) -> None:
    issues = workplace.hub.store.open_issues
    assert run_scheduled(workplace, 0.8).code == 0
    assert issues() == []
    assert run_scheduled(workplace, 0.2).code == 1
    assert issues() == [], "one run does not confirm a regression"
    result = run_scheduled(workplace, 0.21)
    (issue,) = issues()
    assert "arith regressed" in issue["title"]
    assert "xychart" in result.summary
    assert "arith: 3 scores from 80.0" in Path(result.outputs["report-path"]).with_suffix(".html").read_text()
    run_scheduled(workplace, 0.22)
    assert [item["number"] for item in issues()] == [issue["number"]]
    assert run_scheduled(workplace, 0.8).code == 0
    assert issues() == []
    lines = workplace.hub.store.read_branch("nel-action-data")["nel-action-benchmark-gate.jsonl"].splitlines()
    assert len(lines) == 5


@pytest.mark.parametrize("ref", ["refs/heads/change", "refs/tags/main"])
def test_run_on_another_ref_is_not_recorded(workplace: Workplace, ref: str) -> None:
    run_scheduled(workplace, 0.8)
    workplace.environ["GITHUB_REF"] = ref
    workplace.write_spec({"arith": {"value": 0.3}}, FLOOR)
    workplace.hub.store.refs["heads/main"] = workplace.git("rev-parse", "HEAD")
    workplace.commit("a change")
    result = workplace.act("workflow_dispatch", {}, history_branch="nel-action-data")
    assert (result.code, result.outputs["verdict"]) == (1, "fail"), result.log
    lines = workplace.hub.store.read_branch("nel-action-data")["nel-action-benchmark-gate.jsonl"].splitlines()
    assert len(lines) == 1


def test_scheduled_run_without_permission_has_its_verdict(workplace: Workplace) -> None:
    workplace.hub.grant(contents="read", checks="write")
    result = run_scheduled(workplace, 0.2)
    assert (result.code, result.outputs["verdict"]) == (1, "fail")
    assert any("contents: write" in message for message in result.commands("warning"))


def test_pull_request_shows_trend_and_is_not_recorded(workplace: Workplace) -> None:
    for value in (0.8, 0.7):
        run_scheduled(workplace, value)
    base = workplace.git("rev-parse", "HEAD")
    workplace.write_spec({"arith": {"value": 0.9}}, FLOOR)
    result = workplace.act(
        "pull_request", workplace.pull_request(workplace.commit(), base), history_branch="nel-action-data"
    )
    assert "arith: 3 scores from 80.0" in Path(result.outputs["report-path"]).with_suffix(".html").read_text()
    lines = workplace.hub.store.read_branch("nel-action-data")["nel-action-benchmark-gate.jsonl"].splitlines()
    assert len(lines) == 2
