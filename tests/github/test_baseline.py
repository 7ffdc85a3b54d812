"""Resolution of a branch to its newest run that passed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.doubles.github.server import GitHubDouble
from tests.support.gate_reports import archive_of, make_report, make_results

from nel_action.errors import NotFoundError
from nel_action.gating.verdict import Verdict
from nel_action.github.api import GitHubApi
from nel_action.github.baseline import BranchBaselines
from nel_action.github.errors import PermissionRefusedError
from nel_action.model.results import read_results

REPOSITORY = "Codertocat/Hello-World"


class Runs:
    """Adds artifacts of runs to the GitHub double."""

    def __init__(self, hub: GitHubDouble, folder: Path) -> None:
        self.hub, self.folder, self.count = hub, folder, 0

    def add(
        self,
        value: float,
        verdict: Verdict = Verdict.PASS,
        *,
        branch: str = "main",
        head_repository: int = 5,
        data: bytes = b"",
        commit: str = "",
        pull_request: int | None = None,
    ) -> None:
        self.count += 1
        report = make_report(verdict, make_results(value, commit=commit or f"{self.count:040x}"))
        report = replace(report, metadata=replace(report.metadata, pull_request=pull_request))
        archive = data or archive_of(report, self.folder / str(self.count))
        number = self.hub.store.add_artifact(self.count, "gate", archive)
        self.hub.store.artifacts[number]["workflow_run"] |= {
            "repository_id": 5,
            "head_repository_id": head_repository,
            "head_branch": branch,
            "head_sha": f"{self.count:040x}",
        }


@pytest.fixture
def runs(hub: GitHubDouble, tmp_path: Path) -> Runs:
    return Runs(hub, tmp_path / "runs")


def resolver(api: GitHubApi, tmp_path: Path, exclude_commit: str | None = None) -> BranchBaselines:
    return BranchBaselines(api, REPOSITORY, artifact="gate", folder=tmp_path / "cache", exclude_commit=exclude_commit)


def score(folder: Path | None) -> float:
    assert folder
    return read_results(folder / "results.json").tasks[0].scores[0].value


def test_resolver_returns_newest_run_that_passed(api: GitHubApi, runs: Runs, tmp_path: Path) -> None:
    runs.add(0.70)
    runs.add(0.75)
    runs.add(0.60, Verdict.FAIL)
    runs.add(0.61, Verdict.UNMEASURABLE)
    assert score(resolver(api, tmp_path)("main")) == 0.75


@pytest.mark.parametrize(
    "event", ["issue_comment", "pull_request_target", "pull_request", "workflow_run", "deployment", ""]
)
def test_resolver_ignores_runs_that_may_have_executed_code_of_a_pull_request(
    api: GitHubApi, hub: GitHubDouble, runs: Runs, tmp_path: Path, event: str
) -> None:
    runs.add(0.70)
    runs.add(0.10)
    hub.store.runs[2] = {"id": 2, "event": event}
    branches = resolver(api, tmp_path)
    assert score(branches("main")) == 0.70
    assert branches.notes == [f"results of run 2 on main were skipped: it was started by '{event}'"]


def test_resolver_ignores_run_on_a_tag_whose_results_claim_a_commit_of_the_branch(
    api: GitHubApi, hub: GitHubDouble, runs: Runs, tmp_path: Path
) -> None:
    runs.add(0.70)
    runs.add(0.10, commit=f"{1:040x}")
    hub.store.commits = [f"{1:040x}"]
    assert score(resolver(api, tmp_path)("main")) == 0.70


def test_resolver_ignores_other_branches_and_forks(api: GitHubApi, runs: Runs, tmp_path: Path) -> None:
    runs.add(0.70)
    runs.add(0.10, branch="change")
    runs.add(0.01, head_repository=99)
    assert score(resolver(api, tmp_path)("main")) == 0.70


def test_resolver_ignores_results_of_pull_requests_and_foreign_commits(
    api: GitHubApi, hub: GitHubDouble, runs: Runs, tmp_path: Path
) -> None:
    hub.store.commits = [f"{1:040x}"]
    runs.add(0.70)
    runs.add(0.10, commit="d" * 40, pull_request=2)
    runs.add(0.11, commit=f"{3:040x}", pull_request=2)
    runs.add(0.12, commit="e" * 40)
    assert score(resolver(api, tmp_path)("main")) == 0.70


def test_resolver_ignores_run_on_a_tag_with_the_name_of_the_branch(
    api: GitHubApi, hub: GitHubDouble, runs: Runs, tmp_path: Path
) -> None:
    runs.add(0.70)
    hub.store.commits = [f"{1:040x}"]
    hub.store.refs |= {"heads/main": f"{1:040x}", "tags/main": f"{2:040x}"}
    runs.add(0.10)
    assert score(resolver(api, tmp_path)("main")) == 0.70


def test_resolver_reports_branch_that_does_not_exist(api: GitHubApi, hub: GitHubDouble, tmp_path: Path) -> None:
    hub.store.refs["tags/release"] = "e" * 40
    with pytest.raises(NotFoundError, match="no such branch"):
        resolver(api, tmp_path)("release")


def test_resolver_accepts_results_collected_later_for_commit_of_branch(
    api: GitHubApi, hub: GitHubDouble, runs: Runs, tmp_path: Path
) -> None:
    hub.store.commits = [f"{2:040x}", "d" * 40, f"{1:040x}"]
    runs.add(0.70)
    runs.add(0.75, commit="d" * 40)
    assert score(resolver(api, tmp_path)("main")) == 0.75
    assert score(resolver(api, tmp_path, exclude_commit="d" * 40)("main")) == 0.70


def test_resolver_excludes_commit_under_test(api: GitHubApi, runs: Runs, tmp_path: Path) -> None:
    runs.add(0.70)
    runs.add(0.75)
    assert score(resolver(api, tmp_path, exclude_commit=f"{2:040x}")("main")) == 0.70


def test_resolver_returns_none_without_earlier_run(api: GitHubApi, tmp_path: Path) -> None:
    assert resolver(api, tmp_path)("main") is None


def test_resolver_skips_damaged_artifact_and_notes_it(api: GitHubApi, runs: Runs, tmp_path: Path) -> None:
    runs.add(0.70)
    runs.add(0, data=b"no archive")
    baselines = resolver(api, tmp_path)
    assert score(baselines("main")) == 0.70
    assert "run 2" in baselines.notes[0]


def test_resolver_raises_without_permission(api: GitHubApi, hub: GitHubDouble, tmp_path: Path) -> None:
    hub.grant(contents="read")
    with pytest.raises(PermissionRefusedError, match="actions: read"):
        resolver(api, tmp_path)("main")


def test_another_machine_downloads_the_artifact_of_the_submission(api: GitHubApi, runs: Runs, tmp_path: Path) -> None:
    runs.add(0.70)
    first = resolver(api, tmp_path)
    folder = first("main")
    assert folder is not None
    source = first.source_of(folder)
    assert source is not None
    runs.add(0.10)
    later = resolver(api, tmp_path / "later")
    assert score(later.fetch(source)) == 0.70
    assert score(later("main")) == 0.10
    assert later.source_of(tmp_path) is None


@pytest.mark.parametrize("source", ["artifact:999", "artifact:../1", "artifact:", "1", "artifact:-1"])
def test_artifacts_that_do_not_exist_are_not_fetched(api: GitHubApi, tmp_path: Path, source: str) -> None:
    assert resolver(api, tmp_path).fetch(source) is None
