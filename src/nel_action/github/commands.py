"""Commands in comments on pull requests: their grammar, and who may give them.

`command/action.yml` executes this file before anything is checked out or installed, and the action's main step imports
it, so it uses the standard library only. Every word of a comment is untrusted: it is read from the payload file, and
nothing of it reaches a shell, an output or a path. People without write access get no answer.
"""

from __future__ import annotations

import json
import os
import re
import sys
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

__all__ = ["COMMAND", "USAGE", "Command", "Comment", "Refusal", "authorize", "parse_command", "read_comment"]

COMMAND: Final = "/evaluate"
USAGE: Final = "`/evaluate`, or for information `/evaluate [TASK ...] [limit=N] [target.model=NAME]`"
LENGTH_LIMIT: Final = 500
"""Characters of a command."""
TASKS_LIMIT: Final = 20
TIMEOUT: Final = 30.0
"""Seconds per request."""
SHOWN_LIMIT: Final = 60
"""Characters of an invalid argument that a message quotes."""

_LOGIN: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,98}[A-Za-z0-9])?")
_SHA: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_TASK: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@/-]{0,199}")
_LIMIT: Final = re.compile(r"[1-9][0-9]{0,6}")
_MODEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}")
_WRITERS: Final = frozenset({"admin", "write"})
"""Base roles of people who may push; the role `maintain` is shown as `write`, `triage` as `read`."""

Json = Any
Get = Callable[[str, Mapping[str, str]], Json]
"""From a path of the API and a query to the answer; raises any `Exception` if there is none."""


class Refusal(Exception):  # noqa: N818 - a refusal is an answer, not an error
    """The command of a person who may give commands is not executed; the message is published."""

    def __init__(self, message: str, *, unreachable: bool = False) -> None:
        super().__init__(message)
        self.unreachable = unreachable
        """Whether GitHub did not answer."""


@dataclass(frozen=True)
class Comment:
    """A new comment of a person on a pull request."""

    id: int
    pull_request: int
    author: str
    body: str
    created: str
    """RFC 3339, UTC, without fractions of seconds."""

    @property
    def is_command(self) -> bool:
        """Whether the comment starts with the command; a longer word is another one."""
        return re.match(re.escape(COMMAND) + r"(?:[ \t\r\n]|\Z)", self.body) is not None


@dataclass(frozen=True)
class Command:
    """A parsed command."""

    tasks: tuple[str, ...] = ()
    """Tasks to run; all if empty."""
    limit: int | None = None
    """Items per task."""
    model: str | None = None
    """The model's name at the endpoint."""

    @property
    def informative(self) -> bool:
        """Whether the command only shows scores: it has arguments, so it does not run the gate."""
        return self != Command()

    def __str__(self) -> str:
        limit = [f"limit={self.limit}"] if self.limit else []
        model = [f"target.model={self.model}"] if self.model else []
        return " ".join([COMMAND, *self.tasks, *limit, *model])


def read_comment(payload: Mapping[str, Json]) -> Comment | None:
    """Return the comment of an `issue_comment` event; None for one that cannot be a command.

    Edited and deleted comments, comments of apps, and comments on issues cannot be commands.

    Args:
        payload: of the event; untrusted.
    """
    comment, issue = _object(payload, "comment"), _object(payload, "issue")
    user = _object(comment, "user")
    number, identity = issue.get("number"), comment.get("id")
    author, body, created = user.get("login"), comment.get("body"), comment.get("created_at")
    if payload.get("action") != "created" or not issue.get("pull_request"):
        return None
    if user.get("type") != "User" or comment.get("performed_via_github_app"):
        return None
    if not isinstance(number, int) or not isinstance(identity, int) or not isinstance(body, str):
        return None
    if not isinstance(author, str) or not _LOGIN.fullmatch(author):
        return None
    if not isinstance(created, str) or not _TIME.fullmatch(created):
        return None
    return Comment(id=identity, pull_request=number, author=author, body=body, created=created)


