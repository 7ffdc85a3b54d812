"""Mode `collect`: the commits that are searched, and the handling of their open checks."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from tests.doubles.github.server import Fault, GitHubDouble
from tests.github.conftest import MakeContext

from nel_action.errors import UsageError
from nel_action.github.api import GitHubApi
from nel_action.github.check import Check
from nel_action.github.collect import COMMITS, PULLS, candidate_commits, collect
from nel_action.github.event import EventKind, WorkflowEvent

A, B, C, D = (letter * 40 for letter in "abcd")


@pytest.fixture
def event(hub: GitHubDouble) -> WorkflowEvent:
    return WorkflowEvent(kind=EventKind.SCHEDULE, repository=hub.store.repository, payload={})


def test_candidate_commits_include_pull_requests_recent_commits_and_runs(
    api: GitHubApi, hub: GitHubDouble, event: WorkflowEvent
) -> None:
    hub.store.add_pull(1, head=A, base=D)
    hub.store.add_pull(2, head=D, base=D, state="closed")
    hub.store.commits = [B]
    hub.store.runs = {5: {"id": 5, "head_sha": C}, 6: {"id": 6, "head_sha": A}}
    assert set(candidate_commits(api, event)) == {A, B, C}


def test_candidate_commits_are_limited_in_busy_repository(
    api: GitHubApi, hub: GitHubDouble, event: WorkflowEvent
) -> None:
    for number in range(1, PULLS + 60):
        hub.store.add_pull(number, head=f"{number:040x}", base=D)
    hub.store.commits = [f"{number:040x}" for number in range(5000, 5200)]
    assert len(list(candidate_commits(api, event))) == PULLS + COMMITS


def test_candidate_commits_without_permission_for_runs(api: GitHubApi, hub: GitHubDouble, event: WorkflowEvent) -> None:
    hub.grant(contents="read", pull_requests="read", checks="write")
    hub.store.commits = [B]
    messages: list[str] = []
    assert list(candidate_commits(api, event, log=messages.append)) == [B]
    assert "actions: read" in messages[0]


def test_candidate_commits_of_request_is_the_requested_commit(api: GitHubApi, event: WorkflowEvent) -> None:
    dispatch = replace(event, kind=EventKind.REPOSITORY_DISPATCH, payload={"sha": C})
    assert list(candidate_commits(api, dispatch)) == [C]
    rerequest = replace(event, kind=EventKind.CHECK_RUN, head_sha=B)
    assert list(candidate_commits(api, rerequest)) == [B]


@pytest.mark.parametrize("sha", ["main", "../../x", "A" * 40, "a" * 39, "a" * 41])
def test_candidate_commits_refuses_malformed_request(api: GitHubApi, event: WorkflowEvent, sha: str) -> None:
    with pytest.raises(UsageError, match="requests an invalid commit"):
        list(candidate_commits(api, replace(event, payload={"sha": sha})))


def test_collect_requires_token(make_context: MakeContext) -> None:
    with pytest.raises(UsageError, match="no token"):
        collect(replace(make_context(mode="collect"), api=None))


@pytest.mark.parametrize("external_id", ["starting:42", "fork:42", "0123:short", "x" * 49])
def test_check_without_invocation_is_left_open(
    make_context: MakeContext, api: GitHubApi, hub: GitHubDouble, external_id: str
) -> None:
    hub.store.commits = [A]
    Check(api, hub.store.repository, name="Gate", head_sha=A).start(external_id=external_id, title="t", summary="s")
    outcome = collect(make_context(mode="collect", event={"kind": EventKind.SCHEDULE}))
    assert outcome.summary == "no open check"
    (check,) = hub.store.checks_of(A)
    assert check["status"] == "in_progress"


def test_damaged_check_is_reported_and_next_one_is_processed(
    make_context: MakeContext, api: GitHubApi, hub: GitHubDouble, log: io.StringIO
) -> None:
    hub.store.commits = [A, B]
    for sha in (A, B):
        external_id = f"{sha[:16]}:{'0' * 32}"
        Check(api, hub.store.repository, name="Gate", head_sha=sha).start(
            external_id=external_id, title="t", summary="s"
        )
    outcome = collect(make_context(mode="collect", event={"kind": EventKind.SCHEDULE}))
    assert outcome.code == 3
    assert [hub.store.checks_of(sha)[0]["conclusion"] for sha in (A, B)] == ["failure", "failure"]
    assert log.getvalue().count("::group::Gate on") == 2


def test_unavailable_server_raises_and_concludes_nothing(
    make_context: MakeContext, api: GitHubApi, hub: GitHubDouble
) -> None:
    hub.store.commits = [A]
    Check(api, hub.store.repository, name="Gate", head_sha=A).start(
        external_id=f"{'0' * 16}:{'0' * 32}", title="t", summary="s"
    )
    hub.faults = [Fault("GET .*/check-runs", 503, times=9)]
    with pytest.raises(Exception, match="503"):
        collect(make_context(mode="collect", event={"kind": EventKind.SCHEDULE}))
    (check,) = hub.store.checks_of(A)
    assert check["status"] == "in_progress"
