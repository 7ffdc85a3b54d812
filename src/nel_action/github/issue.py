"""One issue for a nightly gate: opened when a regression is confirmed, kept true, closed on recovery."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Final

from nel_action.gating.verdict import Verdict
from nel_action.github.api import GitHubApi
from nel_action.github.history import Night

__all__ = ["LABEL", "StickyIssue", "confirmed"]

LABEL: Final = "nel-action"
BODY_LIMIT: Final = 65_536
"""Characters."""


def confirmed(nights: Sequence[Night], *, times: int = 2) -> list[str]:
    """Return the tasks that failed in each of the last `times` nights that measured them: chance seldom does."""
    names = {task.task for night in nights[-1:] for task in night.tasks if task.verdict is Verdict.FAIL}
    return sorted(name for name in names if _failed_last(nights, name, times))


def _failed_last(nights: Sequence[Night], name: str, times: int) -> bool:
    seen = [
        task.verdict is Verdict.FAIL
        for night in nights
        for task in night.tasks
        # NOTE: a night that could not measure says nothing, neither way.
        if task.task == name and task.verdict is not Verdict.UNMEASURABLE
    ]
    return len(seen) >= times and all(seen[-times:])


class StickyIssue:
    """Found by its label, its author and its mark."""

    def __init__(self, api: GitHubApi, repository: str, *, key: str, author: str) -> None:
        self._api = api
        self._path = f"/repos/{repository}/issues"
        self._author = author
        self.mark = f"<!-- nel-action-issue:{hashlib.sha256(key.encode()).hexdigest()[:16]} -->"

    def show(self, title: str, body: str) -> int:
        """Open it or keep it true; return its number.

        Raises:
            GitHubError: it cannot be written.
        """
        text = f"{self.mark}\n{body}"[:BODY_LIMIT]
        found = self._open()
        if found is None:
            made = self._api.post(self._path, {"title": title[:256], "body": text, "labels": [LABEL]})
            return int(made["number"])
        number = int(found["number"])
        if (found["title"], found["body"]) != (title[:256], text):
            self._api.patch(f"{self._path}/{number}", {"title": title[:256], "body": text})
        return number

    def close(self, body: str) -> int | None:
        """Close it with a last word; return its number, or None where none was open."""
        found = self._open()
        if found is None:
            return None
        number = int(found["number"])
        closing = {"body": f"{self.mark}\n{body}"[:BODY_LIMIT], "state": "closed", "state_reason": "completed"}
        self._api.patch(f"{self._path}/{number}", closing)
        return number

    def _open(self) -> dict[str, Any] | None:
        for issue in self._api.pages(self._path, state="open", labels=LABEL):
            mine = (issue.get("user") or {}).get("login") == self._author
            if mine and "pull_request" not in issue and (issue.get("body") or "").startswith(self.mark):
                return dict(issue)
        return None
