"""The branches that a commit may be merged into; their rules judge it, whatever event started the workflow.

A check belongs to a commit. A run that judged the commit by its own rules could therefore replace the check of a pull
request, so the rules come from the base of every open pull request with that head, and from the queue that the commit
is in. A user who may push can create a branch with weaker rules, a pull request into it, and a branch with the name of
a queue, and propose the commit for another branch after it passed. So the rules of the default branch apply as well,
unless the commit was pushed to that branch itself, or the options of that branch state that the base suffices.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import quote

from nel_action.errors import NelActionError
from nel_action.github.api import MAX_PAGES, PAGE_SIZE, GitHubApi
from nel_action.github.base_revision import BaseFiles
from nel_action.github.errors import MissingError, PermissionRefusedError
from nel_action.github.event import EventKind, WorkflowEvent
from nel_action.github.options import read_options

__all__ = ["Base", "Bases", "find_bases"]

QUEUE: Final = "gh-readonly-queue/"
"""Prefix of the branches of merge queues."""
PULL_REF: Final = re.compile(r"refs/pull/(?P<number>\d+)/head")
QUEUE_BRANCH: Final = re.compile(r"refs/heads/gh-readonly-queue/(?P<base>.+)/pr-\d+-(?P<sha>[0-9a-f]{40})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """A branch that the commit may be merged into, at the commit that its rules are read from."""

    ref: str
    sha: str
    pull_request: int | None = None

    @property
    def name(self) -> str:
        """Branch and commit."""
        return f"{self.ref} {self.sha[:7]}"


@dataclass(frozen=True, slots=True)
class Bases:
    """All bases of a commit."""

    bases: tuple[Base, ...] = ()
    """Empty if the commit was pushed to the default branch; the rules are its own then."""
    problem: str | None = None
    """Reason why further bases may exist."""


def find_bases(api: GitHubApi | None, event: WorkflowEvent, files: BaseFiles) -> Bases:
    """Return the bases of the commit under test.

    Args:
        api: client; None without a token, where only the event's own base is known.
        event: the commit, and the pull request or merge group that the event is about.
        files: of the default branch, whose options are read.

    Raises:
        NelActionError: the event is about a pull request or merge group without a base.
    """
    own = _own_base(event)
    if api is None or not event.head_sha:
        return Bases((own,) if own else ())
    try:
        pulls = [_at_tip(api, event, base) for base in _pull_requests(api, event)]
        if own is not None and event.kind is not EventKind.MERGE_GROUP:
            own = _at_tip(api, event, own)
        others = [*pulls, *_queues(api, event)]
        others += _default_branch(api, event, [*pulls, *([own] if own else [])], files)
    except NelActionError as error:
        cause = error.problems[0]
        problem = f"the bases of commit {event.head_short} cannot be determined: {cause.message}"
        problem += f"; {' '.join(cause.hint.split())}" if cause.hint else ""
        return Bases((own,) if own else (), problem)
    # NOTE: the pull request may have got another commit of its base since the event; anybody can name a queue.
    listed = {base.ref for base in pulls}
    bases = [*others, *([own] if own and own.ref not in listed else [])]
    return Bases(tuple(dict.fromkeys(bases)))


def _own_base(event: WorkflowEvent) -> Base | None:
    if event.base_ref is not None and event.base_sha is not None:
        return Base(ref=event.base_ref, sha=event.base_sha, pull_request=event.pull_request)
    if event.kind in {EventKind.PULL_REQUEST, EventKind.PULL_REQUEST_TARGET, EventKind.MERGE_GROUP}:
        msg = f"the payload of the event {event.kind} names no base, so there are no rules to judge by"
        raise NelActionError(msg, hint="run the workflow again; GITHUB_EVENT_PATH must contain the complete event")
    return None


def _pull_requests(api: GitHubApi, event: WorkflowEvent) -> list[Base]:
    """Return the bases of all open pull requests whose head is the commit.

    Raises:
        NelActionError: they cannot be listed completely.
    """
    try:
        pulls = list(api.paginate(f"/repos/{event.repository}/pulls", state="open"))
    except PermissionRefusedError as error:
        _require_no_other_pull_request(api, event, error)
        return []
    if len(pulls) >= MAX_PAGES * PAGE_SIZE:
        msg = f"there are {len(pulls)} open pull requests or more"
        raise NelActionError(msg)
    return [
        Base(ref=str(pull["base"]["ref"]), sha=str(pull["base"]["sha"]), pull_request=int(pull["number"]))
        for pull in pulls
        if _sha(pull, "head") == event.head_sha
    ]


def _at_tip(api: GitHubApi, event: WorkflowEvent, base: Base) -> Base:
    """Return the base at the newest commit of its branch.

    The commit in a pull request is that of the time when it was opened or pushed to, also after the branch got stricter
    rules, or another base was chosen; the merge commit that is checked out contains the newest one.

    Raises:
        NelActionError: the branch cannot be read.
    """
    return replace(base, sha=_tip(api, event, base.ref))


def _tip(api: GitHubApi, event: WorkflowEvent, branch: str) -> str:
    try:
        return str(api.get(f"/repos/{event.repository}/git/ref/heads/{quote(branch)}")["object"]["sha"])
    except MissingError as error:
        msg = f"the branch {branch} cannot be read"
        raise NelActionError(msg) from error


def _require_no_other_pull_request(api: GitHubApi, event: WorkflowEvent, error: PermissionRefusedError) -> None:
    """Return if the refs of all pull requests, which `contents: read` can list, show no other one with this head.

    Args:
        api: client.
        event: the commit, and the pull request of the event.
        error: raised if there may be one.
    """
    for item in api.paginate(f"/repos/{event.repository}/git/matching-refs/pull/"):
        match = PULL_REF.fullmatch(str(item["ref"]))
        if match and item["object"]["sha"] == event.head_sha and int(match["number"]) != event.pull_request:
            raise error


def _sha(pull: dict[str, Any], side: str) -> str | None:
    sha = (pull.get(side) or {}).get("sha")
    return str(sha) if sha else None


def _queues(api: GitHubApi, event: WorkflowEvent) -> list[Base]:
    """Return the bases of the merge queues that the commit is in, for events that are not the queue's own."""
    if event.kind is EventKind.MERGE_GROUP:
        return []
    bases = []
    for item in api.paginate(f"/repos/{event.repository}/git/matching-refs/heads/{QUEUE}"):
        if item["object"]["sha"] != event.head_sha:
            continue
        match = QUEUE_BRANCH.fullmatch(str(item["ref"]))
        if match is None:
            msg = f"the merge queue of {item['ref']} is unknown"
            raise NelActionError(msg)
        bases.append(Base(ref=match["base"], sha=match["sha"]))
    return bases


def _default_branch(api: GitHubApi, event: WorkflowEvent, known: list[Base], files: BaseFiles) -> list[Base]:
    """Return the default branch, unless the event or a known base is about it, or all known bases suffice.

    Args:
        api: client.
        event: the commit.
        known: bases that GitHub itself states.
        files: of the default branch.

    Raises:
        NelActionError: the default branch cannot be read.
    """
    if not known and event.on_default_branch:
        return []
    default = event.default_branch or str(api.get(f"/repos/{event.repository}")["default_branch"])
    if any(base.ref == default for base in known):
        return []
    if not known and replace(event, default_branch=default).on_default_branch:
        return []
    sha = _tip(api, event, default)
    if known:
        options = read_options(files.open(sha))
        if all(options.suffice(base.ref) for base in known):
            return []
    return [Base(ref=default, sha=sha)]
