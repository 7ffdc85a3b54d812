"""Which commits could have an open check of ours, and what is made of those that do."""

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


def test_pull_requests_recent_commits_and_other_branches_runs(
    api: GitHubApi, hub: GitHubDouble, event: WorkflowEvent
) -> None:
    hub.store.add_pull(1, head=A, base=D)
    hub.store.add_pull(2, head=D, base=D, state="closed")
    hub.store.commits = [B]
    hub.store.runs = {5: {"id": 5, "head_sha": C}, 6: {"id": 6, "head_sha": A}}
    assert set(candidate_commits(api, event)) == {A, B, C}


def test_a_busy_repository_is_not_asked_a_thousand_times(
    api: GitHubApi, hub: GitHubDouble, event: WorkflowEvent
) -> None:
    for number in range(1, PULLS + 60):
        hub.store.add_pull(number, head=f"{number:040x}", base=D)
    hub.store.commits = [f"{number:040x}" for number in range(5000, 5200)]
    assert len(list(candidate_commits(api, event))) == PULLS + COMMITS


def test_without_the_right_to_see_runs_the_others_are_still_looked_at(
    api: GitHubApi, hub: GitHubDouble, event: WorkflowEvent
) -> None:
    hub.grant(contents="read", pull_requests="read", checks="write")
    hub.store.commits = [B]
    said: list[str] = []
    assert list(candidate_commits(api, event, log=said.append)) == [B]
    assert "actions: read" in said[0]


def test_who_asks_for_a_commit_gets_that_one(api: GitHubApi, event: WorkflowEvent) -> None:
    asked = replace(event, kind=EventKind.REPOSITORY_DISPATCH, payload={"sha": C})
    assert list(candidate_commits(api, asked)) == [C]
    again = replace(event, kind=EventKind.CHECK_RUN, head_sha=B)
    assert list(candidate_commits(api, again)) == [B]


@pytest.mark.parametrize("sha", ["main", "../../x", "A" * 40, "a" * 39, "a" * 41])
def test_what_is_no_commit_is_refused(api: GitHubApi, event: WorkflowEvent, sha: str) -> None:
    with pytest.raises(UsageError, match="asks for the commit"):
        list(candidate_commits(api, replace(event, payload={"sha": sha})))


def test_without_a_token_there_is_nothing_to_look_with(make_context: MakeContext) -> None:
    with pytest.raises(UsageError, match="no token"):
        collect(replace(make_context(mode="collect"), api=None))


@pytest.mark.parametrize("known", ["starting:42", "fork:42", "0123:short", "x" * 49])
def test_a_check_that_knows_no_invocation_belongs_to_somebody_who_is_there(
    make_context: MakeContext, api: GitHubApi, hub: GitHubDouble, known: str
) -> None:
    hub.store.commits = [A]
    Check(api, hub.store.repository, name="Gate", head_sha=A).start(external_id=known, title="t", summary="s")
    outcome = collect(make_context(mode="collect", event={"kind": EventKind.SCHEDULE}))
    assert outcome.summary == "no check of ours is open"
    (check,) = hub.store.checks_of(A)
    assert check["status"] == "in_progress"


def test_a_broken_one_keeps_nobody_from_the_next(
    make_context: MakeContext, api: GitHubApi, hub: GitHubDouble, log: io.StringIO
) -> None:
    hub.store.commits = [A, B]
    for sha in (A, B):
        known = f"{sha[:16]}:{'0' * 32}"
        Check(api, hub.store.repository, name="Gate", head_sha=sha).start(external_id=known, title="t", summary="s")
    outcome = collect(make_context(mode="collect", event={"kind": EventKind.SCHEDULE}))
    assert outcome.code == 3
    assert [hub.store.checks_of(sha)[0]["conclusion"] for sha in (A, B)] == ["failure", "failure"]
    assert log.getvalue().count("::group::Gate on") == 2


def test_a_server_that_does_not_answer_is_an_error_and_concludes_nothing(
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