def parse_command(body: str) -> Command:
    """Parse a comment that starts with the command.

    Raises:
        Refusal: the comment contains anything but one well-formed command.
    """
    line = body.rstrip(" \t\r\n")
    if len(line) > LENGTH_LIMIT or "\n" in line or "\r" in line:
        msg = f"a command is a comment of its own, one line of at most {LENGTH_LIMIT} characters: {USAGE}"
        raise Refusal(msg)
    tasks: list[str] = []
    values: dict[str, str] = {}
    for argument in re.split(r"[ \t]+", line)[1:]:
        name, assigned, value = argument.partition("=")
        pattern = {"limit": _LIMIT, "target.model": _MODEL}.get(name) if assigned else _TASK
        if pattern is None or not pattern.fullmatch(value if assigned else name):
            msg = f"invalid argument `{_shown(argument)}`: write {USAGE}"
            raise Refusal(msg)
        if name in (values if assigned else tasks):
            msg = f"`{_shown(name)}` is given twice"
            raise Refusal(msg)
        if assigned:
            values[name] = value
        else:
            tasks.append(name)
    if len(tasks) > TASKS_LIMIT:
        msg = f"{len(tasks)} tasks are given, at most {TASKS_LIMIT} are accepted"
        raise Refusal(msg)
    limit = int(values["limit"]) if "limit" in values else None
    return Command(tasks=tuple(tasks), limit=limit, model=values.get("target.model"))


def authorize(comment: Comment, get: Get, repository: str) -> tuple[Command, Mapping[str, Json]] | None:
    """Return the command and its pull request, whose head is the one that the author of the comment saw.

    Args:
        comment: starts with the command.
        get: reads from the API.
        repository: `owner/name`.

    Returns:
        None for a person who may not give commands, and is not answered.

    Raises:
        Refusal: the command is not executed, or whether it may be cannot be determined.
    """
    path = f"/repos/{repository}"
    if not comment.is_command or not _may_write(comment, get, path):
        return None
    command = parse_command(comment.body)
    pull = _read(get, f"{path}/pulls/{comment.pull_request}", {}, "the pull request")
    head = _object(pull, "head")
    sha, ref, owner = head.get("sha"), head.get("ref"), _object(head, "repo").get("full_name")
    if not isinstance(sha, str) or not _SHA.fullmatch(sha) or not isinstance(ref, str):
        msg = "the head of the pull request cannot be determined"
        raise Refusal(msg)
    if pull.get("state") != "open":
        msg = "the pull request is closed"
        raise Refusal(msg)
    if not isinstance(owner, str) or owner.lower() != repository.lower():
        msg = (
            "the head is in a fork, whose code must not run with the secrets of this repository; "
            "push the commit to a branch of this repository to evaluate it"
        )
        raise Refusal(msg)
    _require_unmoved(comment, get, path, ref, sha)
    return command, pull


def _may_write(comment: Comment, get: Get, path: str) -> bool:
    """Return whether the author may push, as GitHub states it now; what a payload states may be old.

    Raises:
        Refusal: GitHub does not answer.
    """
    route = f"{path}/collaborators/{quote(comment.author, safe='')}/permission"
    answer = _read(get, route, {}, f"the permission of {comment.author}")
    user = _object(answer, "user").get("login")
    # NOTE: another user can take a login after it was changed.
    same = isinstance(user, str) and user.lower() == comment.author.lower()
    return same and answer.get("permission") in _WRITERS


def _require_unmoved(comment: Comment, get: Get, path: str, ref: str, sha: str) -> None:
    """Return if the newest push to the head's branch is older than the comment.

    The time of a push is the server's; dates in commits are the author's own.

    Args:
        comment: the command.
        get: reads from the API.
        path: of the repository.
        ref: branch of the head.
        sha: commit of the head.

    Raises:
        Refusal: the head has moved, or that cannot be determined.
    """
    query = {"ref": f"refs/heads/{ref}", "per_page": "1"}
    activities = _read(get, f"{path}/activity", query, "the pushes to the pull request's branch")
    newest = activities[0] if isinstance(activities, list) and activities else None
    when = newest.get("timestamp") if isinstance(newest, dict) else None
    if not isinstance(newest, dict) or not isinstance(when, str) or not _TIME.fullmatch(when):
        msg = "the time of the last push to the pull request's branch cannot be determined, so the head may have moved"
        raise Refusal(msg)
    if newest.get("after") != sha or when >= comment.created:
        msg = f"the head has moved to {sha[:7]} since the comment; look at the new commits, then comment again"
        raise Refusal(msg)


