"""The second stage for forks: lookup of the pull request, and validation of untrusted results."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.doubles.github.server import GitHubDouble
from tests.github.test_artifacts import zipped
from tests.support.gate_reports import archive_of, make_report, make_results

from nel_action.errors import NotFoundError, ResultsError, UsageError
from nel_action.github import fork_results as fork_results_module
from nel_action.github.api import GitHubApi
from nel_action.github.event import EventKind, WorkflowEvent
from nel_action.github.fork_results import benchmark_differences, derive_pull_request, fetch_fork_results
from nel_action.planning.fingerprint import task_fingerprint
from nel_action.spec.model import Spec

HEAD, BASE = "c" * 40, "b" * 40
FORK = "mallory/Hello-World"
EVENT = WorkflowEvent(
    kind=EventKind.WORKFLOW_RUN,
    repository="Codertocat/Hello-World",
    head_sha=HEAD,
    head_ref="change",
    head_repository=FORK,
    fork=True,
    event_run_id=42,
    payload={},
)


def test_pull_request_is_derived_from_api(api: GitHubApi, hub: GitHubDouble) -> None:
    hub.store.add_pull(6, head="d" * 40, base=BASE, head_repository=FORK)
    hub.store.add_pull(7, head=HEAD, base=BASE, head_repository=FORK)
    hub.store.add_pull(8, head=HEAD, base=BASE, head_repository="eve/Hello-World")
    hub.store.add_pull(9, head=HEAD, base=BASE, head_repository=FORK, state="closed")
    event = derive_pull_request(api, EVENT)
    assert (event.pull_request, event.base_sha, event.base_ref, event.fork) == (7, BASE, "main", True)


def test_outdated_head_has_no_pull_request(api: GitHubApi, hub: GitHubDouble) -> None:
    hub.store.add_pull(7, head="d" * 40, base=BASE, head_repository=FORK)
    with pytest.raises(NotFoundError, match="moved on"):
        derive_pull_request(api, EVENT)


def test_ambiguous_pull_request_is_refused(api: GitHubApi, hub: GitHubDouble) -> None:
    for number in (7, 8):
        hub.store.add_pull(number, head=HEAD, base=BASE, head_repository=FORK)
    with pytest.raises(NotFoundError, match="2 open pull requests"):
        derive_pull_request(api, EVENT)


def test_deleted_fork_has_no_pull_request(api: GitHubApi) -> None:
    with pytest.raises(NotFoundError, match="deleted"):
        derive_pull_request(api, replace(EVENT, head_repository=None))


def test_results_about_this_commit_are_returned(api: GitHubApi, hub: GitHubDouble, tmp_path: Path) -> None:
    results = make_results(commit=HEAD)
    hub.store.add_artifact(42, "gate", archive_of(make_report(results=results), tmp_path / "made"))
    _, fetched = fetch_fork_results(api, EVENT, "gate", tmp_path / "got")
    assert fetched == results


@pytest.mark.parametrize(
    ("results", "message"),
    [
        (make_results(commit="d" * 40).model_dump(mode="json"), "ddddddd"),
        (make_results(commit=None).model_dump(mode="json"), "no commit"),
        ({"schema_version": "1.0", "invocation": 5}, "not a results file"),
        (make_results(commit=HEAD).model_dump(mode="json") | {"pr": 1}, "not a results file"),
        ([], "schema version"),
    ],
)
def test_malformed_results_or_results_of_another_commit_are_refused(
    api: GitHubApi, hub: GitHubDouble, tmp_path: Path, results: object, message: str
) -> None:
    hub.store.add_artifact(42, "gate", zipped(**{"results.json": json.dumps(results).encode()}))
    with pytest.raises(ResultsError, match=message):
        fetch_fork_results(api, EVENT, "gate", tmp_path)


def test_nan_score_is_refused(api: GitHubApi, hub: GitHubDouble, tmp_path: Path) -> None:
    text = make_results(commit=HEAD).model_dump_json().replace("0.8", "NaN")
    hub.store.add_artifact(42, "gate", zipped(**{"results.json": text.encode()}))
    with pytest.raises(ResultsError):
        fetch_fork_results(api, EVENT, "gate", tmp_path)


def test_large_results_are_refused(
    api: GitHubApi, hub: GitHubDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fork_results_module, "RESULTS_LIMIT", 100)
    hub.store.add_artifact(42, "gate", archive_of(make_report(), tmp_path / "made"))
    with pytest.raises(ResultsError, match="more than 100 B"):
        fetch_fork_results(api, EVENT, "gate", tmp_path / "got")


def test_results_with_too_many_tasks_are_refused(api: GitHubApi, hub: GitHubDouble, tmp_path: Path) -> None:
    results = make_results(commit=HEAD, tasks=tuple(f"t{number}" for number in range(501)))
    hub.store.add_artifact(42, "gate", archive_of(make_report(results=results), tmp_path / "made"))
    with pytest.raises(ResultsError, match="501 tasks"):
        fetch_fork_results(api, EVENT, "gate", tmp_path / "got")


def test_missing_artifact_and_wrong_event_are_reported(api: GitHubApi, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no artifact named gate"):
        fetch_fork_results(api, EVENT, "gate", tmp_path)
    with pytest.raises(UsageError, match="workflow_run"):
        fetch_fork_results(api, replace(EVENT, event_run_id=None), "gate", tmp_path)


SPEC = {"evaluation": {"tasks": [{"name": "gsm8k", "harness": "command", "command": ["x"], "task_dir": "own"}]}}


@pytest.fixture
def base(tmp_path: Path) -> tuple[Spec, Path]:
    """Return the spec of the base and its directory."""
    (tmp_path / "own").mkdir()
    (tmp_path / "own/score.py").write_text("print(0.3)\n")
    return Spec.model_validate_json(json.dumps(SPEC)), tmp_path


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, []),
        ({"evaluation.tasks.*.container:digest": "sha256:1"}, []),
        ({"evaluation.tasks.*.task_dir:score.py": "other"}, ["evaluation.tasks.gsm8k.task_dir:score.py"]),
        ({"evaluation.tasks.*.params.limit_samples": "10"}, ["evaluation.tasks.gsm8k.params.limit_samples"]),
        ({"env_vars.X": "lit:1"}, ["env_vars.X"]),
        ({"version": "2"}, ["version"]),
        (None, ["its fingerprint"]),
    ],
)
def test_benchmark_of_the_fork_is_compared_with_that_of_the_base(
    base: tuple[Spec, Path], change: dict[str, str] | None, expected: list[str]
) -> None:
    spec, folder = base
    fingerprint = None if change is None else task_fingerprint(spec, 0, folder) | change
    results = make_results()
    task = results.tasks[0].model_copy(update={"fingerprint": fingerprint})
    other = task.model_copy(update={"task": "another", "fingerprint": None})
    results = results.model_copy(update={"tasks": (task, other)})
    assert list(benchmark_differences(results, spec, folder)) == [("gsm8k", path) for path in expected]
