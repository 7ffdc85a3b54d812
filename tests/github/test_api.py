"""The client: when it tries again, how long it waits, where its token goes, what it says on a refusal."""

from __future__ import annotations

import pytest
from tests.doubles.github.clock import Sleeper
from tests.doubles.github.server import Fault, GitHubDouble
from tests.doubles.github.store import ACTIONS_BOT

from nel_action.github.api import GitHubApi
from nel_action.github.errors import (
    GitHubError,
    MissingError,
    PermissionRefusedError,
    RateLimitedError,
    RefusedError,
    UnavailableError,
)

COMMENTS = "/repos/Codertocat/Hello-World/issues/2/comments"


def test_listing_follows_every_page(api: GitHubApi, hub: GitHubDouble) -> None:
    for number in range(205):
        hub.store.add_comment(2, str(number), ACTIONS_BOT)
    assert [comment["body"] for comment in api.pages(COMMENTS)] == [str(number) for number in range(205)]
    assert len(hub.requests("GET")) == 3


def test_a_page_on_another_server_is_not_followed_with_our_token(api: GitHubApi, hub: GitHubDouble) -> None:
    elsewhere = '<http://localhost:1/steal>; rel="next"'
    hub.faults = [Fault("GET", 200, headers={"Link": elsewhere})]
    with pytest.raises(GitHubError, match="another server"):
        list(api.pages(COMMENTS))


@pytest.mark.parametrize("status", [502, 503, None])
def test_a_read_is_repeated_after_a_servers_error(
    api: GitHubApi, hub: GitHubDouble, sleeper: Sleeper, status: int | None
) -> None:
    hub.faults = [Fault("GET", status, times=2)]
    assert api.get(COMMENTS) == []
    assert sleeper.slept == [1, 2]


def test_a_read_is_given_up_after_five_tries(api: GitHubApi, hub: GitHubDouble) -> None:
    hub.faults = [Fault("GET", 502, times=99)]
    with pytest.raises(UnavailableError, match="502"):
        api.get(COMMENTS)
    assert len(hub.seen) == 5


@pytest.mark.parametrize("status", [502, None])
def test_a_post_that_may_have_arrived_is_not_sent_again(api: GitHubApi, hub: GitHubDouble, status: int | None) -> None:
    hub.faults = [Fault("POST", status, after=True)]
    with pytest.raises(UnavailableError):
        api.post(COMMENTS, {"body": "x"})
    assert len(hub.store.comments) == 1


@pytest.mark.parametrize("status", [403, 429])
def test_retry_after_is_waited_for(api: GitHubApi, hub: GitHubDouble, sleeper: Sleeper, status: int) -> None:
    hub.faults = [Fault("POST", status, headers={"Retry-After": "17"})]
    api.post(COMMENTS, {"body": "x"})
    assert sleeper.slept == [17]


def test_reset_is_waited_for_where_nothing_remains(api: GitHubApi, hub: GitHubDouble, sleeper: Sleeper) -> None:
    reset = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(sleeper.time) + 40)}
    hub.faults = [Fault("GET", 403, headers=reset)]
    api.get(COMMENTS)
    assert sleeper.slept == [41]


def test_a_secondary_limit_without_a_time_waits_a_minute_and_then_two(hub: GitHubDouble, sleeper: Sleeper) -> None:
    hub.faults = [Fault("GET", 403, "You have exceeded a secondary rate limit", times=2)]
    GitHubApi(hub.url, hub.token, clock=sleeper.clock, patience=600).get(COMMENTS)
    assert sleeper.slept == [60, 120]


def test_a_limit_longer_than_our_patience_is_an_error_at_once(
    api: GitHubApi, hub: GitHubDouble, sleeper: Sleeper
) -> None:
    hub.faults = [Fault("GET", 429, headers={"Retry-After": "3600"})]
    with pytest.raises(RateLimitedError, match="3600 s"):
        api.get(COMMENTS)
    assert sleeper.slept == []


def test_writes_beyond_a_handful_stay_under_80_a_minute(api: GitHubApi, sleeper: Sleeper) -> None:
    began = sleeper.time
    for number in range(75):
        api.post(COMMENTS, {"body": str(number)})
    assert sleeper.slept == [1] * 65
    assert sleeper.time - began >= 60


def test_a_refused_permission_names_the_lines_to_add(api: GitHubApi, hub: GitHubDouble) -> None:
    hub.grant(contents="read")
    with pytest.raises(PermissionRefusedError) as caught:
        api.post(COMMENTS, {"body": "x"})
    assert "permissions:\n  pull-requests: write" in str(caught.value)
    with pytest.raises(PermissionRefusedError) as caught:
        api.post("/repos/Codertocat/Hello-World/check-runs", {"name": "x", "head_sha": "y"})
    assert "permissions:\n  checks: write" in str(caught.value)


def test_a_server_that_names_no_permission_is_answered_by_path(api: GitHubApi, hub: GitHubDouble) -> None:
    hub.faults = [Fault("GET", 403, "Resource not accessible by integration")]
    with pytest.raises(PermissionRefusedError, match="actions: read"):
        api.get("/repos/Codertocat/Hello-World/actions/artifacts")


def test_a_wrong_token_is_told_from_a_missing_permission(hub: GitHubDouble) -> None:
    with pytest.raises(PermissionRefusedError, match="github-token"):
        GitHubApi(hub.url, "wrong").get(COMMENTS)


def test_a_refused_body_is_told_in_githubs_words(api: GitHubApi) -> None:
    with pytest.raises(RefusedError, match="too long") as caught:
        api.post(COMMENTS, {"body": "x" * 65_537})
    assert caught.value.status == 422


def test_deleting_what_is_gone_is_done(api: GitHubApi) -> None:
    api.delete("/repos/Codertocat/Hello-World/issues/comments/5")
    with pytest.raises(MissingError):
        api.patch("/repos/Codertocat/Hello-World/issues/comments/5", {"body": "x"})


def test_a_download_takes_no_token_to_the_storage(api: GitHubApi, hub: GitHubDouble) -> None:
    number = hub.store.add_artifact(7, "results", b"zip")
    path = f"/repos/Codertocat/Hello-World/actions/artifacts/{number}/zip"
    assert api.download(path, limit=10) == b"zip"
    with pytest.raises(GitHubError, match="larger than 2 bytes"):
        api.download(path, limit=2)


def test_an_enterprise_server_is_addressed_by_its_own_url(hub: GitHubDouble) -> None:
    GitHubApi(f"{hub.url}/", hub.token).get(COMMENTS)
    assert hub.seen[0].target.startswith(COMMENTS)