def _read(get: Get, path: str, query: Mapping[str, str], subject: str) -> Json:
    try:
        return get(path, query)
    except Exception as error:
        status = getattr(error, "code", None)
        cause = f"HTTP {status}" if isinstance(status, int) else type(error).__name__
        msg = f"{subject} could not be read from GitHub ({cause}); check `permissions:`, or comment again later"
        raise Refusal(msg, unreachable=True) from error


def _object(payload: Json, name: str) -> Mapping[str, Json]:
    value = payload.get(name) if isinstance(payload, dict) else None
    return value if isinstance(value, dict) else {}


def _shown(text: str) -> str:
    """Return the text as the content of a code span."""
    return re.sub(r"[^A-Za-z0-9_.=/@:+-]", "?", text)[:SHOWN_LIMIT]


def answer_marker(comment_id: int) -> str:
    """Return the first line of the answer to a comment."""
    return f"<!-- nel-action:command-{comment_id} -->"


def _request(environ: Mapping[str, str], method: str, path: str, body: Json = None) -> Json:
    url = (environ.get("GITHUB_API_URL") or "https://api.github.com").rstrip("/") + path
    headers = {
        "Accept": "application/vnd.github+json",
        "X-GitHub-Api-Version": "2022-11-28",
        "User-Agent": "nel-action",
        "Content-Type": "application/json",
    }
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(url, data=data, headers=headers, method=method)  # noqa: S310 - the runner's URL
    # NOTE: not sent to the target of a redirect, which may be on another server.
    request.add_unredirected_header("Authorization", f"Bearer {environ.get('INPUT_GITHUB_TOKEN', '').strip()}")
    with urllib.request.urlopen(request, timeout=TIMEOUT) as response:  # noqa: S310
        return json.load(response)


def main(environ: Mapping[str, str]) -> int:
    """Write the commit to evaluate to the outputs, or nothing; return the step's exit status."""
    payload = json.loads(Path(environ["GITHUB_EVENT_PATH"]).read_bytes())
    comment, repository = read_comment(payload), environ["GITHUB_REPOSITORY"]
    if environ.get("GITHUB_EVENT_NAME") != "issue_comment" or comment is None or not comment.is_command:
        return _log("not a command")

    def get(path: str, query: Mapping[str, str]) -> Json:
        return _request(environ, "GET", f"{path}?{urlencode(query)}" if query else path)

    try:
        authorized = authorize(comment, get, repository)
    except Refusal as refusal:
        _log(f"::{'error' if refusal.unreachable else 'notice'}::{COMMAND} is refused: {refusal}")
        if environ.get("GITHUB_RUN_ATTEMPT", "1") == "1":  # a re-run does not repeat the answer
            _answer(environ, comment, f"{COMMAND} is refused: {refusal}.")
        return 1 if refusal.unreachable else 0
    if authorized is None:
        return _log("the author of the comment has no write access")
    sha = authorized[1]["head"]["sha"]
    with Path(environ["GITHUB_OUTPUT"]).open("a", encoding="utf-8") as outputs:
        outputs.write(f"sha={sha}\n")
    return _log(f"accepted for {sha}")


def _answer(environ: Mapping[str, str], comment: Comment, text: str) -> None:
    path = f"/repos/{environ['GITHUB_REPOSITORY']}/issues/{comment.pull_request}/comments"
    try:
        _request(environ, "POST", path, {"body": f"{answer_marker(comment.id)}\n{text}"})
    except (OSError, ValueError) as error:
        _log(f"::warning::the answer could not be written: {type(error).__name__}")


def _log(text: str) -> int:
    sys.stdout.write(f"{text}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(os.environ))
