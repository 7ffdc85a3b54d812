"""What started this workflow: the event's payload and the environment, read once into one frozen value."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, assert_never

from nel_action.errors import UsageError

__all__ = ["EventKind", "WorkflowEvent", "of_pull_request", "read_event"]

NO_COMMIT = "0" * 40
"""What a push says of a branch that did not exist before."""


class EventKind(StrEnum):
    """The events that this tool knows how to answer."""

    PULL_REQUEST = "pull_request"
    PULL_REQUEST_TARGET = "pull_request_target"
    PUSH = "push"
    MERGE_GROUP = "merge_group"
    SCHEDULE = "schedule"
    WORKFLOW_DISPATCH = "workflow_dispatch"
    REPOSITORY_DISPATCH = "repository_dispatch"
    WORKFLOW_RUN = "workflow_run"
    ISSUE_COMMENT = "issue_comment"
    CHECK_RUN = "check_run"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowEvent:
    """Where we are: repository, commit, pull request, run. Names and titles in it are untrusted text."""

    kind: EventKind
    action: str | None = None
    """`opened`, `synchronize`, `completed`, …"""
    repository: str
    """`owner/name`."""
    head_sha: str | None = None
    """The commit under test: of a pull request its head, never the merge commit that Actions checks out."""
    head_ref: str | None = None
    head_repository: str | None = None
    """Where the head lives; another repository than `repository` for a fork."""
    base_ref: str | None = None
    """The branch it would go into."""
    base_sha: str | None = None
    """That branch's commit: where policy, thresholds and baseline come from."""
    default_branch: str | None = None
    pull_request: int | None = None
    fork: bool = False
    """Whether the head is somebody else's repository; also where that could not be seen."""
    actor: str = ""
    workflow: str = ""
    job: str = ""
    run_id: int = 0
    run_attempt: int = 1
    event_run_id: int | None = None
    """The finished run that a `workflow_run` event tells of."""
    payload: Mapping[str, Any]
    """`client_payload` of a `repository_dispatch`, `inputs` of a `workflow_dispatch`; empty for others."""
    server_url: str = "https://github.com"
    api_url: str = "https://api.github.com"
    graphql_url: str = "https://api.github.com/graphql"

    @property
    def run_url(self) -> str:
        """Address of this run's page."""
        return f"{self.server_url}/{self.repository}/actions/runs/{self.run_id}"

    @property
    def head_short(self) -> str:
        """First seven digits of the commit under test."""
        return (self.head_sha or "")[:7]


def read_event(environ: Mapping[str, str]) -> WorkflowEvent:
    """Read the event from the variables and the payload file that Actions sets.

    Raises:
        UsageError: this is not a workflow, or the payload is not what it should be.
    """
    if not environ.get("GITHUB_REPOSITORY"):
        msg = "GITHUB_REPOSITORY is not set"
        raise UsageError(msg, hint="`nel-action ci` runs inside a GitHub workflow; elsewhere use `nel-action run`")
    payload = _payload(environ)
    name = environ.get("GITHUB_EVENT_NAME", "")
    kind = EventKind(name) if name in set(EventKind) else EventKind.OTHER
    api = environ.get("GITHUB_API_URL") or "https://api.github.com"
    return WorkflowEvent(
        kind=kind,
        action=_text(payload.get("action")),
        repository=environ["GITHUB_REPOSITORY"],
        default_branch=_text(_part(payload, "repository").get("default_branch")),
        actor=environ.get("GITHUB_ACTOR", ""),
        workflow=environ.get("GITHUB_WORKFLOW", ""),
        job=environ.get("GITHUB_JOB", ""),
        run_id=_number(environ.get("GITHUB_RUN_ID")) or 0,
        run_attempt=_number(environ.get("GITHUB_RUN_ATTEMPT")) or 1,
        server_url=environ.get("GITHUB_SERVER_URL") or "https://github.com",
        api_url=api.rstrip("/"),
        graphql_url=environ.get("GITHUB_GRAPHQL_URL") or f"{api.rstrip('/').removesuffix('/v3')}/graphql",
        **_subject(kind, payload, environ),
    )


