"""Baseline of a branch: the results of its newest run that passed, read from artifacts."""

from __future__ import annotations

import logging
from itertools import chain, islice
from pathlib import Path
from tempfile import mkdtemp
from typing import Final
from urllib.parse import quote

from nel_action.errors import NotFoundError, ResultsError
from nel_action.gating.verdict import Verdict
from nel_action.github.api import GitHubApi
from nel_action.github.artifacts import Artifact, download_results, list_artifacts
from nel_action.github.errors import MissingError
from nel_action.report.model import Report
from nel_action.report.store import load_report

__all__ = ["BranchBaselines"]

MAX_CANDIDATES: Final = 40
"""Artifacts of a branch that are downloaded in search of one that passed."""

ARTIFACT: Final = "artifact:"
"""Prefix of the source of a baseline that was downloaded."""

MAX_COMMITS: Final = 300
"""Latest commits of a branch whose results are considered."""

OWN_EVENTS: Final = frozenset({"push", "schedule", "workflow_dispatch", "repository_dispatch"})
"""Events whose runs on a branch execute code of that branch only. A run for a comment is on the default branch as well,
but executes code of a pull request, which could forge the results that the run uploads."""

logger = logging.getLogger(__name__)


class BranchBaselines:
    """Resolves a branch to a run directory; passed to `gating.baseline.locate_baseline` as its `branch`."""

    def __init__(
        self,
        api: GitHubApi,
        repository: str,
        *,
        artifact: str,
        folder: Path,
        exclude_commit: str | None = None,
        former_names: tuple[str, ...] = (),
    ) -> None:
        """Prepare the search, without a request.

        Args:
            api: client.
            repository: `owner/name`.
            artifact: name of the artifacts that contain results of the gate.
            folder: receives the downloaded results.
            exclude_commit: the commit under test, which is not compared with itself.
            former_names: names of the artifacts of older versions, read after all others.
        """
        self._former_names = former_names
        self._api = api
        self._repository = repository
        self._name = artifact
        self._folder = folder
        self._exclude_commit = exclude_commit
        self._sources: dict[Path, str] = {}
        self.notes: list[str] = []
        """Warnings about artifacts that could not be read."""

    def __call__(self, branch: str) -> Path | None:
        """Return the run directory of the newest run on the branch that passed, or None if there is none.

        Raises:
            NotFoundError: the repository has no such branch.
            GitHubError: artifacts cannot be listed or downloaded.
        """
        commits = self._commits(branch)
        for artifact in islice(self._candidates(branch, commits - {self._exclude_commit or ""}), MAX_CANDIDATES):
            folder = self._new_folder(artifact.id)
            try:
                report = load_report(download_results(self._api, self._repository, artifact, folder))
            except ResultsError as error:
                self.notes.append(
                    f"results of run {artifact.run_id} on {branch} were skipped: {error.problems[0].message}"
                )
                continue
            belongs = report.gate.verdict is Verdict.PASS and self._belongs_to_branch(report, commits)
            if belongs and self._executed_own_code(artifact, branch):
                logger.info("baseline %s: run %d, commit %s", branch, artifact.run_id, report.results.commit)
                self._sources[folder] = f"{ARTIFACT}{artifact.id}"
                return folder
        logger.info("baseline %s: no run that passed", branch)
        return None

    def source_of(self, path: Path) -> str | None:
        """Return `artifact:<id>` of results that this resolver downloaded; None for other paths."""
        return self._sources.get(path)

    def fetch(self, source: str) -> Path | None:
        """Download the results of an artifact that was the baseline at submission; None if it has expired.

        The caller compares their digest with that of the submission, so the artifact is not searched for again.

        Args:
            source: as `source_of` returned it.

        Raises:
            GitHubError: the artifact cannot be downloaded.
            ResultsError: it is not an archive of results.
        """
        number = source.removeprefix(ARTIFACT)
        if not source.startswith(ARTIFACT) or not number.isdecimal():
            return None
        artifact = Artifact(id=int(number), name=self._name, run_id=0, branch=None, sha=None, same_repository=True)
        try:
            return download_results(self._api, self._repository, artifact, self._new_folder(artifact.id))
        except MissingError:
            return None

    def _new_folder(self, artifact: int) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True)
        return Path(mkdtemp(prefix=f"{artifact}-", dir=self._folder))

    def _belongs_to_branch(self, report: Report, commits: set[str]) -> bool:
        """Whether the results are about a commit of the branch.

        `mode: collect` and the second stage for forks run on the default branch and upload results of pull requests
        there. Those must not become a baseline: a pull request could lower its own reference, a fork invent one. A run
        on a tag with the name of the branch has the same `head_branch`.
        """
        commit = report.results.commit
        if report.metadata.pull_request is not None or commit is None or commit == self._exclude_commit:
            return False
        return commit in commits

    def _executed_own_code(self, artifact: Artifact, branch: str) -> bool:
        """Whether the run was started by an event of the branch itself, as the server states it."""
        event = str(self._api.get(f"/repos/{self._repository}/actions/runs/{artifact.run_id}")["event"])
        if event in OWN_EVENTS:
            return True
        self.notes.append(f"results of run {artifact.run_id} on {branch} were skipped: it was started by '{event}'")
        return False

    def _commits(self, branch: str) -> set[str]:
        """Return the latest commits of the branch; a tag or commit of that name is no branch.

        Raises:
            NotFoundError: there is no such branch.
            GitHubError: they cannot be listed.
        """
        try:
            tip = self._api.get(f"/repos/{self._repository}/git/ref/heads/{quote(branch)}")["object"]["sha"]
        except MissingError as error:
            msg = f"no baseline '{branch}': the repository has no such branch"
            raise NotFoundError(msg, hint="gate.baseline takes a branch, or a results file of the base") from error
        listing = self._api.paginate(f"/repos/{self._repository}/commits", sha=str(tip))
        return {str(commit["sha"]) for commit in islice(listing, MAX_COMMITS)}

    def _candidates(self, branch: str, commits: set[str]) -> list[Artifact]:
        """Return artifacts of runs on the branch, for one of its commits, as the server states it.

        The content of an artifact can be forged by a run on a tag with the name of the branch.
        """
        names = dict.fromkeys((self._name, *self._former_names))
        artifacts = chain.from_iterable(list_artifacts(self._api, self._repository, name) for name in names)
        return [
            artifact
            for artifact in artifacts
            if artifact.same_repository and artifact.branch == branch and artifact.sha in commits
        ]
