"""The pull-request comment and the issue of a gate: recognised by author and marker, then edited, never repeated.

The comment states which commit its content is about. The pull request's head is read before every write: a result of
another commit is shown as such, and never replaces what the comment says about a further commit, which may be newer.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterator
from enum import StrEnum
from typing import Any, Final

from nel_action.gating.verdict import GateReport, TaskVerdict, Verdict
from nel_action.github.api import GitHubApi
from nel_action.github.errors import GitHubError, MissingError, UnavailableError
from nel_action.report.markdown import COMMENT_LIMIT
from nel_action.retry import Backoff, retry

__all__ = ["CommentMode", "StickyComment", "StickyIssue", "should_comment", "token_login"]

TITLE_LIMIT: Final = 256
"""Characters of an issue's title."""
COMMIT_MARKER: Final = "<!-- nel-action-commit:{} -->"
COMMIT_LINE: Final = re.compile(r"<!-- nel-action-commit:([0-9a-f]{40,64}) -->")
MARGIN: Final = 250
"""Characters of the marker and the note about the commit."""
LABEL: Final = "nel-action"
"""Label of the issue."""
EDIT_INTERVAL: Final = 60.0
"""Seconds between two progress updates of a comment."""
TRIES: Final = 3
BACKOFF: Final = Backoff(initial=2.0, jitter=0.0)

logger = logging.getLogger(__name__)


class CommentMode(StrEnum):
    """When a comment is created; an existing one is updated in every mode but `off`."""

    ALWAYS = "always"
    CHANGES = "changes"
    FAILURES = "failures"
    OFF = "off"


def should_comment(mode: CommentMode, gate: GateReport) -> bool:
    """Return whether a verdict calls for a new comment."""
    if mode is CommentMode.CHANGES:
        return gate.verdict is not Verdict.PASS or any(map(_changed, gate.tasks))
    return mode is CommentMode.ALWAYS or (mode is CommentMode.FAILURES and gate.verdict is not Verdict.PASS)


def _changed(task: TaskVerdict) -> bool:
    """Whether the confidence interval of the difference excludes zero."""
    interval = task.comparison and task.comparison.interval
    return bool(interval and (interval.low > 0 or interval.high < 0))


def token_login(api: GitHubApi, graphql_url: str) -> str:
    """Return the login that the token writes as.

    The workflow's own token and an app's token may not call `GET /user`; GraphQL's `viewer` works for all tokens.
    """
    try:
        answer = api.post(graphql_url, {"query": "query { viewer { login } }"}, idempotent=True)
        return str(answer["data"]["viewer"]["login"])
    except (GitHubError, KeyError, TypeError) as error:
        logger.debug("login of the token is unknown, assuming github-actions[bot]: %s", error)
        return "github-actions[bot]"


