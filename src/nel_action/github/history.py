"""History of a gate's scheduled runs: one JSON line per run, in a file on a data branch.

The branch is written through the API, so neither a checkout nor push rights in the work tree are needed.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Final

from pydantic import ValidationError

from nel_action.errors import ResultsError
from nel_action.gating.trend import TrendEntry, TrendVerdict, group_by_task, judge_trend, trend_entries
from nel_action.gating.verdict import GateReport, Verdict
from nel_action.github.api import GitHubApi
from nel_action.github.errors import MissingError, RefusedError, UnavailableError
from nel_action.model.results import Record, Results
from nel_action.report.model import TrendPoint
from nel_action.retry import Backoff, retry
from nel_action.spec.policy import GatePolicy

__all__ = [
    "DataBranch",
    "History",
    "ScheduledRun",
    "confirmed_regressions",
    "scheduled_run",
    "trend_points",
]

MAX_RUNS: Final = 400
"""Runs that are kept; the oldest are dropped."""
TRIES: Final = 5
BACKOFF: Final = Backoff(initial=1.0)
CONFLICTS: Final = (HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY)
"""Answers to an update of a branch that another process has updated in the meantime."""

logger = logging.getLogger(__name__)


class ScheduledRun(Record):
    """One run and its scores."""

    when: str
    """RFC 3339, UTC."""
    commit: str | None = None
    invocation: str
    verdict: Verdict
    tasks: tuple[TrendEntry, ...] = ()


def scheduled_run(
    results: Results, gate: GateReport, policy: GatePolicy | None = None, *, fixed: bool = False
) -> ScheduledRun:
    """Reduce a run to what the judgement of later runs needs.

    Args:
        results: the scores.
        gate: the verdict.
        policy: the limits.
        fixed: whether the baseline is a file, which does not change from run to run.
    """
    return ScheduledRun(
        when=results.created,
        commit=results.commit,
        invocation=results.invocation,
        verdict=gate.verdict,
        tasks=trend_entries(results, gate, policy, fixed=fixed),
    )


def trend_points(runs: Sequence[ScheduledRun]) -> tuple[TrendPoint, ...]:
    """Return the measured scores of all runs, oldest first."""
    return tuple(
        TrendPoint(
            task=task.task,
            model=task.model,
            metric=task.metric,
            when=run.when,
            value=task.value,
            stderr=task.stderr,
            commit=run.commit,
            verdict=task.verdict,
        )
        for run in runs
        for task in run.tasks
        if task.metric is not None and task.value is not None
    )


def confirmed_regressions(runs: Sequence[ScheduledRun], *, confidence: float = 0.95) -> list[TrendVerdict]:
    """Return the tasks that have regressed by an anytime-valid test of all runs, by name.

    Args:
        runs: all runs, oldest first.
        confidence: over the entire history, as a fraction of 1.
    """
    series = group_by_task([run.tasks for run in runs])
    trends = (judge_trend(scores, confidence=confidence) for scores in series.values())
    return sorted((trend for trend in trends if trend.regressed), key=lambda trend: (trend.task, trend.model))


class DataBranch:
    """A branch without history in common with other branches; created with the first write."""

    def __init__(self, api: GitHubApi, repository: str, name: str) -> None:
        self._api = api
        self._git = f"/repos/{repository}/git"
        self.name = name

    def read(self, path: str) -> str | None:
        """Return the text of a file, or None if it does not exist."""
        head = self._head()
        return self._file(head, path) if head else None

    def update(self, path: str, change: Callable[[str | None], str], *, message: str) -> None:
        """Replace a file; repeated from the start if another process updates the branch at the same time.

        Args:
            path: the file.
            change: returns the new text for the current one, which is None if the file does not exist.
            message: of the commit.

        Raises:
            GitHubError: the file cannot be written.
        """

        def commit() -> None:
            head = self._head()
            text = change(self._file(head, path) if head else None)
            self._commit(head, {path: text}, message)

        retry(commit, delay=_conflict_delay, tries=TRIES, backoff=BACKOFF, sleep=self._api.clock.sleep)
        logger.info("updated %s on branch %s", path, self.name)

    def _head(self) -> str | None:
        try:
            return str(self._api.get(f"{self._git}/ref/heads/{self.name}")["object"]["sha"])
        except MissingError:
            return None

    def _file(self, commit: str, path: str) -> str | None:
        tree = self._api.get(f"{self._git}/commits/{commit}")["tree"]["sha"]
        entries = self._api.get(f"{self._git}/trees/{tree}", recursive="1")["tree"]
        blob = next((entry["sha"] for entry in entries if entry.get("path") == path), None)
        if blob is None:
            return None
        return base64.b64decode(self._api.get(f"{self._git}/blobs/{blob}")["content"]).decode()

    def _commit(self, parent: str | None, files: Mapping[str, str], message: str) -> None:
        entries = [{"path": path, "mode": "100644", "type": "blob", "content": text} for path, text in files.items()]
        base = {"base_tree": self._api.get(f"{self._git}/commits/{parent}")["tree"]["sha"]} if parent else {}
        tree = self._api.post(f"{self._git}/trees", {"tree": entries} | base, idempotent=True)["sha"]
        content = {"message": message, "tree": tree, "parents": [parent] if parent else []}
        commit = self._api.post(f"{self._git}/commits", content, idempotent=True)["sha"]
        # NOTE: never forced: if the branch has moved on, GitHub refuses, and `update` starts again.
        if parent:
            self._api.patch(f"{self._git}/refs/heads/{self.name}", {"sha": commit, "force": False})
        else:
            self._api.post(f"{self._git}/refs", {"ref": f"refs/heads/{self.name}", "sha": commit})


def _conflict_delay(error: Exception) -> float | None:
    """Allow a retry after a conflict, and where GitHub's answer may have been lost."""
    conflict = isinstance(error, RefusedError) and error.status in CONFLICTS
    return 0.0 if conflict or isinstance(error, UnavailableError) else None


class History:
    """The runs of one gate on one branch."""

    def __init__(self, branch: DataBranch, name: str) -> None:
        self._branch = branch
        self._path = f"{name}.jsonl"

    def read(self) -> list[ScheduledRun]:
        """Return all runs, oldest first.

        Raises:
            GitHubError: the branch cannot be read.
            ResultsError: a line of the file is malformed.
        """
        return _parse(self._branch.read(self._path))

    def add(self, run: ScheduledRun) -> list[ScheduledRun]:
        """Add a run, replacing an earlier record of the same invocation; return all runs, oldest first.

        Raises:
            GitHubError: the branch cannot be written.
            ResultsError: a line of the file is malformed; the file is left unchanged.
        """
        runs: list[ScheduledRun] = []

        def change(text: str | None) -> str:
            others = [other for other in _parse(text) if other.invocation != run.invocation]
            runs[:] = sorted([*others, run], key=lambda item: item.when)[-MAX_RUNS:]
            return "".join(item.model_dump_json(exclude_defaults=True) + "\n" for item in runs)

        self._branch.update(self._path, change, message=f"Record {run.invocation}: {run.verdict}")
        return runs


def _parse(text: str | None) -> list[ScheduledRun]:
    try:
        return [ScheduledRun.model_validate_json(line) for line in (text or "").splitlines() if line.strip()]
    except ValidationError as error:
        msg = f"malformed line in the history: {error.errors()[0]['msg']}"
        raise ResultsError(msg, hint="correct or delete the file on the data branch") from error
