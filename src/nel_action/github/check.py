"""The check run of a gate: opened before jobs are submitted, concluded by the verdict.

An open check run also stores the state that a later process needs to continue. Writing a check run requires
`checks: write`, which no fork's token has.
"""

from __future__ import annotations

import logging
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
"""Characters of the summary and of the text of a check run's output."""
TITLE_LIMIT: Final = 255
"""Characters of titles."""
MESSAGE_LIMIT: Final = 60_000
"""Characters of an annotation's message."""
ANNOTATIONS_PER_REQUEST: Final = 50
PROGRESS_MAX_WAIT: Final = 10.0
"""Seconds that a progress update may take, because jobs are not polled in the meantime."""
PREFIX: Final = "nel-action:"
"""Prefix of the `external_id` of the action's check runs."""

logger = logging.getLogger(__name__)


class Conclusion(StrEnum):
    """Conclusions that the action sets; GitHub treats neutral and skipped as passed, so they are not used."""

    SUCCESS = "success"
    FAILURE = "failure"
    CANCELLED = "cancelled"
    ACTION_REQUIRED = "action_required"


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """A message at a line of the spec or the policy."""

    path: str
    line: int
    message: str
    title: str
    failure: bool
    """Level: failure or warning."""


def conclusion_of(code: ExitCode) -> Conclusion | None:
    """Return the conclusion for an exit code; None while jobs are running.

    The code already reflects the policy's treatment of inconclusive results: 1 fails, 4 warns, 0 passes.
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
    """A check run of the action that is in progress."""

    id: int
    name: str
    head_sha: str
    external_id: str
    """Without the prefix."""
    text: str
    """Text of its output, which stores the state."""


def find_open(api: GitHubApi, repository: str, sha: str, *, name: str | None = None) -> list[OpenCheck]:
    """Return the action's check runs on a commit that are in progress.

    Args:
        api: client.
        repository: `owner/name`.
        sha: the commit.
        name: return check runs of this name only.

    Raises:
        GitHubError: check runs cannot be listed.
    """
    query = {"status": "in_progress", "filter": "all"} | ({"check_name": name} if name else {})
    runs = api.paginate(f"/repos/{repository}/commits/{sha}/check-runs", "check_runs", **query)
    return [_parse_check(run) for run in runs if str(run.get("external_id") or "").startswith(PREFIX)]


def _parse_check(run: dict[str, Any]) -> OpenCheck:
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
        """Refer to a check run, without a request.

        Args:
            api: client.
            repository: `owner/name`.
            name: of the check run.
            head_sha: the commit.
            number: GitHub's number of an existing check run.
        """
        self._api = api
        self._repository = repository
        self._name = name
        self._sha = head_sha
        self.id = number
        """GitHub's number; None before `start`, and after a `start` that failed."""
        self._external_id = ""

    def start(self, *, external_id: str, title: str, summary: str, text: str = "", url: str | None = None) -> None:
        """Open the check run, or update the open one of an earlier attempt.

        Args:
            external_id: identifies the invocation.
            title: one line.
            summary: Markdown.
            text: state for later processes.
            url: page that the check links to.

        Raises:
            GitHubError: the check run cannot be written.
        """
        body = {"status": "in_progress", "external_id": PREFIX + external_id, "output": _output(title, summary, text)}
        body |= {"details_url": url} if url else {}
        self._external_id = external_id
        self._write(body)

    def update_progress(self, *, title: str, summary: str, text: str = "") -> None:
        """Show the progress of the jobs.

        Raises:
            GitHubError: the check run cannot be written within `PROGRESS_MAX_WAIT`.
        """
        self._write({"status": "in_progress", "output": _output(title, summary, text)}, max_wait=PROGRESS_MAX_WAIT)

    def conclude(
        self,
        conclusion: Conclusion,
        *,
        title: str,
        summary: str,
        text: str = "",
        annotations: Sequence[Annotation] = (),
    ) -> None:
        """Complete the check run.

        Args:
            conclusion: the result.
            title: one line.
            summary: Markdown.
            text: further Markdown.
            annotations: sent in several requests if they are more than fifty; omitted if GitHub refuses them.

        Raises:
            GitHubError: the check run cannot be written.
        """
        output = _output(title, summary, text)
        try:
            self._complete(conclusion, output, annotations)
        except RefusedError:
            if not annotations:
                raise
            # NOTE: a location that GitHub does not accept must not prevent the conclusion.
            self._complete(conclusion, output, ())
        logger.info("check %r on %s concluded: %s", self._name, self._sha, conclusion.value)

    def _complete(self, conclusion: Conclusion, output: dict[str, Any], annotations: Sequence[Annotation]) -> None:
        starts = range(0, len(annotations), ANNOTATIONS_PER_REQUEST)
        batches = [annotations[start : start + ANNOTATIONS_PER_REQUEST] for start in starts] or [()]
        for batch in batches[:-1]:
            self._write({"status": "in_progress", "output": _with_annotations(output, batch)})
        # NOTE: the last request concludes, so that the check does not pass before all annotations are there.
        self._write(
            {
                "status": "completed",
                "conclusion": conclusion,
                "completed_at": _now(),
                "output": _with_annotations(output, batches[-1]),
            }
        )

    def _write(self, body: dict[str, Any], *, max_wait: float | None = None) -> None:
        """Update the check run; create it first if it does not exist, or if an earlier `start` failed."""
        if self.id is None:
            self.id = self._find_open()
        if self.id is not None:
            self._api.patch(f"/repos/{self._repository}/check-runs/{self.id}", body, max_wait=max_wait)
            return
        identity = {"name": self._name, "head_sha": self._sha, "external_id": PREFIX + self._external_id}
        new = identity | {"started_at": _now()} | body
        try:
            self.id = self._create(new)
        except UnavailableError:
            # NOTE: GitHub may have created it before the answer was lost, so it is looked up first.
            self.id = self._find_open()
            if self.id is None:
                self.id = self._create(new)

    def _find_open(self) -> int | None:
        checks = find_open(self._api, self._repository, self._sha, name=self._name)
        return checks[0].id if checks else None

    def _create(self, new: dict[str, Any]) -> int:
        return int(self._api.post(f"/repos/{self._repository}/check-runs", new)["id"])


def _output(title: str, summary: str, text: str) -> dict[str, Any]:
    output = {"title": title[:TITLE_LIMIT], "summary": _truncate(summary)}
    return output | ({"text": text} if text and len(text) <= OUTPUT_LIMIT else {})


def _truncate(text: str) -> str:
    """Cut a text that is too long at the end of a line, and say so."""
    if len(text) <= OUTPUT_LIMIT:
        return text
    note = "\n\n(truncated; the artifact contains the complete report)"
    return text[: OUTPUT_LIMIT - len(note)].rpartition("\n")[0] + note


def _with_annotations(output: dict[str, Any], annotations: Sequence[Annotation]) -> dict[str, Any]:
    return output | {"annotations": [_dump_annotation(annotation) for annotation in annotations]}


def _dump_annotation(annotation: Annotation) -> dict[str, Any]:
    return {
        "path": annotation.path,
        "start_line": annotation.line,
        "end_line": annotation.line,
        "annotation_level": "failure" if annotation.failure else "warning",
        "title": annotation.title[:TITLE_LIMIT],
        "message": annotation.message[:MESSAGE_LIMIT],
    }


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
