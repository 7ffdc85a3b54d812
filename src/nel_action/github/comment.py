"""The one comment on a pull request: found again by its author and its mark, edited, never added twice."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from enum import StrEnum
from typing import Any, Final

from nel_action.gating.verdict import GateReport, TaskVerdict, Verdict
from nel_action.github.api import GitHubApi
from nel_action.github.errors import GitHubError, MissingError, UnavailableError

__all__ = ["COMMENT_LIMIT", "CommentMode", "StickyComment", "should_comment", "token_login"]

COMMENT_LIMIT: Final = 65_536
"""Characters of a comment; GitHub answers 422 to more."""
BETWEEN_EDITS: Final = 60.0
"""Seconds between two live edits."""
TRIES: Final = 3


class CommentMode(StrEnum):
    """When there is a comment. One that is there is kept true in every mode but `off`."""

    ALWAYS = "always"
    CHANGES = "changes"
    FAILURES = "failures"
    OFF = "off"


def should_comment(mode: CommentMode, gate: GateReport) -> bool:
    """Say whether a verdict calls for a new comment."""
    if mode is CommentMode.CHANGES:
        return gate.verdict is not Verdict.PASS or any(map(_moved, gate.tasks))
    return mode is CommentMode.ALWAYS or (mode is CommentMode.FAILURES and gate.verdict is not Verdict.PASS)


def _moved(task: TaskVerdict) -> bool:
    """Whether the difference is more than noise, either way."""
    interval = task.comparison and task.comparison.interval
    return bool(interval and (interval.low > 0 or interval.high < 0))


def token_login(api: GitHubApi, graphql_url: str) -> str:
    """Return the login that this token writes as.

    The workflow's own token and an app's may not ask `GET /user`; GraphQL's `viewer` answers everybody.
    """
    try:
        answer = api.post(graphql_url, {"query": "query { viewer { login } }"}, repeatable=True)
        return str(answer["data"]["viewer"]["login"])
    except (GitHubError, KeyError, TypeError):
        return "github-actions[bot]"


class StickyComment:
    """One comment on one issue or pull request, known by `key`."""

    def __init__(self, api: GitHubApi, repository: str, number: int, *, key: str, author: str) -> None:
        self._api = api
        self._list = f"/repos/{repository}/issues/{number}/comments"
        self._one = f"/repos/{repository}/issues/comments"
        self.mark = f"<!-- nel-action:{hashlib.sha256(key.encode()).hexdigest()[:16]} -->"
        self._author = author
        self._clock = api.clock
        self._id: int | None = None
        self._shown: str | None = None
        self._edited = float("-inf")

    @property
    def room(self) -> int:
        """Characters that a body may have beside the mark."""
        return COMMENT_LIMIT - len(self.mark) - 1

    def exists(self) -> bool:
        """Whether there is one already."""
        return self._find() is not None

    def refresh(self, body: str) -> bool:
        """Show how things stand, at most once a minute; say whether it was shown."""
        if self._clock.monotonic() - self._edited < BETWEEN_EDITS:
            return False
        self.show(body)
        return True

    def show(self, body: str) -> None:
        """Make the comment say this.

        Raises:
            GitHubError: it cannot be written.
        """
        text = f"{self.mark}\n{body}"
        for number in range(1, TRIES + 1):
            try:
                self._write(text)
            except UnavailableError:
                # NOTE: the comment may have been made and only the answer lost: look before making another.
                self._id = None
                if number == TRIES:
                    raise
                self._clock.sleep(2.0**number)
            else:
                self._shown, self._edited = text, self._clock.monotonic()
                return

    def _write(self, text: str) -> None:
        found = self._find()
        if found is not None and text == self._shown:
            return
        if found is not None:
            try:
                self._api.patch(f"{self._one}/{found}", {"body": text})
            except MissingError:
                self._id = None
            else:
                return
        self._id = int(self._api.post(self._list, {"body": text})["id"])

    def _find(self) -> int | None:
        """Return our comment; where a race made several, the first stays."""
        if self._id is None:
            ours = list(self._ours())
            for extra in ours[1:]:
                self._api.delete(f"{self._one}/{extra['id']}")
            self._id, self._shown = (int(ours[0]["id"]), str(ours[0]["body"])) if ours else (None, None)
        return self._id

    def _ours(self) -> Iterator[dict[str, Any]]:
        for comment in self._api.pages(self._list):
            user = comment.get("user") or {}
            if user.get("login") == self._author and (comment.get("body") or "").startswith(self.mark):
                yield comment
