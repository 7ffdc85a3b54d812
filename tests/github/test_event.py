"""Every kind of event, from the example payloads that GitHub's own tool makers publish."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.doubles.github.events import example

from nel_action.errors import UsageError
from nel_action.github.event import EventKind, WorkflowEvent, read_event

ENVIRON = {"GITHUB_REPOSITORY": "Codertocat/Hello-World", "GITHUB_SHA": "f" * 40, "GITHUB_REF_NAME": "main"}


def read(tmp_path: Path, event: str, payload: dict[str, Any] | None = None, **environ: str) -> WorkflowEvent:
    path = tmp_path / "event.json"
    path.write_text(json.dumps(payload or {}))
    return read_event({**ENVIRON, "GITHUB_EVENT_NAME": event, "GITHUB_EVENT_PATH": str(path), **environ})


@pytest.mark.parametrize("name", ["pull_request.opened", "pull_request.synchronize", "pull_request.labeled"])
def test_a_pull_request_is_judged_at_its_head_against_its_base(tmp_path: Path, name: str) -> None:
    payload = example(name)
    seen = read(tmp_path, "pull_request", payload)
    assert seen.kind is EventKind.PULL_REQUEST
    assert seen.action == name.partition(".")[2]
    assert seen.head_sha == payload["pull_request"]["head"]["sha"] != ENVIRON["GITHUB_SHA"]
    assert seen.base_sha == payload["pull_request"]["base"]["sha"]
    assert (seen.pull_request, seen.base_ref, seen.fork) == (2, "master", False)


def test_a_head_in_another_repository_is_a_fork(tmp_path: Path) -> None:
    payload = example("pull_request.opened")
    payload["pull_request"]["head"]["repo"]["full_name"] = "mallory/Hello-World"
    assert read(tmp_path, "pull_request", payload).fork


def test_a_deleted_fork_is_still_a_fork(tmp_path: Path) -> None:
    payload = example("pull_request.opened")
    payload["pull_request"]["head"]["repo"] = None
    seen = read(tmp_path, "pull_request_target", payload)
    assert seen.fork
    assert seen.head_repository is None


def test_a_push_has_no_pull_request_and_the_commit_before_as_base(tmp_path: Path) -> None:
    payload = example("push")
    seen = read(tmp_path, "push", payload | {"before": "a" * 40})
    assert (seen.kind, seen.pull_request, seen.head_sha, seen.base_sha) == (EventKind.PUSH, None, "f" * 40, "a" * 40)
    assert read(tmp_path, "push", payload | {"before": "0" * 40}).base_sha is None


def test_a_merge_group_names_head_and_base_itself(tmp_path: Path) -> None:
    payload = example("merge_group.checks_requested")
    seen = read(tmp_path, "merge_group", payload)
    group = payload["merge_group"]
    assert (seen.head_sha, seen.base_sha) == (group["head_sha"], group["base_sha"])
    assert seen.base_ref
    assert not seen.base_ref.startswith("refs/")


def test_a_workflow_run_is_judged_by_its_head_repository(tmp_path: Path) -> None:
    payload = example("workflow_run.completed")
    payload["workflow_run"] |= {"head_repository": {"full_name": "mallory/Hello-World"}, "id": 42}
    seen = read(tmp_path, "workflow_run", payload)
    assert (seen.fork, seen.event_run_id, seen.head_sha) == (True, 42, payload["workflow_run"]["head_sha"])
    payload["workflow_run"].pop("head_repository")
    assert read(tmp_path, "workflow_run", payload).fork


def test_a_comment_names_a_pull_request_and_no_commit(tmp_path: Path) -> None:
    payload = example("issue_comment.created")
    assert read(tmp_path, "issue_comment", payload).pull_request is None
    payload["issue"] |= {"pull_request": {"url": "https://x"}, "number": 7}
    seen = read(tmp_path, "issue_comment", payload)
    assert (seen.pull_request, seen.head_sha, seen.fork) == (7, None, True)


def test_dispatches_bring_their_payload(tmp_path: Path) -> None:
    seen = read(tmp_path, "repository_dispatch", {"client_payload": {"sha": "b" * 40}})
    assert seen.payload == {"sha": "b" * 40}
    seen = read(tmp_path, "workflow_dispatch", {"inputs": {"reason": "now"}})
    assert (seen.payload, seen.head_sha) == ({"reason": "now"}, "f" * 40)
    assert read(tmp_path, "workflow_dispatch", {"inputs": None}).payload == {}


def test_a_schedule_is_judged_where_the_default_branch_stands(tmp_path: Path) -> None:
    seen = read(tmp_path, "schedule", {"schedule": "0 3 * * *"})
    assert (seen.kind, seen.head_sha, seen.pull_request, seen.fork) == (EventKind.SCHEDULE, "f" * 40, None, False)


def test_a_rerequested_check_is_judged_at_its_commit(tmp_path: Path) -> None:
    payload = example("check_run.rerequested")
    assert read(tmp_path, "check_run", payload).head_sha == payload["check_run"]["head_sha"]


def test_an_unknown_event_still_has_a_commit(tmp_path: Path) -> None:
    seen = read(tmp_path, "release")
    assert (seen.kind, seen.head_sha) == (EventKind.OTHER, "f" * 40)


def test_run_and_servers_come_from_the_environment(tmp_path: Path) -> None:
    urls = {"GITHUB_API_URL": "https://git.example/api/v3", "GITHUB_SERVER_URL": "https://git.example"}
    seen = read(tmp_path, "push", None, GITHUB_RUN_ID="99", GITHUB_RUN_ATTEMPT="2", **urls)
    assert (seen.run_id, seen.run_attempt, seen.api_url) == (99, 2, "https://git.example/api/v3")
    assert seen.run_url == "https://git.example/Codertocat/Hello-World/actions/runs/99"


def test_outside_of_a_workflow_it_says_what_to_use_instead() -> None:
    with pytest.raises(UsageError, match="nel-action run"):
        read_event({})


def test_a_broken_payload_is_a_message(tmp_path: Path) -> None:
    (tmp_path / "event.json").write_text("{")
    with pytest.raises(UsageError, match="not JSON"):
        read_event({**ENVIRON, "GITHUB_EVENT_PATH": str(tmp_path / "event.json")})


@pytest.mark.parametrize("payload", [[], {"pull_request": None}, {"pull_request": {"head": 5, "number": True}}])
def test_a_payload_of_another_shape_is_a_fork_without_a_number(tmp_path: Path, payload: Any) -> None:  # noqa: ANN401
    path = tmp_path / "event.json"
    path.write_text(json.dumps(payload))
    seen = read_event({**ENVIRON, "GITHUB_EVENT_NAME": "pull_request", "GITHUB_EVENT_PATH": str(path)})
    assert (seen.pull_request, seen.fork) == (None, True)
