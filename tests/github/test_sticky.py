"""The comment and the issue of a gate: one each, whatever other users and lost answers do."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.doubles.github.clock import Sleeper
from tests.doubles.github.server import Fault, GitHubDouble
from tests.doubles.github.store import ACTIONS_BOT, Identity

from nel_action.gating.verdict import Comparison, GateReport, TaskVerdict, Verdict
from nel_action.github.api import GitHubApi
from nel_action.github.errors import MissingError, PermissionRefusedError, UnavailableError
from nel_action.github.sticky import CommentMode, StickyComment, StickyIssue, should_comment, token_login
from nel_action.model.results import Interval

REPOSITORY = "Codertocat/Hello-World"
MALLORY = Identity("mallory", "User")


def sticky(api: GitHubApi, key: str = "gate") -> StickyComment:
    return StickyComment(api, REPOSITORY, 2, key=key, author="github-actions[bot]")


def bodies(hub: GitHubDouble) -> list[str]:
    return [comment["body"].partition("\n")[2] for comment in hub.store.comments_of(2)]


def test_second_write_edits_first_comment(api: GitHubApi, hub: GitHubDouble) -> None:
    sticky(api).write("one")
    sticky(api).write("two")
    assert bodies(hub) == ["two"]


def test_comment_is_found_on_second_page(api: GitHubApi, hub: GitHubDouble) -> None:
    for _ in range(101):
        hub.store.add_comment(2, "hello", MALLORY)
    sticky(api).write("one")
    sticky(api).write("two")
    assert [comment["user"]["login"] for comment in hub.store.comments_of(2)].count("github-actions[bot]") == 1
    assert bodies(hub)[-1] == "two"


def test_comment_of_another_author_with_marker_is_not_edited(api: GitHubApi, hub: GitHubDouble) -> None:
    forged = hub.store.add_comment(2, f"{sticky(api).marker}\nall passed", MALLORY)
    sticky(api).write("failed")
    assert forged["body"].endswith("all passed")
    assert bodies(hub) == ["all passed", "failed"]


def test_comment_with_marker_not_at_start_is_not_edited(api: GitHubApi, hub: GitHubDouble) -> None:
    hub.store.add_comment(2, f"another tool quotes\n{sticky(api).marker}", ACTIONS_BOT)
    sticky(api).write("one")
    assert len(hub.store.comments_of(2)) == 2


def test_two_keys_have_two_comments(api: GitHubApi, hub: GitHubDouble) -> None:
    sticky(api, "gate").write("one")
    sticky(api, "other").write("two")
    assert bodies(hub) == ["one", "two"]


def test_duplicate_comments_are_deleted_except_the_first(api: GitHubApi, hub: GitHubDouble) -> None:
    marker = sticky(api).marker
    for body in ("first", "second"):
        hub.store.add_comment(2, f"{marker}\n{body}", ACTIONS_BOT)
    sticky(api).write("now")
    assert bodies(hub) == ["now"]


@pytest.mark.parametrize("status", [502, None])
def test_lost_answer_to_creation_creates_no_duplicate(api: GitHubApi, hub: GitHubDouble, status: int | None) -> None:
    hub.faults = [Fault("POST /repos", status, after=True)]
    sticky(api).write("one")
    assert bodies(hub) == ["one"]


def test_write_raises_if_server_never_answers(api: GitHubApi, hub: GitHubDouble) -> None:
    hub.faults = [Fault("POST /repos", 502, times=99)]
    with pytest.raises(UnavailableError):
        sticky(api).write("one")


def test_deleted_comment_is_created_again(api: GitHubApi, hub: GitHubDouble) -> None:
    comment = sticky(api)
    comment.write("one")
    hub.store.comments.clear()
    comment.write("two")
    assert bodies(hub) == ["two"]


def test_progress_updates_are_one_minute_apart_and_final_write_is_immediate(
    api: GitHubApi, hub: GitHubDouble, sleeper: Sleeper
) -> None:
    comment = sticky(api)
    comment.write("0")
    for second in range(1, 200):
        sleeper.time += 1
        comment.update_progress(str(second))
    comment.write("done")
    assert [body.partition("\n")[2] for _, body in hub.store.comment_edits] == ["60", "120", "180", "done"]


def test_unchanged_comment_is_not_sent(api: GitHubApi, hub: GitHubDouble) -> None:
    sticky(api).write("same")
    sticky(api).write("same")
    assert hub.store.comment_edits == []


def test_comment_of_maximum_length_is_accepted(api: GitHubApi, hub: GitHubDouble) -> None:
    comment = sticky(api)
    comment.write("x" * comment.max_length)
    assert len(hub.store.comments_of(2)[0]["body"]) == 65_536


def test_write_without_permission_names_missing_line(api: GitHubApi, hub: GitHubDouble) -> None:
    hub.grant(contents="read", pull_requests="read")
    with pytest.raises(PermissionRefusedError, match="pull-requests: write"):
        sticky(api).write("one")


def test_token_login_is_requested_and_has_a_default(api: GitHubApi, hub: GitHubDouble) -> None:
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
    ("mode", "gate", "expected"),
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
def test_should_comment_by_mode_and_verdict(mode: CommentMode, gate: GateReport, expected: bool) -> None:  # noqa: FBT001
    assert should_comment(mode, gate) is expected


def issue(api: GitHubApi, key: str = "nightly") -> StickyIssue:
    return StickyIssue(api, REPOSITORY, key=key, author="github-actions[bot]")


def test_issue_is_opened_updated_closed_and_opened_again(api: GitHubApi, hub: GitHubDouble) -> None:
    first = issue(api).write("gsm8k regressed", "one")
    assert issue(api).write("gsm8k regressed", "two") == first
    assert len(hub.store.open_issues()) == 1
    assert hub.store.issues[first]["body"].endswith("two")
    assert issue(api).close("recovered") == first
    assert hub.store.open_issues() == []
    assert issue(api).close("again") is None
    assert issue(api).write("gsm8k regressed again", "three") != first


def test_unchanged_issue_is_not_sent(api: GitHubApi, hub: GitHubDouble) -> None:
    issue(api).write("t", "b")
    issue(api).write("t", "b")
    assert hub.requests("PATCH") == []


def test_issues_of_other_authors_and_gates_are_not_edited(api: GitHubApi, hub: GitHubDouble) -> None:
    hub.tokens["other-token"] = Identity("mallory", "User")
    forged = GitHubApi(hub.url, "other-token").post(
        f"/repos/{REPOSITORY}/issues", {"title": "x", "body": issue(api).marker, "labels": ["nel-action"]}
    )
    other = issue(api, "other").write("other", "body")
    assert issue(api).write("own", "body") not in {forged["number"], other}
    assert issue(api).close("done") is not None
    assert {item["number"] for item in hub.store.open_issues()} == {forged["number"], other}


OLD, NEW, NEWEST = ("1" * 40, "2" * 40, "3" * 40)


def result_of(api: GitHubApi, commit: str) -> StickyComment:
    return StickyComment(api, REPOSITORY, 2, key="gate", author="github-actions[bot]", commit=commit)


@pytest.fixture
def head(hub: GitHubDouble) -> Callable[[str], None]:
    """Return a function that moves the head of the pull request."""

    def move(commit: str) -> None:
        hub.store.add_pull(2, head=commit, base="b" * 40)

    return move


def test_result_of_an_older_commit_does_not_replace_that_of_the_head(
    api: GitHubApi, hub: GitHubDouble, head: Callable[[str], None]
) -> None:
    head(OLD)
    old = result_of(api, OLD)
    assert old.write("running")
    head(NEW)
    assert result_of(api, NEW).write("failed")
    assert not old.write("passed")
    assert not result_of(api, OLD).write("passed")
    assert not result_of(api, OLD).update_progress("3 of 9 jobs")
    (body,) = bodies(hub)
    assert body.endswith("failed")


def test_result_of_an_older_commit_does_not_replace_that_of_a_newer_one_that_is_not_the_head(
    api: GitHubApi, hub: GitHubDouble, head: Callable[[str], None]
) -> None:
    head(NEW)
    result_of(api, NEW).write("failed")
    head(NEWEST)
    assert not result_of(api, OLD).write("passed")
    assert result_of(api, NEW).write("failed again")
    assert bodies(hub)[0].endswith("failed again")


def test_result_of_another_commit_than_the_head_is_shown_as_such(
    api: GitHubApi, hub: GitHubDouble, head: Callable[[str], None]
) -> None:
    head(NEW)
    assert result_of(api, OLD).write("passed")
    (body,) = bodies(hub)
    assert "about commit `1111111`; the head of the pull request is `2222222`" in body
    assert result_of(api, NEW).write("failed")
    assert "1111111" not in bodies(hub)[0]


def test_head_that_moved_back_has_its_result_shown(
    api: GitHubApi, hub: GitHubDouble, head: Callable[[str], None]
) -> None:
    head(NEW)
    result_of(api, NEW).write("failed")
    head(OLD)
    assert result_of(api, OLD).write("passed")
    assert bodies(hub)[0].endswith("passed")


def test_comment_without_commit_is_not_replaced_by_that_of_another_commit(
    api: GitHubApi, head: Callable[[str], None]
) -> None:
    sticky(api).write("of an earlier version")
    head(NEW)
    assert not result_of(api, OLD).write("passed")
    assert result_of(api, NEW).write("failed")


def test_comment_is_not_written_if_the_head_cannot_be_read(api: GitHubApi, hub: GitHubDouble) -> None:
    with pytest.raises(MissingError):
        result_of(api, NEW).write("passed")
    assert bodies(hub) == []


def test_longest_body_fits_with_the_note(api: GitHubApi, hub: GitHubDouble, head: Callable[[str], None]) -> None:
    head(NEW)
    comment = result_of(api, OLD)
    comment.write("x" * comment.max_length)
    assert len(hub.store.comments_of(2)[0]["body"]) <= 65_536
