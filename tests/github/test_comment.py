"""One comment: whoever else writes, however often we come back, whatever GitHub forgets to answer."""

from __future__ import annotations

import pytest
from tests.doubles.github.clock import Sleeper
from tests.doubles.github.server import Fault, GitHubDouble
from tests.doubles.github.store import ACTIONS_BOT, Identity

from nel_action.gating.verdict import Comparison, GateReport, TaskVerdict, Verdict
from nel_action.github.api import GitHubApi
from nel_action.github.comment import CommentMode, StickyComment, should_comment, token_login
from nel_action.github.errors import PermissionRefusedError, UnavailableError
from nel_action.model.results import Interval

REPOSITORY = "Codertocat/Hello-World"
MALLORY = Identity("mallory", "User")


def sticky(api: GitHubApi, key: str = "gate") -> StickyComment:
    return StickyComment(api, REPOSITORY, 2, key=key, author="github-actions[bot]")


def bodies(hub: GitHubDouble) -> list[str]:
    return [comment["body"].partition("\n")[2] for comment in hub.store.comments_of(2)]


def test_a_second_push_edits_the_first_comment(api: GitHubApi, hub: GitHubDouble) -> None:
    sticky(api).show("one")
    sticky(api).show("two")
    assert bodies(hub) == ["two"]


def test_it_is_found_behind_101_others(api: GitHubApi, hub: GitHubDouble) -> None:
    for _ in range(101):
        hub.store.add_comment(2, "hello", MALLORY)
    sticky(api).show("one")
    sticky(api).show("two")
    assert [comment["user"]["login"] for comment in hub.store.comments_of(2)].count("github-actions[bot]") == 1
    assert bodies(hub)[-1] == "two"


def test_a_forged_mark_is_left_alone(api: GitHubApi, hub: GitHubDouble) -> None:
    forged = hub.store.add_comment(2, f"{sticky(api).mark}\nall is well", MALLORY)
    sticky(api).show("fell")
    assert forged["body"].endswith("all is well")
    assert bodies(hub) == ["all is well", "fell"]


def test_a_mark_quoted_inside_our_own_other_comment_is_not_ours(api: GitHubApi, hub: GitHubDouble) -> None:
    hub.store.add_comment(2, f"another tool quotes\n{sticky(api).mark}", ACTIONS_BOT)
    sticky(api).show("one")
    assert len(hub.store.comments_of(2)) == 2


def test_two_gates_have_two_comments(api: GitHubApi, hub: GitHubDouble) -> None:
    sticky(api, "gate").show("one")
    sticky(api, "other").show("two")
    assert bodies(hub) == ["one", "two"]


def test_of_two_made_by_a_race_the_first_stays(api: GitHubApi, hub: GitHubDouble) -> None:
    mark = sticky(api).mark
    for body in ("first", "second"):
        hub.store.add_comment(2, f"{mark}\n{body}", ACTIONS_BOT)
    sticky(api).show("now")
    assert bodies(hub) == ["now"]


@pytest.mark.parametrize("status", [502, None])
def test_a_lost_answer_to_its_making_makes_no_second(api: GitHubApi, hub: GitHubDouble, status: int | None) -> None:
    hub.faults = [Fault("POST /repos", status, after=True)]
    sticky(api).show("one")
    assert bodies(hub) == ["one"]


def test_a_server_that_never_answers_is_given_up(api: GitHubApi, hub: GitHubDouble) -> None:
    hub.faults = [Fault("POST /repos", 502, times=99)]
    with pytest.raises(UnavailableError):
        sticky(api).show("one")


def test_a_comment_that_somebody_deleted_is_made_anew(api: GitHubApi, hub: GitHubDouble) -> None:
    comment = sticky(api)
    comment.show("one")
    hub.store.comments.clear()
    comment.show("two")
    assert bodies(hub) == ["two"]


def test_live_edits_are_a_minute_apart_and_the_last_word_is_not(
    api: GitHubApi, hub: GitHubDouble, sleeper: Sleeper
) -> None:
    comment = sticky(api)
    comment.show("0")
    for second in range(1, 200):
        sleeper.time += 1
        comment.refresh(str(second))
    comment.show("done")
    assert [body.partition("\n")[2] for _, body in hub.store.comment_edits] == ["60", "120", "180", "done"]


def test_the_same_words_are_not_sent_twice(api: GitHubApi, hub: GitHubDouble) -> None:
    sticky(api).show("same")
    sticky(api).show("same")
    assert hub.store.comment_edits == []


def test_room_is_what_github_takes(api: GitHubApi, hub: GitHubDouble) -> None:
    comment = sticky(api)
    comment.show("x" * comment.room)
    assert len(hub.store.comments_of(2)[0]["body"]) == 65_536


def test_without_the_right_it_says_which_line_is_missing(api: GitHubApi, hub: GitHubDouble) -> None:
    hub.grant(contents="read", pull_requests="read")
    with pytest.raises(PermissionRefusedError, match="pull-requests: write"):
        sticky(api).show("one")


def test_who_we_are_is_asked_and_else_assumed(api: GitHubApi, hub: GitHubDouble) -> None:
    hub.tokens[hub.token] = Identity("evals-of-acme[bot]")
    assert token_login(api, f"{hub.url}/graphql") == "evals-of-acme[bot]"
    hub.faults = [Fault("POST /graphql", 403, times=9)]
    assert token_login(api, f"{hub.url}/graphql") == "github-actions[bot]"


def report(verdict: Verdict, low: float = -0.1, high: float = 0.1) -> GateReport:
    interval = Interval(low=low, high=high, level=0.9, method="paired")
    comparison = Comparison(baseline=0.5, difference=0.0, interval=interval)
    task = TaskVerdict(task="gsm8k", model="acme", verdict=verdict, comparison=comparison)
    return GateReport(verdict=verdict, exit_code=0, tasks=(task,))


@pytest.mark.parametrize(
    ("mode", "gate", "worth"),
    [
        (CommentMode.ALWAYS, report(Verdict.PASS), True),
        (CommentMode.CHANGES, report(Verdict.PASS), False),
        (CommentMode.CHANGES, report(Verdict.PASS, low=0.01), True),
        (CommentMode.CHANGES, report(Verdict.PASS, high=-0.01), True),
        (CommentMode.CHANGES, report(Verdict.UNMEASURABLE), True),
        (CommentMode.FAILURES, report(Verdict.PASS, low=0.01), False),
        (CommentMode.FAILURES, report(Verdict.INCONCLUSIVE), True),
        (CommentMode.OFF, report(Verdict.FAIL), False),
    ],
)
def test_when_there_is_a_comment(mode: CommentMode, gate: GateReport, worth: bool) -> None:  # noqa: FBT001
    assert should_comment(mode, gate) is worth
