"""The commit that is checked out must be the one that the check is about; otherwise another commit would pass it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.doubles.github.events import example
from tests.doubles.github.server import GitHubDouble
from tests.github.conftest import HEAD, MakeContext
from tests.github.test_escape import Repository, edit

from nel_action.errors import ExitCode
from nel_action.github.evaluate import evaluate
from nel_action.github.event import EventKind, read_event

pytestmark = pytest.mark.slow

OF_THE_DEFAULT_BRANCH = [EventKind.PULL_REQUEST_TARGET, EventKind.WORKFLOW_RUN, EventKind.CHECK_RUN]
"""Events for which GitHub checks out the base, although they are about another commit."""


@pytest.fixture
def repository(make_context: MakeContext, monkeypatch: pytest.MonkeyPatch) -> Repository:
    work = make_context().root
    monkeypatch.chdir(work)
    return Repository(work, make_context)


@pytest.mark.parametrize("kind", [*OF_THE_DEFAULT_BRANCH, EventKind.PULL_REQUEST, EventKind.MERGE_GROUP])
def test_results_of_another_commit_do_not_conclude_the_check(
    repository: Repository, hub: GitHubDouble, kind: EventKind
) -> None:
    hub.store.add_pull(2, head=HEAD, base=repository.base)
    environ = {"GITHUB_SHA": repository.base if kind in OF_THE_DEFAULT_BRANCH else "e" * 40}
    outcome = evaluate(repository.context(event={"kind": kind, "head_sha": HEAD}, environ=environ))
    assert (outcome.code, outcome.verdict) == (ExitCode.USAGE, "none")
    assert f"is checked out, but the {kind.value} event is about {HEAD}" in outcome.summary
    assert [check["conclusion"] for check in hub.store.checks_of(HEAD)] == ["failure"]


@pytest.mark.parametrize("kind", [*OF_THE_DEFAULT_BRANCH, EventKind.PULL_REQUEST, EventKind.MERGE_GROUP])
def test_checkout_of_the_head_is_accepted(repository: Repository, hub: GitHubDouble, kind: EventKind) -> None:
    edit(repository.work)
    head = repository.commit()
    hub.store.add_pull(2, head=head, base=repository.base)
    (repository.work / "evals/gate.yaml").write_text("unknown: 1\n")
    outcome = evaluate(repository.context(event={"kind": kind}))
    assert "checked out" not in outcome.summary
    assert "unknown" in outcome.summary, "the spec was read"


def test_merge_commit_of_a_pull_request_is_accepted(repository: Repository, hub: GitHubDouble) -> None:
    merge = repository.commit()
    hub.store.add_pull(2, head=HEAD, base=repository.base)
    (repository.work / "evals/gate.yaml").write_text("unknown: 1\n")
    outcome = evaluate(repository.context(event={"head_sha": HEAD}, environ={"GITHUB_SHA": merge}))
    assert "checked out" not in outcome.summary


@pytest.mark.parametrize("kind", OF_THE_DEFAULT_BRANCH)
def test_unknown_checkout_is_refused_where_the_default_is_another_commit(
    make_context: MakeContext, hub: GitHubDouble, kind: EventKind
) -> None:
    hub.store.add_pull(2, head=HEAD, base="b" * 40)
    outcome = evaluate(make_context(event={"kind": kind}, spec="evals/gate.yaml"))
    assert (outcome.code, outcome.summary[:23]) == (ExitCode.USAGE, "no commit is checked ou")


@pytest.mark.parametrize("kind", OF_THE_DEFAULT_BRANCH)
def test_head_of_a_fork_is_refused_also_if_it_is_checked_out(
    repository: Repository, hub: GitHubDouble, kind: EventKind
) -> None:
    edit(repository.work)
    repository.commit()
    context = repository.context(event={"kind": kind})
    outcome = evaluate(replace(context, event=replace(context.event, fork=True)))
    assert outcome.code == ExitCode.USAGE
    assert "fork" in outcome.summary
    assert hub.store.checks == {}


@pytest.mark.parametrize(("branch", "fork"), [("main", False), (None, True)])
def test_check_run_of_a_commit_without_a_branch_here_is_one_of_a_fork(
    tmp_path: Path, branch: str | None, *, fork: bool
) -> None:

    payload = example("check_run.rerequested")
    payload["check_run"]["check_suite"]["head_branch"] = branch
    path = tmp_path / "event.json"
    path.write_text(json.dumps(payload))
    environ = {"GITHUB_REPOSITORY": "o/r", "GITHUB_EVENT_NAME": "check_run", "GITHUB_EVENT_PATH": str(path)}
    event = read_event(environ)
    assert (event.fork, event.head_sha) == (fork, payload["check_run"]["head_sha"])
