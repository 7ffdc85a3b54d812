"""A branch as a baseline: the results of the newest run on it that passed."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

from nel_action.errors import ResultsError
from nel_action.gating.verdict import Verdict
from nel_action.github.api import GitHubApi
from nel_action.github.artifacts import Artifact, download, find_artifacts
from nel_action.report.model import Report
from nel_action.report.store import load_report

__all__ = ["BranchBaselines"]

LOOKED_AT: Final = 40
"""Artifacts of a branch that are opened in search of one that passed."""


class BranchBaselines:
    """Finds what a branch stands for; made for `gate.baseline.load_baseline`'s `branch`."""

    def __init__(
        self, api: GitHubApi, repository: str, *, artifact: str, folder: Path, below: str | None = None
    ) -> None:
        self._api = api
        self._repository = repository
        self._name = artifact
        self._folder = folder
        self._not = below
        """The commit under test: results are not held against themselves."""
        self.notes: list[str] = []
        """What should be said about the search."""

    def __call__(self, branch: str) -> Path | None:
        """Return the run directory of the newest passing run on that branch, or None where there is none yet.

        Raises:
            GitHubError: the artifacts cannot be listed or had.
        """
        for artifact in islice(self._candidates(branch), LOOKED_AT):
            folder = Path(mkdtemp(prefix=f"{artifact.id}-", dir=self._made_folder()))
            try:
                report = load_report(download(self._api, self._repository, artifact, folder))
            except ResultsError as error:
                self.notes.append(
                    f"results of run {artifact.run_id} on {branch} were left out: {error.problems[0].message}"
                )
                continue
            if report.gate.verdict is Verdict.PASS and self._stands_for(report, artifact, branch):
                return folder
        return None

    def _stands_for(self, report: Report, artifact: Artifact, branch: str) -> bool:
        """Whether results are the branch's own, and not only judged by a run that was started there.

        `mode: collect` and the second stage for forks run on the default branch, whatever they judge: what a pull
        request measured, or a fork made up, must not become what others are held against.
        """
        commit = report.results.commit
        if report.metadata.pull_request is not None or commit is None or commit == self._not:
            return False
        return commit == artifact.sha or commit in self._commits(branch)

    def _commits(self, branch: str) -> set[str]:
        listed = self._api.get(f"/repos/{self._repository}/commits", sha=branch, per_page=100)
        return {str(commit["sha"]) for commit in listed}

    def _candidates(self, branch: str) -> list[Artifact]:
        listed = find_artifacts(self._api, self._repository, self._name)
        return [one for one in listed if one.own and one.branch == branch and one.sha != self._not]

    def _made_folder(self) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True)
        return self._folder
