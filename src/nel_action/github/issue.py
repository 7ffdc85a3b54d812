"""One issue for a nightly gate: opened when a regression is confirmed, kept true, closed on recovery."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Final

from nel_action.gating.trend import TrendVerdict, group_by_task, judge_trend
from nel_action.github.api import GitHubApi
from nel_action.github.history import ScheduledRun

__all__ = ["LABEL", "StickyIssue", "confirmed"]

LABEL: Final = "nel-action"
BODY_LIMIT: Final = 65_536
"""Characters."""


def confirmed(nights: Sequence[ScheduledRun], *, confidence: float = 0.95) -> list[TrendVerdict]:
    """Return the tasks that have fallen by all nights together: valid however often one looks."""
    rows = group_by_task([night.tasks for night in nights])
    standings = (judge_trend(marks, confidence=confidence) for marks in rows.values())
    return sorted((one for one in standings if one.regressed), key=lambda one: (one.task, one.model))


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
