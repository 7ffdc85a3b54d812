"""A branch stands for its newest run that passed, of this repository and of no fork."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.doubles.github.server import GitHubDouble
from tests.support.gate_runs import archive_of, make_report, make_results

from nel_action.gating.verdict import Verdict
from nel_action.github.api import GitHubApi
from nel_action.github.baseline import BranchBaselines
from nel_action.github.errors import PermissionRefusedError
from nel_action.model.results import read_results

REPOSITORY = "Codertocat/Hello-World"


class Runs:
    """Adds artifacts of runs to the double."""

    def __init__(self, hub: GitHubDouble, folder: Path) -> None:
        self.hub, self.folder, self.count = hub, folder, 0

    def add(
        self,
        value: float,
        verdict: Verdict = Verdict.PASS,
        *,
        branch: str = "main",
        home: int = 5,
        data: bytes = b"",
        commit: str = "",
        pull_request: int | None = None,
    ) -> None:
        self.count += 1
        made = make_report(verdict, make_results(value, commit=commit or f"{self.count:040x}"))
        made = replace(made, metadata=replace(made.metadata, pull_request=pull_request))
        archive = data or archive_of(made, self.folder / str(self.count))
        number = self.hub.store.add_artifact(self.count, "gate", archive)
        self.hub.store.artifacts[number]["workflow_run"] |= {
            "repository_id": 5,
            "head_repository_id": home,
            "head_branch": branch,
            "head_sha": f"{self.count:040x}",
        }


@pytest.fixture
def runs(hub: GitHubDouble, tmp_path: Path) -> Runs:
    return Runs(hub, tmp_path / "runs")


def look(api: GitHubApi, tmp_path: Path, below: str | None = None) -> BranchBaselines:
    return BranchBaselines(api, REPOSITORY, artifact="gate", folder=tmp_path / "cache", below=below)


def score(folder: Path | None) -> float:
    assert folder
    return read_results(folder / "results.json").tasks[0].scores[0].value


def test_the_newest_that_passed_is_taken(api: GitHubApi, runs: Runs, tmp_path: Path) -> None:
    runs.add(0.70)
    runs.add(0.75)
    runs.add(0.60, Verdict.FAIL)
    runs.add(0.61, Verdict.UNMEASURABLE)
    assert score(look(api, tmp_path)("main")) == 0.75


def test_other_branches_and_forks_mains_are_not(api: GitHubApi, runs: Runs, tmp_path: Path) -> None:
    runs.add(0.70)
    runs.add(0.10, branch="change")
    runs.add(0.01, home=99)
    assert score(look(api, tmp_path)("main")) == 0.70


def test_what_a_run_on_the_branch_judged_for_a_pull_request_is_not_the_branchs(
    api: GitHubApi, hub: GitHubDouble, runs: Runs, tmp_path: Path
) -> None:
    hub.store.commits = [f"{1:040x}"]
    runs.add(0.70)
    runs.add(0.10, commit="d" * 40, pull_request=2)
    runs.add(0.11, commit=f"{3:040x}", pull_request=2)
    runs.add(0.12, commit="e" * 40)
    assert score(look(api, tmp_path)("main")) == 0.70


def test_what_was_collected_later_about_a_commit_of_the_branch_is(
    api: GitHubApi, hub: GitHubDouble, runs: Runs, tmp_path: Path
) -> None:
    hub.store.commits = ["d" * 40, f"{1:040x}"]
    runs.add(0.70)
    runs.add(0.75, commit="d" * 40)
    assert score(look(api, tmp_path)("main")) == 0.75
    assert score(look(api, tmp_path, below="d" * 40)("main")) == 0.70


def test_a_commit_is_not_its_own_baseline(api: GitHubApi, runs: Runs, tmp_path: Path) -> None:
    runs.add(0.70)
    runs.add(0.75)
    assert score(look(api, tmp_path, below=f"{2:040x}")("main")) == 0.70


def test_a_first_run_has_none(api: GitHubApi, tmp_path: Path) -> None:
    assert look(api, tmp_path)("main") is None


def test_a_broken_one_is_passed_over_and_said(api: GitHubApi, runs: Runs, tmp_path: Path) -> None:
    runs.add(0.70)
    runs.add(0, data=b"no archive")
    found = look(api, tmp_path)
    assert score(found("main")) == 0.70
    assert "run 2" in found.notes[0]


def test_without_the_right_it_is_an_error_and_not_a_first_run(
    api: GitHubApi, hub: GitHubDouble, tmp_path: Path
) -> None:
    hub.grant(contents="read")
    with pytest.raises(PermissionRefusedError, match="actions: read"):
        look(api, tmp_path)("main")
