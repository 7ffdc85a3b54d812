"""The nightly's issue: opened when chance is ruled out, one, ours, closed on recovery."""

from __future__ import annotations

import pytest
from tests.doubles.github.server import GitHubDouble
from tests.doubles.github.store import Identity

from nel_action.gating.trend import TrendEntry
from nel_action.gating.verdict import Verdict
from nel_action.github.api import GitHubApi
from nel_action.github.history import ScheduledRun
from nel_action.github.issue import StickyIssue, confirmed

REPOSITORY = "Codertocat/Hello-World"


def nights(*values: float | None) -> list[ScheduledRun]:
    """One task with a floor of 0.7, night by night; None where it could not be measured."""
    return [
        ScheduledRun(when=f"2026-11-{number + 1:02d}", invocation=str(number), verdict=task.verdict, tasks=(task,))
        for number, task in enumerate(map(mark, values))
    ]


def mark(value: float | None) -> TrendEntry:
    verdict = Verdict.UNMEASURABLE if value is None else (Verdict.FAIL if value < 0.7 else Verdict.PASS)
    return TrendEntry(task="gsm8k", model="m", value=value, stderr=0.02, n=400, verdict=verdict, limits={"min": 0.7})


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ((), False),
        ((0.5,), False),
        ((0.5, 0.5), True),
        ((0.5, None, 0.5), True),
        ((0.5, 0.5, 0.8), False),
        ((0.8, 0.8, 0.68, 0.68), False),
        ((0.5, 0.5, None), True),
    ],
)
def test_a_regression_is_confirmed_by_all_nights_together(values: tuple[float | None, ...], found: bool) -> None:  # noqa: FBT001
    assert [one.task for one in confirmed(nights(*values))] == ["gsm8k"] * found


def issue(api: GitHubApi, key: str = "nightly") -> StickyIssue:
    return StickyIssue(api, REPOSITORY, key=key, author="github-actions[bot]")


def test_it_is_opened_updated_closed_and_opened_anew(api: GitHubApi, hub: GitHubDouble) -> None:
    first = issue(api).show("gsm8k fell", "one")
    assert issue(api).show("gsm8k fell", "two") == first
    assert len(hub.store.open_issues()) == 1
    assert hub.store.issues[first]["body"].endswith("two")
    assert issue(api).close("recovered") == first
    assert hub.store.open_issues() == []
    assert issue(api).close("again") is None
    assert issue(api).show("gsm8k fell again", "three") != first


def test_the_same_words_are_not_sent_twice(api: GitHubApi, hub: GitHubDouble) -> None:
    issue(api).show("t", "b")
    issue(api).show("t", "b")
    assert hub.requests("PATCH") == []


def test_forged_issues_and_other_gates_are_left_alone(api: GitHubApi, hub: GitHubDouble) -> None:
    hub.tokens["hers"] = Identity("mallory", "User")
    forged = GitHubApi(hub.url, "hers").post(
        f"/repos/{REPOSITORY}/issues", {"title": "x", "body": issue(api).mark, "labels": ["nel-action"]}
    )
    other = issue(api, "other").show("other", "body")
    assert issue(api).show("mine", "body") not in {forged["number"], other}
    assert issue(api).close("done") is not None
    assert {one["number"] for one in hub.store.open_issues()} == {forged["number"], other}