def _subject(kind: EventKind, payload: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """Say what is under test: the part that differs from event to event."""
    sha, ref = environ.get("GITHUB_SHA") or None, environ.get("GITHUB_REF_NAME") or None
    repository = environ["GITHUB_REPOSITORY"]
    subject: dict[str, Any] = {"head_sha": sha, "head_ref": ref, "payload": {}}
    match kind:
        case EventKind.PULL_REQUEST | EventKind.PULL_REQUEST_TARGET:
            subject |= of_pull_request(_part(payload, "pull_request"), repository)
        case EventKind.PUSH:
            before = _text(payload.get("before"))
            subject |= {"base_sha": None if before == NO_COMMIT else before}
        case EventKind.MERGE_GROUP:
            subject |= _of_merge_group(_part(payload, "merge_group"))
        case EventKind.WORKFLOW_RUN:
            subject |= _of_workflow_run(_part(payload, "workflow_run"), repository)
        case EventKind.CHECK_RUN:
            subject |= {"head_sha": _text(_part(payload, "check_run").get("head_sha")) or sha}
        case EventKind.ISSUE_COMMENT:
            subject |= _of_issue_comment(_part(payload, "issue"))
        case EventKind.REPOSITORY_DISPATCH:
            subject |= {"payload": dict(_part(payload, "client_payload"))}
        case EventKind.WORKFLOW_DISPATCH:
            subject |= {"payload": dict(_part(payload, "inputs"))}
        case EventKind.SCHEDULE | EventKind.OTHER:
            pass
        case _:
            assert_never(kind)
    return subject


def _of_merge_group(group: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "head_sha": _text(group.get("head_sha")),
        "base_sha": _text(group.get("base_sha")),
        "base_ref": (_text(group.get("base_ref")) or "").removeprefix("refs/heads/") or None,
    }


def _of_issue_comment(issue: Mapping[str, Any]) -> dict[str, Any]:
    """Read the number only: the payload names no commit, so whoever acts on it asks the API and pins the answer."""
    number = _number(issue.get("number")) if "pull_request" in issue else None
    return {"pull_request": number, "fork": number is not None, "head_sha": None}


def of_pull_request(pull: Mapping[str, Any], repository: str) -> dict[str, Any]:
    """Read head and base of a pull request as payloads and the API show it."""
    head, base = _part(pull, "head"), _part(pull, "base")
    # NOTE: `head.repo` is null once a fork is deleted: not seen to be ours, so not ours.
    home = _text(_part(head, "repo").get("full_name"))
    return {
        "pull_request": _number(pull.get("number")),
        "head_sha": _text(head.get("sha")),
        "head_ref": _text(head.get("ref")),
        "head_repository": home,
        "base_ref": _text(base.get("ref")),
        "base_sha": _text(base.get("sha")),
        "fork": home is None or home.lower() != repository.lower(),
    }


def _of_workflow_run(run: Mapping[str, Any], repository: str) -> dict[str, Any]:
    home = _text(_part(run, "head_repository").get("full_name"))
    return {
        "event_run_id": _number(run.get("id")),
        "head_sha": _text(run.get("head_sha")),
        "head_ref": _text(run.get("head_branch")),
        "head_repository": home,
        "fork": home is None or home.lower() != repository.lower(),
    }


def _payload(environ: Mapping[str, str]) -> Mapping[str, Any]:
    """Read the payload file; a workflow without one has an empty payload."""
    path = environ.get("GITHUB_EVENT_PATH")
    if not path or not Path(path).is_file():
        return {}
    try:
        payload = json.loads(Path(path).read_bytes())
    except ValueError as error:
        msg = f"the event's payload is not JSON: {error}"
        raise UsageError(msg) from error
    return payload if isinstance(payload, dict) else {}


def _part(payload: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = payload.get(name)
    return part if isinstance(part, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _number(value: object) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return int(value) if isinstance(value, str) and value.isdecimal() else None
