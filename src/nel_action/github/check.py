"""The check run of a gate: opened before jobs are submitted, concluded by the verdict.

An open check run also stores the state that a later process needs to continue. Writing a check run requires
`checks: write`, which no fork's token has.

GitHub matches required checks by name and commit, so a name belongs to one gate. The identity of the gate is part of
each check run's `external_id`: only an open check run of the same gate is taken over, a completed one is never changed,
and if another gate has used the name on the commit, the check fails.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, assert_never
from urllib.parse import quote, unquote

from nel_action.errors import ExitCode
from nel_action.github.api import GitHubApi
from nel_action.github.errors import MissingError, RefusedError, UnavailableError

__all__ = [
    "OUTPUT_LIMIT",
    "Annotation",
    "Check",
    "Conclusion",
    "OpenCheck",
    "conclusion_of",
    "find_open",
    "gate_identity",
]

OUTPUT_LIMIT: Final = 65_535
"""Characters of the summary and of the text of a check run's output."""
TITLE_LIMIT: Final = 255
"""Characters of titles."""
MESSAGE_LIMIT: Final = 60_000
"""Characters of an annotation's message."""
ANNOTATIONS_PER_REQUEST: Final = 50
PROGRESS_MAX_WAIT: Final = 10.0
"""Seconds that a progress update may take, because jobs are not polled in the meantime."""
DIGEST_LENGTH: Final = 16
NAME_LIMIT: Final = 80
"""Characters of each name in an identity."""
PREFIX: Final = "nel-action:"
"""Prefix of the `external_id` of the action's check runs."""

logger = logging.getLogger(__name__)


def gate_identity(spec: str, base: str | None, settings: Sequence[str] = ()) -> str:
    """Return the identity of a gate: a digest, the base, and the spec for people; without secrets.

    Args:
        spec: path of the spec in the repository.
        base: branch that the change is merged into; None without one.
        settings: other inputs that make it another gate, such as overrides.
    """
    digest = hashlib.sha256("\0".join((spec, *settings)).encode()).hexdigest()[:DIGEST_LENGTH]
    return f"{digest}:{quote(base or '', safe='')[:NAME_LIMIT]}:{quote(spec)[:NAME_LIMIT]}"


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
    """`<invocation>:<digest>`, or what takes its place before there is an invocation."""
    identity: str
    """Of the gate; empty if an earlier version wrote the check run."""
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
    external_id, identity = _split_id(str(run["external_id"]))
    return OpenCheck(
        id=int(run["id"]),
        name=str(run["name"]),
        head_sha=str(run["head_sha"]),
        external_id=external_id,
        identity=identity,
        text=str(output.get("text") or ""),
    )


def _split_id(external_id: str) -> tuple[str, str]:
    """Return state and identity of an `external_id`."""
    parts = external_id.removeprefix(PREFIX).split(":", 2)
    return ":".join(parts[:2]), parts[2] if len(parts) > 2 else ""  # noqa: PLR2004 - the state has two parts


class Check:
    """One check run on one commit."""

    def __init__(
        self,
        api: GitHubApi,
        repository: str,
        *,
        name: str,
        head_sha: str,
        number: int | None = None,
        identity: str = "",
    ) -> None:
        """Refer to a check run, without a request.

        Args:
            api: client.
            repository: `owner/name`.
            name: of the check run.
            head_sha: the commit.
            number: GitHub's number of an existing check run.
            identity: of the gate; without one, no existing check run is taken over.
        """
        self._api = api
        self._repository = repository
        self._name = name
        self._sha = head_sha
        self.id = number
        """GitHub's number; None before `start`, and after a `start` that failed."""
        self.identity = identity
        self._external_id = f"{PREFIX}::{identity}"

    def conflict(self) -> str | None:
        """Describe another gate that has used the name on this commit; None if there is none.

        Raises:
            GitHubError: check runs cannot be listed.
        """
        identities = [_split_id(str(run["external_id"]))[1] for run in self._runs() if int(run["id"]) != self.id]
        others = [identity for identity in identities if _digest_of(identity) != _digest_of(self.identity)]
        if not self.identity or not others:
            return None
        own, other = _spec_of(self.identity), _spec_of(min(others))
        which = f"the specs {own} and {other}" if own != other else f"the spec {own} with different overrides or inputs"
        return f"two gates have the check name '{self._name}': {which}; give each its own `check-name`"

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
        self._external_id = f"{PREFIX}{external_id}:{self.identity}"
        body = {"status": "in_progress", "external_id": self._external_id, "output": _output(title, summary, text)}
        body |= {"details_url": url} if url else {}
        self._write(body)

    def update_progress(self, *, title: str, summary: str, text: str = "") -> None:
        """Show the progress of the jobs.

        Args:
            title: one line.
            summary: Markdown above the details.
            text: Markdown of the details.

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
        """Update the check run; create one if it does not exist, or if it has been completed in the meantime."""
        if self.id is None:
            self.id = self._find_open()
        elif self._is_completed(self.id):
            self.id = None
        if self.id is not None:
            self._api.patch(f"/repos/{self._repository}/check-runs/{self.id}", body, max_wait=max_wait)
            return
        identity = {"name": self._name, "head_sha": self._sha, "external_id": self._external_id}
        new = identity | {"started_at": _now()} | body
        try:
            self.id = self._create(new)
        except UnavailableError:
            # NOTE: GitHub may have created it before the answer was lost, so it is looked up first.
            self.id = self._find_open()
            if self.id is None:
                self.id = self._create(new)

    def _find_open(self) -> int | None:
        """Return the open check run of the same gate and base."""
        checks = find_open(self._api, self._repository, self._sha, name=self._name)
        return next((check.id for check in checks if self.identity and check.identity == self.identity), None)

    def _is_completed(self, number: int) -> bool:
        try:
            return bool(self._api.get(f"/repos/{self._repository}/check-runs/{number}")["status"] == "completed")
        except MissingError:
            return True

    def _runs(self) -> list[dict[str, Any]]:
        """Return all check runs of this action with this name on this commit."""
        path = f"/repos/{self._repository}/commits/{self._sha}/check-runs"
        runs = self._api.paginate(path, "check_runs", check_name=self._name, filter="all")
        return [run for run in runs if str(run.get("external_id") or "").startswith(PREFIX)]

    def _create(self, new: dict[str, Any]) -> int:
        return int(self._api.post(f"/repos/{self._repository}/check-runs", new)["id"])


def _digest_of(identity: str) -> str:
    return identity.partition(":")[0]


def _spec_of(identity: str) -> str:
    return unquote(identity.rpartition(":")[2]) or "of an earlier version of nel-action"


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
