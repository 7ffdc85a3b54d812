"""The event that started the workflow, read from the environment and the payload file."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, assert_never

from nel_action.errors import UsageError

__all__ = ["EventKind", "WorkflowEvent", "parse_pull_request", "read_event"]

REPOSITORY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*/[A-Za-z0-9._-]+")
NO_COMMIT = "0" * 40
"""Value of `before` in the push that created a branch."""


class EventKind(StrEnum):
    """Events that the action distinguishes."""

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
    """Repository, commit, pull request and run of the event; names and titles in it are untrusted."""

    kind: EventKind
    action: str | None = None
    """`opened`, `synchronize`, `completed`, …"""
    repository: str
    """`owner/name`."""
    head_sha: str | None = None
    """The commit under test; of a pull request its head, not the merge commit that Actions checks out."""
    head_ref: str | None = None
    ref: str | None = None
    """Complete name of the branch or tag that the workflow runs on: `refs/heads/main`."""
    head_repository: str | None = None
    """Repository of the head; differs from `repository` for a fork."""
    base_ref: str | None = None
    """The branch that the change is merged into."""
    base_sha: str | None = None
    """Commit of that branch, from which policy, limits and baseline are taken."""
    default_branch: str | None = None
    pull_request: int | None = None
    fork: bool = False
    """Whether the head is in another repository, or its repository is unknown."""
    actor: str = ""
    workflow: str = ""
    job: str = ""
    run_id: int = 0
    run_attempt: int = 1
    event_run_id: int | None = None
    """The completed run of a `workflow_run` event."""
    payload: Mapping[str, Any]
    """`client_payload` of a `repository_dispatch`, `inputs` of a `workflow_dispatch`, the comment of an
    `issue_comment`; empty for other events."""
    server_url: str = "https://github.com"
    api_url: str = "https://api.github.com"
    graphql_url: str = "https://api.github.com/graphql"

    @property
    def checks_out_another_commit(self) -> bool:
        """Whether GITHUB_SHA, which is checked out by default, is the base of the commit under test."""
        return self.kind in {
            EventKind.PULL_REQUEST_TARGET,
            EventKind.WORKFLOW_RUN,
            EventKind.CHECK_RUN,
            EventKind.ISSUE_COMMENT,
        }

    @property
    def run_url(self) -> str:
        """URL of this workflow run."""
        return f"{self.server_url}/{self.repository}/actions/runs/{self.run_id}"

    @property
    def on_default_branch(self) -> bool:
        """Whether the commit under test is that of the default branch; False if that is not known."""
        if self.kind in {EventKind.SCHEDULE, EventKind.REPOSITORY_DISPATCH}:
            return True  # NOTE: GitHub starts these on the default branch only.
        known = self.kind in {EventKind.PUSH, EventKind.WORKFLOW_DISPATCH} and self.default_branch is not None
        return known and self.ref == f"refs/heads/{self.default_branch}"

    @property
    def head_short(self) -> str:
        """First seven digits of the commit under test."""
        return (self.head_sha or "")[:7]


def read_event(environ: Mapping[str, str]) -> WorkflowEvent:
    """Read the event from the variables and the payload file that Actions provides.

    Raises:
        UsageError: the process does not run in a workflow, or the payload is malformed.
    """
    if not environ.get("GITHUB_REPOSITORY"):
        msg = "GITHUB_REPOSITORY is not set"
        raise UsageError(msg, hint="`nel-action ci` runs in a GitHub workflow only; elsewhere use `nel-action run`")
    if not REPOSITORY.fullmatch(environ["GITHUB_REPOSITORY"]):
        msg = f"GITHUB_REPOSITORY: '{environ['GITHUB_REPOSITORY'][:100]}' is not the name of a repository"
        raise UsageError(msg, hint="the runner sets it to owner/name; do not override it in the workflow")
    payload = _read_payload(environ)
    name = environ.get("GITHUB_EVENT_NAME", "")
    kind = EventKind(name) if name in set(EventKind) else EventKind.OTHER
    api = environ.get("GITHUB_API_URL") or "https://api.github.com"
    return WorkflowEvent(
        kind=kind,
        action=_text(payload.get("action")),
        repository=environ["GITHUB_REPOSITORY"],
        ref=_ref(environ),
        default_branch=_text(_object(payload, "repository").get("default_branch")),
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


def _ref(environ: Mapping[str, str]) -> str | None:
    """Return the complete ref; a tag can have the name of a branch."""
    ref, name = environ.get("GITHUB_REF"), environ.get("GITHUB_REF_NAME")
    if ref or not name:
        return ref or None
    return f"refs/tags/{name}" if environ.get("GITHUB_REF_TYPE") == "tag" else f"refs/heads/{name}"


def _subject(kind: EventKind, payload: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the fields that describe what is tested, which differ from event to event."""
    sha, ref = environ.get("GITHUB_SHA") or None, environ.get("GITHUB_REF_NAME") or None
    repository = environ["GITHUB_REPOSITORY"]
    subject: dict[str, Any] = {"head_sha": sha, "head_ref": ref, "payload": {}}
    match kind:
        case EventKind.PULL_REQUEST | EventKind.PULL_REQUEST_TARGET:
            subject |= parse_pull_request(_object(payload, "pull_request"), repository)
        case EventKind.PUSH:
            before = _text(payload.get("before"))
            subject |= {"base_sha": None if before == NO_COMMIT else before}
        case EventKind.MERGE_GROUP:
            subject |= _parse_merge_group(_object(payload, "merge_group"))
        case EventKind.WORKFLOW_RUN:
            subject |= _parse_workflow_run(_object(payload, "workflow_run"), repository)
        case EventKind.CHECK_RUN:
            subject |= _parse_check_run(_object(payload, "check_run"))
        case EventKind.ISSUE_COMMENT:
            subject |= _parse_issue_comment(_object(payload, "issue"))
            subject |= {"payload": {name: payload.get(name) for name in ("action", "issue", "comment")}}
        case EventKind.REPOSITORY_DISPATCH:
            subject |= {"payload": dict(_object(payload, "client_payload"))}
        case EventKind.WORKFLOW_DISPATCH:
            subject |= {"payload": dict(_object(payload, "inputs"))}
        case EventKind.SCHEDULE | EventKind.OTHER:
            pass
        case _:
            assert_never(kind)
    return subject


