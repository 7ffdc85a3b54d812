"""The API client: retries, waits, pagination, protection of the token, errors."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from email.utils import format_datetime

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

pytestmark = pytest.mark.slow

COMMENTS = "/repos/Codertocat/Hello-World/issues/2/comments"


def test_paginate_yields_all_pages(api: GitHubApi, hub: GitHubDouble) -> None:
    for number in range(205):
        hub.store.add_comment(2, str(number), ACTIONS_BOT)
    assert [comment["body"] for comment in api.paginate(COMMENTS)] == [str(number) for number in range(205)]
    assert len(hub.requests("GET")) == 3


def test_paginate_refuses_next_page_on_another_server(api: GitHubApi, hub: GitHubDouble) -> None:
    hub.faults = [Fault("GET", 200, headers={"Link": '<http://localhost:1/steal>; rel="next"'})]
    with pytest.raises(GitHubError, match="another server"):
        list(api.paginate(COMMENTS))


@pytest.mark.parametrize("status", [502, 503, None])
def test_get_is_retried_after_server_error_or_lost_connection(
    api: GitHubApi, hub: GitHubDouble, sleeper: Sleeper, status: int | None
) -> None:
    hub.faults = [Fault("GET", status, times=2)]
    assert api.get(COMMENTS) == []
    assert sleeper.slept == [1, 2]


def test_get_raises_after_five_tries(api: GitHubApi, hub: GitHubDouble) -> None:
    hub.faults = [Fault("GET", 502, times=99)]
    with pytest.raises(UnavailableError, match="502"):
        api.get(COMMENTS)
    assert len(hub.seen) == 5


@pytest.mark.parametrize("status", [502, None])
def test_post_is_not_retried_if_it_may_have_been_carried_out(
    api: GitHubApi, hub: GitHubDouble, status: int | None
) -> None:
    hub.faults = [Fault("POST", status, after=True)]
    with pytest.raises(UnavailableError):
        api.post(COMMENTS, {"body": "x"})
    assert len(hub.store.comments) == 1


@pytest.mark.parametrize("status", [403, 429])
def test_request_waits_for_retry_after(api: GitHubApi, hub: GitHubDouble, sleeper: Sleeper, status: int) -> None:
    hub.faults = [Fault("POST", status, headers={"Retry-After": "17"})]
    api.post(COMMENTS, {"body": "x"})
    assert sleeper.slept == [17]


def test_request_waits_for_rate_limit_reset(api: GitHubApi, hub: GitHubDouble, sleeper: Sleeper) -> None:
    reset = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(sleeper.time) + 40)}
    hub.faults = [Fault("GET", 403, headers=reset)]
    api.get(COMMENTS)
    assert sleeper.slept == [41]


def test_secondary_rate_limit_without_time_waits_one_minute_and_then_two(hub: GitHubDouble, sleeper: Sleeper) -> None:
    hub.faults = [Fault("GET", 403, "You have exceeded a secondary rate limit", times=2)]
    GitHubApi(hub.url, hub.token, clock=sleeper.clock, max_wait=600).get(COMMENTS)
    assert sleeper.slept == [60, 120]


def test_rate_limit_longer_than_max_wait_raises_without_waiting(
    api: GitHubApi, hub: GitHubDouble, sleeper: Sleeper
) -> None:
    hub.faults = [Fault("GET", 429, headers={"Retry-After": "3600"})]
    with pytest.raises(RateLimitedError, match="3600 s"):
        api.get(COMMENTS)
    assert sleeper.slept == []


def test_writes_after_burst_stay_below_80_per_minute(api: GitHubApi, sleeper: Sleeper) -> None:
    start = sleeper.time
    for number in range(75):
        api.post(COMMENTS, {"body": str(number)})
    assert sleeper.slept == [1] * 65
    assert sleeper.time - start >= 60


def test_permission_error_contains_permissions_lines(api: GitHubApi, hub: GitHubDouble) -> None:
    hub.grant(contents="read")
    with pytest.raises(PermissionRefusedError) as caught:
        api.post(COMMENTS, {"body": "x"})
    assert "permissions:\n  pull-requests: write" in str(caught.value)
    with pytest.raises(PermissionRefusedError) as caught:
        api.post("/repos/Codertocat/Hello-World/check-runs", {"name": "x", "head_sha": "y"})
    assert "permissions:\n  checks: write" in str(caught.value)


def test_permission_is_derived_from_path_if_server_names_none(api: GitHubApi, hub: GitHubDouble) -> None:
    hub.faults = [Fault("GET", 403, "Resource not accessible by integration")]
    with pytest.raises(PermissionRefusedError, match="actions: read"):
        api.get("/repos/Codertocat/Hello-World/actions/artifacts")


def test_invalid_token_error_refers_to_token_input(hub: GitHubDouble) -> None:
    with pytest.raises(PermissionRefusedError, match="github-token"):
        GitHubApi(hub.url, "wrong").get(COMMENTS)


def test_refused_error_contains_message_of_github(api: GitHubApi) -> None:
    with pytest.raises(RefusedError, match="too long") as caught:
        api.post(COMMENTS, {"body": "x" * 65_537})
    assert caught.value.status == 422


def test_delete_ignores_missing_object(api: GitHubApi) -> None:
    api.delete("/repos/Codertocat/Hello-World/issues/comments/5")
    with pytest.raises(MissingError):
        api.patch("/repos/Codertocat/Hello-World/issues/comments/5", {"body": "x"})


def test_download_sends_no_token_to_storage_and_enforces_limit(api: GitHubApi, hub: GitHubDouble) -> None:
    number = hub.store.add_artifact(7, "results", b"zip")
    path = f"/repos/Codertocat/Hello-World/actions/artifacts/{number}/zip"
    assert api.download(path, limit=10) == b"zip"
    with pytest.raises(GitHubError, match="larger than 2 bytes"):
        api.download(path, limit=2)


def test_base_url_may_end_with_slash(hub: GitHubDouble) -> None:
    GitHubApi(f"{hub.url}/", hub.token).get(COMMENTS)
    assert hub.seen[0].target.startswith(COMMENTS)


def test_requests_are_logged_without_token_or_body(
    api: GitHubApi, hub: GitHubDouble, caplog: pytest.LogCaptureFixture
) -> None:
    hub.faults = [Fault("POST", 429, headers={"Retry-After": "3"})]
    with caplog.at_level(logging.DEBUG, "nel_action.github.api"):
        api.post(COMMENTS, {"body": "content of the comment"})
    levels = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert levels == [
        ("DEBUG", f"POST {COMMENTS}: 429 (try 1)"),
        ("INFO", f"POST {COMMENTS}: next try in 3 s"),
        ("DEBUG", f"POST {COMMENTS}: 201 (try 2)"),
    ]
    assert hub.token not in caplog.text
    assert "content of the comment" not in caplog.text


def test_retry_after_may_be_an_http_date(api: GitHubApi, hub: GitHubDouble, sleeper: Sleeper) -> None:
    date = format_datetime(datetime.fromtimestamp(sleeper.time + 40, UTC), usegmt=True)
    hub.faults = [Fault("GET", 429, headers={"Retry-After": date})]
    api.get(COMMENTS)
    assert sleeper.slept == [40]
