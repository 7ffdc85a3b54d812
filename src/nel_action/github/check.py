"""The check run: in progress before the work begins, concluded by the verdict and by nothing else.

What a later process needs to take the work up again travels in the check run itself: only those may write one
who hold `checks: write`, which no fork's token does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, assert_never

from nel_action.errors import ExitCode
from nel_action.github.api import GitHubApi
from nel_action.github.errors import RefusedError, UnavailableError

__all__ = ["OUTPUT_LIMIT", "Annotation", "Check", "Conclusion", "OpenCheck", "conclusion_of", "find_open"]

OUTPUT_LIMIT: Final = 65_535
"""Characters of an output's summary and of its text."""
ANNOTATIONS_AT_ONCE: Final = 50
"""Of one request; further ones are added by further requests."""
HURRIED: Final = 10.0
"""Seconds that showing progress may wait: nobody looks after the jobs meanwhile."""
PREFIX: Final = "nel-action:"
"""Begins the `external_id` of each of our check runs."""


class Conclusion(StrEnum):
    """How a check ends here. Neutral and skipped count as passed to GitHub, so they do not occur."""

    SUCCESS = "success"
    FAILURE = "failure"
    CANCELLED = "cancelled"
    ACTION_REQUIRED = "action_required"


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """A message beside a line of the spec or the policy."""

    path: str
    line: int
    message: str
    title: str
    failure: bool
    """Else a warning."""


def conclusion_of(code: ExitCode) -> Conclusion | None:
    """Return what an exit code means for the check; None while it is still running.

    The policy's word on inconclusive results is in the code already: 1 fails, 4 warns, 0 passes.
    """
    match code:
        case ExitCode.PASS | ExitCode.INCONCLUSIVE:
            return Conclusion.SUCCESS
        case ExitCode.FAIL | ExitCode.USAGE | ExitCode.UNMEASURABLE:
            return Conclusion.FAILURE
        case ExitCode.CANCELLED:
            return Conclusion.CANCELLED
        case ExitCode.RUNNING:
            return None
        case _:
            assert_never(code)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenCheck:
    """A check run of ours that is in progress."""

    id: int
    name: str
    head_sha: str
    external_id: str
    """Without the prefix."""
    text: str
    """Of its output: where the state is kept."""


def find_open(api: GitHubApi, repository: str, sha: str, *, name: str | None = None) -> list[OpenCheck]:
    """Return our check runs on that commit that still wait for their end."""
    query = {"status": "in_progress", "filter": "all"} | ({"check_name": name} if name else {})
    listed = api.pages(f"/repos/{repository}/commits/{sha}/check-runs", "check_runs", **query)
    return [_seen(run) for run in listed if str(run.get("external_id") or "").startswith(PREFIX)]


def _seen(run: dict[str, Any]) -> OpenCheck:
    output = run.get("output") or {}
    return OpenCheck(
        id=int(run["id"]),
        name=str(run["name"]),
        head_sha=str(run["head_sha"]),
        external_id=str(run["external_id"]).removeprefix(PREFIX),
        text=str(output.get("text") or ""),
    )


class Check:
    """One check run on one commit."""

    def __init__(self, api: GitHubApi, repository: str, *, name: str, head_sha: str, number: int | None = None) -> None:
        self._api = api
        self._repository = repository
        self._name = name
        self._sha = head_sha
        self.id = number
        """GitHub's number; None before `start`, and where that did not reach GitHub."""
        self._external_id = ""

    def start(self, *, external_id: str, title: str, summary: str, text: str = "", url: str | None = None) -> None:
        """Open it, in progress, or take over the one that an earlier attempt left open.

        Raises:
            GitHubError: it cannot be written.
        """
        body = {"status": "in_progress", "external_id": PREFIX + external_id, "output": _output(title, summary, text)}
        body |= {"details_url": url} if url else {}
        self._external_id = external_id
        self._write(body)

    def progress(self, *, title: str, summary: str, text: str = "") -> None:
        """Show how things stand."""
        self._write({"status": "in_progress", "output": _output(title, summary, text)}, patience=HURRIED)

    def conclude(
        self, conclusion: Conclusion, *, title: str, summary: str, text: str = "", notes: Sequence[Annotation] = ()
    ) -> None:
        """End it; notes beyond the first fifty follow in further requests.

        Raises:
            GitHubError: it cannot be written.
        """
        try:
            self._end(conclusion, _output(title, summary, text), notes)
        except RefusedError:
            if not notes:
                raise
            # NOTE: a place that GitHub does not take must not keep the verdict from it.
            self._end(conclusion, _output(title, summary, text), ())

    def _end(self, conclusion: Conclusion, output: dict[str, Any], notes: Sequence[Annotation]) -> None:
        batches = [notes[at : at + ANNOTATIONS_AT_ONCE] for at in range(0, len(notes), ANNOTATIONS_AT_ONCE)] or [()]
        for batch in batches[:-1]:
            self._write({"status": "in_progress", "output": output | {"annotations": [_shown(note) for note in batch]}})
        last = output | {"annotations": [_shown(note) for note in batches[-1]]}
        # NOTE: concluded by the last request, so that nobody merges between the first and the last note.
        self._write({"status": "completed", "conclusion": conclusion, "completed_at": _now(), "output": last})

    def _left_open(self) -> int | None:
        found = find_open(self._api, self._repository, self._sha, name=self._name)
        return found[0].id if found else None

    def _write(self, body: dict[str, Any], *, patience: float | None = None) -> None:
        """Change it; make it first where nobody has, or where GitHub did not answer when it should have been made."""
        if self.id is None:
            self.id = self._left_open()
        if self.id is not None:
            self._api.patch(f"/repos/{self._repository}/check-runs/{self.id}", body, patience=patience)
            return
        known = {"name": self._name, "head_sha": self._sha, "external_id": PREFIX + self._external_id}
        new = known | {"started_at": _now()} | body
        try:
            self.id = self._make(new)
        except UnavailableError:
            # NOTE: it may have been made and only the answer lost: look before making another.
            self.id = self._left_open()
            if self.id is None:
                self.id = self._make(new)

    def _make(self, new: dict[str, Any]) -> int:
        return int(self._api.post(f"/repos/{self._repository}/check-runs", new)["id"])


def _output(title: str, summary: str, text: str) -> dict[str, Any]:
    output = {"title": title[:255], "summary": _fit(summary)}
    return output | ({"text": text} if text and len(text) <= OUTPUT_LIMIT else {})


def _fit(text: str) -> str:
    """Keep whole lines."""
    if len(text) <= OUTPUT_LIMIT:
        return text
    note = "\n\n(cut here; the report among the artifacts is whole)"
    return text[: OUTPUT_LIMIT - len(note)].rpartition("\n")[0] + note


def _shown(note: Annotation) -> dict[str, Any]:
    return {
        "path": note.path,
        "start_line": note.line,
        "end_line": note.line,
        "annotation_level": "failure" if note.failure else "warning",
        "title": note.title[:255],
        "message": note.message[:60_000],
    }


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