class StickyComment:
    """The comment of one gate on one pull request."""

    def __init__(
        self, api: GitHubApi, repository: str, number: int, *, key: str, author: str, commit: str | None = None
    ) -> None:
        """Refer to a comment, without a request.

        Args:
            api: client whose token writes the comment.
            repository: `owner/name`.
            number: of the pull request.
            key: distinguishes the comments of several gates.
            author: login of the token; comments of other authors are ignored.
            commit: the commit that the content is about; None for content that is about no commit.
        """
        self._api = api
        self._pull = f"/repos/{repository}/pulls/{number}"
        self._commit = commit
        self._list = f"/repos/{repository}/issues/{number}/comments"
        self._comments = f"/repos/{repository}/issues/comments"
        self.marker = f"<!-- nel-action:{_digest(key)} -->"
        self._author = author
        self._clock = api.clock
        self._id: int | None = None
        self._current: str | None = None
        """Body on GitHub, where it is known."""
        self._edited = float("-inf")

    @property
    def max_length(self) -> int:
        """Characters available to a body after the markers and a note about the commit."""
        return COMMENT_LIMIT - len(self.marker) - 1 - (MARGIN if self._commit else 0)

    def exists(self) -> bool:
        """Return whether the comment exists."""
        return self._find() is not None

    def update_progress(self, body: str) -> bool:
        """Write the body unless the last edit was less than a minute ago; return whether it was written."""
        if self._clock.monotonic() - self._edited < EDIT_INTERVAL:
            return False
        return self.write(body)

    def write(self, body: str) -> bool:
        """Create the comment, or replace its body; return False if it is about a commit that may be newer.

        Raises:
            GitHubError: the pull request cannot be read, or the comment cannot be written.
        """
        text = f"{self.marker}\n{body}"
        if self._commit is not None:
            head = str(self._api.get(self._pull)["head"]["sha"])
            if head != self._commit and self._find(anew=True) is not None and self._commit_of_current() != self._commit:
                logger.info("comment not replaced: it is about another commit than %s", self._commit)
                return False
            note = "" if head == self._commit else _other_commit(self._commit, head)
            text = f"{self.marker}\n{COMMIT_MARKER.format(self._commit)}\n{note}{body}"
        retry(lambda: self._write(text), delay=self._delay, tries=TRIES, backoff=BACKOFF, sleep=self._clock.sleep)
        self._current, self._edited = text, self._clock.monotonic()
        return True

    def _commit_of_current(self) -> str | None:
        match = COMMIT_LINE.match((self._current or "").partition("\n")[2])
        return match[1] if match else None

    def _delay(self, error: Exception) -> float | None:
        """Allow a retry where the answer may have been lost after GitHub created the comment."""
        if not isinstance(error, UnavailableError):
            return None
        self._id = None  # NOTE: the next try looks the comment up before it creates one.
        return 0.0

    def _write(self, text: str) -> None:
        number = self._find()
        if number is not None and text == self._current:
            return
        if number is not None:
            try:
                self._api.patch(f"{self._comments}/{number}", {"body": text})
            except MissingError:
                self._id = None  # deleted by a user
            else:
                return
        self._id = int(self._api.post(self._list, {"body": text})["id"])

    def _find(self, *, anew: bool = False) -> int | None:
        """Return the comment's number; of several, created by concurrent runs, keep the first and delete the others.

        Args:
            anew: read the comment again, because another run may have edited it.
        """
        if self._id is None or anew:
            comments = list(self._own_comments())
            for duplicate in comments[1:]:
                self._api.delete(f"{self._comments}/{duplicate['id']}")
            first = comments[0] if comments else None
            self._id, self._current = (int(first["id"]), str(first["body"])) if first else (None, None)
        return self._id

    def _own_comments(self) -> Iterator[dict[str, Any]]:
        return (comment for comment in self._api.paginate(self._list) if _is_own(comment, self._author, self.marker))


class StickyIssue:
    """The issue of one gate: open while a regression is confirmed."""

    def __init__(self, api: GitHubApi, repository: str, *, key: str, author: str) -> None:
        """Refer to an issue, without a request.

        Args:
            api: client whose token writes the issue.
            repository: `owner/name`.
            key: distinguishes the issues of several gates.
            author: login of the token; issues of other authors are ignored.
        """
        self._api = api
        self._path = f"/repos/{repository}/issues"
        self._author = author
        self.marker = f"<!-- nel-action-issue:{_digest(key)} -->"

    def write(self, title: str, body: str) -> int:
        """Open the issue, or update its title and body; return its number.

        Raises:
            GitHubError: the issue cannot be written.
        """
        title, text = title[:TITLE_LIMIT], f"{self.marker}\n{body}"[:COMMENT_LIMIT]
        issue = self._find()
        if issue is None:
            created = self._api.post(self._path, {"title": title, "body": text, "labels": [LABEL]})
            return int(created["number"])
        number = int(issue["number"])
        if (issue["title"], issue["body"]) != (title, text):
            self._api.patch(f"{self._path}/{number}", {"title": title, "body": text})
        return number

    def close(self, body: str) -> int | None:
        """Replace the body and close the issue; return its number, or None if none is open.

        Raises:
            GitHubError: the issue cannot be written.
        """
        issue = self._find()
        if issue is None:
            return None
        number = int(issue["number"])
        text = f"{self.marker}\n{body}"[:COMMENT_LIMIT]
        self._api.patch(f"{self._path}/{number}", {"body": text, "state": "closed", "state_reason": "completed"})
        return number

    def _find(self) -> dict[str, Any] | None:
        """Return the open issue."""
        for issue in self._api.paginate(self._path, state="open", labels=LABEL):
            if "pull_request" not in issue and _is_own(issue, self._author, self.marker):
                return dict(issue)
        return None


def _other_commit(commit: str, head: str) -> str:
    return f"> This is about commit `{commit[:7]}`; the head of the pull request is `{head[:7]}`.\n\n"


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:16]


def _is_own(post: dict[str, Any], author: str, marker: str) -> bool:
    """Whether a comment or issue has this author and begins with this marker."""
    return (post.get("user") or {}).get("login") == author and (post.get("body") or "").startswith(marker)