def _parse_merge_group(group: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "head_sha": _text(group.get("head_sha")),
        "base_sha": _text(group.get("base_sha")),
        "base_ref": (_text(group.get("base_ref")) or "").removeprefix("refs/heads/") or None,
    }


def _parse_check_run(check: Mapping[str, Any]) -> dict[str, Any]:
    # NOTE: GitHub states no branch for a commit that was pushed to a fork.
    branch = _text(_object(check, "check_suite").get("head_branch"))
    return {"head_sha": _text(check.get("head_sha")), "head_ref": branch, "fork": branch is None}


def _parse_issue_comment(issue: Mapping[str, Any]) -> dict[str, Any]:
    """Return the number only: the payload does not contain the commit of the pull request."""
    number = _number(issue.get("number")) if "pull_request" in issue else None
    return {"pull_request": number, "fork": number is not None, "head_sha": None}


def parse_pull_request(pull: Mapping[str, Any], repository: str) -> dict[str, Any]:
    """Return the fields of `WorkflowEvent` that a pull request determines.

    Args:
        pull: the pull request, from a payload or the API.
        repository: `owner/name` of the repository that runs the workflow.
    """
    head, base = _object(pull, "head"), _object(pull, "base")
    # NOTE: `head.repo` is null if the fork was deleted; an unknown repository is treated as a fork.
    head_repository = _text(_object(head, "repo").get("full_name"))
    return {
        "pull_request": _number(pull.get("number")),
        "head_sha": _text(head.get("sha")),
        "head_ref": _text(head.get("ref")),
        "head_repository": head_repository,
        "base_ref": _text(base.get("ref")),
        "base_sha": _text(base.get("sha")),
        "fork": head_repository is None or head_repository.lower() != repository.lower(),
    }


def _parse_workflow_run(run: Mapping[str, Any], repository: str) -> dict[str, Any]:
    head_repository = _text(_object(run, "head_repository").get("full_name"))
    return {
        "event_run_id": _number(run.get("id")),
        "head_sha": _text(run.get("head_sha")),
        "head_ref": _text(run.get("head_branch")),
        "head_repository": head_repository,
        "fork": head_repository is None or head_repository.lower() != repository.lower(),
    }


def _read_payload(environ: Mapping[str, str]) -> Mapping[str, Any]:
    """Read the payload file; empty if the variable is not set.

    Raises:
        UsageError: the file is missing or malformed.
    """
    path = environ.get("GITHUB_EVENT_PATH")
    if not path:
        return {}
    try:
        payload = json.loads(Path(path).read_bytes())
    except OSError as error:
        msg = f"the event payload cannot be read: GITHUB_EVENT_PATH: {error.strerror}"
        raise UsageError(
            msg, hint="the runner writes the file; do not override the variable in the workflow"
        ) from error
    except (ValueError, RecursionError) as error:
        msg = f"the event payload is not JSON: {error}"
        raise UsageError(msg) from error
    if not isinstance(payload, dict):
        msg = f"the event payload is not an object: {type(payload).__name__}"
        raise UsageError(msg)
    return payload


def _object(payload: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a nested object; empty if it is missing or of another type."""
    value = payload.get(name)
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _number(value: object) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return int(value) if isinstance(value, str) and value.isdecimal() else None
