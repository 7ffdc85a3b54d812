"""Bases of a pull request: the latest commit of the branch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.doubles.github.server import Fault, GitHubDouble
from tests.github.conftest import BASE, HEAD, MakeContext

from nel_action.github.api import GitHubApi
from nel_action.github.base_revision import BaseFiles
from nel_action.github.bases import find_bases
from nel_action.github.event import WorkflowEvent

TIP = "d" * 40
FILES = BaseFiles(api=None, repository="o/r", work=Path())


@pytest.fixture
def event(make_context: MakeContext) -> WorkflowEvent:
    return replace(make_context().event, default_branch="main")


def bases(api: GitHubApi, event: WorkflowEvent) -> set[tuple[str, str]]:
    listing = find_bases(api, event, FILES)
    assert listing.problem is None
    return {(base.ref, base.sha) for base in listing.bases}


@pytest.mark.parametrize("listed", [False, True])
def test_rules_are_those_of_the_latest_commit_of_the_base(
    hub: GitHubDouble, api: GitHubApi, event: WorkflowEvent, *, listed: bool
) -> None:
    hub.store.refs["heads/main"] = TIP
    if listed:
        hub.store.add_pull(2, head=HEAD, base=BASE)
    assert bases(api, event) == {("main", TIP)}


@pytest.mark.parametrize("status", [403, 404, 500])
def test_base_that_cannot_be_read_is_a_problem(
    hub: GitHubDouble, api: GitHubApi, event: WorkflowEvent, status: int
) -> None:
    hub.faults = [Fault("GET .*/git/ref/", status, times=99)]
    listing = find_bases(api, event, FILES)
    assert listing.problem is not None
