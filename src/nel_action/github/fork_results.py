"""The second of two stages for pull requests from forks: it has rights, so it believes nothing.

Stage one runs the fork's code without secrets and leaves results. This stage takes the pull request from the
API and not from them, checks what it downloads by size and schema, judges and renders by itself, and never
checks the head out. Results that a fork's own code measured can be made up, so they can fail a gate but not pass
it alone: a pass asks a maintainer to confirm.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from nel_action.errors import NotFoundError, ResultsError, UsageError
from nel_action.github.api import GitHubApi
from nel_action.github.artifacts import Artifact, download_results, list_artifacts
from nel_action.github.event import WorkflowEvent, parse_pull_request
from nel_action.model.results import Results, read_results

__all__ = ["derive_pull_request", "fetch_fork_results"]

RESULTS_LIMIT: Final = 5 * 1024 * 1024
"""Bytes of `results.json`."""
TASKS_LIMIT: Final = 500


def derive_pull_request(api: GitHubApi, event: WorkflowEvent) -> WorkflowEvent:
    """Find the one open pull request whose head is the commit that the finished run was about.

    Raises:
        NotFoundError: there is none, it has moved on, or there are several.
        GitHubError: GitHub cannot be asked.
    """
    if not event.head_repository or not event.head_ref or not event.head_sha:
        msg = "the finished run names no head repository; its fork may be gone"
        raise NotFoundError(msg)
    owner = event.head_repository.partition("/")[0]
    listed = api.paginate(f"/repos/{event.repository}/pulls", state="open", head=f"{owner}:{event.head_ref}")
    found = [facts for pull in listed if (facts := _same_head(pull, event))]
    if len(found) != 1:
        many = f"{len(found)} open pull requests have" if found else "no open pull request has"
        msg = f"{many} the head {event.head_sha[:7]} of {event.head_repository}"
        raise NotFoundError(msg, hint=None if found else "it may have moved on; its newest commit has a run of its own")
    return replace(event, **found[0])


def _same_head(pull: dict[str, Any], event: WorkflowEvent) -> dict[str, Any] | None:
    facts = parse_pull_request(pull, event.repository)
    same = facts["head_sha"] == event.head_sha and facts["head_repository"] == event.head_repository
    return facts if same else None


def fetch_fork_results(api: GitHubApi, event: WorkflowEvent, name: str, into: Path) -> tuple[Path, Results]:
    """Download what stage one left, and check it.

    Returns:
        The folder and the results in it: well formed, about this commit, and otherwise somebody's claim.

    Raises:
        UsageError: this event tells of no finished run.
        NotFoundError: stage one left nothing.
        ResultsError: what it left is too large, malformed or about another commit.
    """
    if event.event_run_id is None:
        msg = "this event tells of no finished run"
        raise UsageError(msg, hint="the second stage is started by `workflow_run`; see workflows/fork-gate.yml")
    artifact = _newest(api, event, name, event.event_run_id)
    folder = download_results(api, event.repository, artifact, into)
    size = (folder / "results.json").stat().st_size
    if size > RESULTS_LIMIT:
        msg = f"the fork's results.json has {size} bytes; more than {RESULTS_LIMIT} are not read"
        raise ResultsError(msg)
    results = read_results(folder / "results.json")
    if len(results.tasks) > TASKS_LIMIT:
        msg = f"the fork's results name {len(results.tasks)} tasks; more than {TASKS_LIMIT} are not read"
        raise ResultsError(msg)
    if results.commit != event.head_sha:
        about = results.commit[:7] if results.commit else "no commit"
        msg = f"the fork's results are about {about}, not {(event.head_sha or '')[:7]}"
        raise ResultsError(msg)
    return folder, results


def _newest(api: GitHubApi, event: WorkflowEvent, name: str, run_id: int) -> Artifact:
    found = list(list_artifacts(api, event.repository, name, run_id=run_id))
    if not found:
        msg = f"run {run_id} left no artifact called {name}"
        raise NotFoundError(msg, hint="stage one uploads it; are `check-name` and so the names the same in both?")
    return max(found, key=lambda one: one.id)
