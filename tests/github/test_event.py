"""Parsing of events, with the example payloads that GitHub publishes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.doubles.github.events import example

from nel_action.errors import UsageError
from nel_action.github.event import EventKind, WorkflowEvent, read_event

ENVIRON = {"GITHUB_REPOSITORY": "Codertocat/Hello-World", "GITHUB_SHA": "f" * 40, "GITHUB_REF_NAME": "main"}


def read(tmp_path: Path, name: str, payload: dict[str, Any] | None = None, **environ: str) -> WorkflowEvent:
    path = tmp_path / "event.json"
    path.write_text(json.dumps(payload or {}))
    return read_event({**ENVIRON, "GITHUB_EVENT_NAME": name, "GITHUB_EVENT_PATH": str(path), **environ})


@pytest.mark.parametrize("name", ["pull_request.opened", "pull_request.synchronize", "pull_request.labeled"])
def test_pull_request_has_head_and_base_of_payload(tmp_path: Path, name: str) -> None:
    payload = example(name)
    event = read(tmp_path, "pull_request", payload)
    assert event.kind is EventKind.PULL_REQUEST
    assert event.action == name.partition(".")[2]
    assert event.head_sha == payload["pull_request"]["head"]["sha"] != ENVIRON["GITHUB_SHA"]
    assert event.base_sha == payload["pull_request"]["base"]["sha"]
    assert (event.pull_request, event.base_ref, event.fork) == (2, "master", False)


def test_pull_request_from_another_repository_is_fork(tmp_path: Path) -> None:
    payload = example("pull_request.opened")
    payload["pull_request"]["head"]["repo"]["full_name"] = "mallory/Hello-World"
    assert read(tmp_path, "pull_request", payload).fork


def test_pull_request_from_deleted_repository_is_fork(tmp_path: Path) -> None:
    payload = example("pull_request.opened")
    payload["pull_request"]["head"]["repo"] = None
    event = read(tmp_path, "pull_request_target", payload)
    assert event.fork
    assert event.head_repository is None


def test_push_has_previous_commit_as_base(tmp_path: Path) -> None:
    payload = example("push")
    event = read(tmp_path, "push", payload | {"before": "a" * 40})
    assert (event.kind, event.pull_request, event.head_sha, event.base_sha) == (
        EventKind.PUSH,
        None,
        "f" * 40,
        "a" * 40,
    )
    assert read(tmp_path, "push", payload | {"before": "0" * 40}).base_sha is None


def test_merge_group_has_head_and_base_of_payload(tmp_path: Path) -> None:
    payload = example("merge_group.checks_requested")
    event = read(tmp_path, "merge_group", payload)
    group = payload["merge_group"]
    assert (event.head_sha, event.base_sha) == (group["head_sha"], group["base_sha"])
    assert event.base_ref
    assert not event.base_ref.startswith("refs/")


def test_workflow_run_is_fork_by_head_repository(tmp_path: Path) -> None:
    payload = example("workflow_run.completed")
    payload["workflow_run"] |= {"head_repository": {"full_name": "mallory/Hello-World"}, "id": 42}
    event = read(tmp_path, "workflow_run", payload)
    assert (event.fork, event.event_run_id, event.head_sha) == (True, 42, payload["workflow_run"]["head_sha"])
    payload["workflow_run"].pop("head_repository")
    assert read(tmp_path, "workflow_run", payload).fork


def test_issue_comment_has_pull_request_but_no_commit(tmp_path: Path) -> None:
    payload = example("issue_comment.created")
    assert read(tmp_path, "issue_comment", payload).pull_request is None
    payload["issue"] |= {"pull_request": {"url": "https://x"}, "number": 7}
    event = read(tmp_path, "issue_comment", payload)
    assert (event.pull_request, event.head_sha, event.fork) == (7, None, True)


def test_dispatches_have_payload(tmp_path: Path) -> None:
    event = read(tmp_path, "repository_dispatch", {"client_payload": {"sha": "b" * 40}})
    assert event.payload == {"sha": "b" * 40}
    event = read(tmp_path, "workflow_dispatch", {"inputs": {"reason": "now"}})
    assert (event.payload, event.head_sha) == ({"reason": "now"}, "f" * 40)
    assert read(tmp_path, "workflow_dispatch", {"inputs": None}).payload == {}


def test_schedule_has_commit_of_environment(tmp_path: Path) -> None:
    event = read(tmp_path, "schedule", {"schedule": "0 3 * * *"})
    assert (event.kind, event.head_sha, event.pull_request, event.fork) == (EventKind.SCHEDULE, "f" * 40, None, False)


def test_check_run_has_commit_of_payload(tmp_path: Path) -> None:
    payload = example("check_run.rerequested")
    assert read(tmp_path, "check_run", payload).head_sha == payload["check_run"]["head_sha"]


def test_unknown_event_has_commit_of_environment(tmp_path: Path) -> None:
    event = read(tmp_path, "release")
    assert (event.kind, event.head_sha) == (EventKind.OTHER, "f" * 40)


def test_run_and_urls_are_read_from_environment(tmp_path: Path) -> None:
    urls = {"GITHUB_API_URL": "https://git.example/api/v3", "GITHUB_SERVER_URL": "https://git.example"}
    event = read(tmp_path, "push", None, GITHUB_RUN_ID="99", GITHUB_RUN_ATTEMPT="2", **urls)
    assert (event.run_id, event.run_attempt, event.api_url) == (99, 2, "https://git.example/api/v3")
    assert event.run_url == "https://git.example/Codertocat/Hello-World/actions/runs/99"


def test_read_event_outside_workflow_suggests_run_command() -> None:
    with pytest.raises(UsageError, match="nel-action run"):
        read_event({})


def test_read_event_reports_payload_that_is_not_json(tmp_path: Path) -> None:
    (tmp_path / "event.json").write_text("{")
    with pytest.raises(UsageError, match="not JSON"):
        read_event({**ENVIRON, "GITHUB_EVENT_PATH": str(tmp_path / "event.json")})


@pytest.mark.parametrize("payload", [[], "text", None, 3])
def test_read_event_reports_payload_that_is_no_object(tmp_path: Path, payload: object) -> None:
    (tmp_path / "event.json").write_text(json.dumps(payload))
    with pytest.raises(UsageError, match="not an object"):
        read_event({**ENVIRON, "GITHUB_EVENT_PATH": str(tmp_path / "event.json")})


def test_read_event_reports_missing_payload(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_event({**ENVIRON, "GITHUB_EVENT_PATH": str(tmp_path / "gone.json")})


@pytest.mark.parametrize("name", ["repository", "a/b/c", "/b", "a/", "a/b?x", "a/b#", "../x", "a b/c", "a/b\n"])
def test_read_event_reports_malformed_repository(name: str) -> None:
    with pytest.raises(UsageError, match="is not the name of a repository"):
        read_event({**ENVIRON, "GITHUB_REPOSITORY": name})


@pytest.mark.parametrize(
    ("variables", "ref"),
    [
        ({"GITHUB_REF": "refs/tags/main", "GITHUB_REF_NAME": "main"}, "refs/tags/main"),
        ({"GITHUB_REF_NAME": "main", "GITHUB_REF_TYPE": "tag"}, "refs/tags/main"),
        ({"GITHUB_REF_NAME": "main"}, "refs/heads/main"),
    ],
)
def test_ref_of_a_tag_is_not_that_of_a_branch(variables: dict[str, str], ref: str) -> None:
    assert read_event({"GITHUB_REPOSITORY": "a/b", **variables}).ref == ref


@pytest.mark.parametrize("payload", [{}, {"pull_request": None}, {"pull_request": {"head": 5, "number": True}}])
def test_malformed_pull_request_payload_is_fork_without_number(tmp_path: Path, payload: Any) -> None:  # noqa: ANN401
    path = tmp_path / "event.json"
    path.write_text(json.dumps(payload))
    event = read_event({**ENVIRON, "GITHUB_EVENT_NAME": "pull_request", "GITHUB_EVENT_PATH": str(path)})
    assert (event.pull_request, event.fork) == (None, True)
