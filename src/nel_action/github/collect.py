"""Mode `collect`: poll the invocations of open checks once, and conclude those whose jobs have finished.

Needs neither the disk of an earlier run nor a checkout of the change: the check contains what was run, and the jobs are
found by their keys. Nothing is submitted, not even confirmation runs, because the text of a check is untrusted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

from nel_action.driver.evaluation import follow
from nel_action.driver.events import Exported, Left, Polled, Reported
from nel_action.errors import ExitCode, NelActionError, ResultsError, UsageError
from nel_action.github.api import GitHubApi
from nel_action.github.check import OpenCheck, find_open
from nel_action.github.context import ActionContext
from nel_action.github.errors import MissingError, PermissionRefusedError
from nel_action.github.event import EventKind, WorkflowEvent
from nel_action.github.finalize import GatePublication, log_export
from nel_action.github.outcome import Outcome
from nel_action.github.policy_source import parse_rules
from nel_action.github.publish import Publisher
from nel_action.github.snapshot import read_snapshot
from nel_action.github.workflow import Level
from nel_action.lifecycle.session import JobView, Session, open_session
from nel_action.report.progress import job_rows

__all__ = ["candidate_commits", "collect"]

PULLS: Final = 150
"""Open pull requests that are searched, the latest updated first."""
COMMITS: Final = 30
"""Latest commits of the default branch that are searched."""
RUNS: Final = 100
"""Latest workflow runs whose commits are searched; they include branches without a pull request, and merge queues."""
WORST_FIRST: Final = (2, 1, 3, 130, 5, 4, 0)
"""Exit codes in the order in which one of them becomes the outcome of the step."""


def collect(context: ActionContext) -> Outcome:
    """Poll the invocations of all open checks; return the worst outcome.

    Raises:
        UsageError: there is no token.
        GitHubError: open checks cannot be listed.
    """
    if context.api is None:
        msg = "`mode: collect` has no token"
        raise UsageError(msg, hint="set the input `github-token`, with checks: write")
    outcomes = []
    for sha in dict.fromkeys(candidate_commits(context.api, context.event, log=context.workflow.log)):
        for check in _open_checks(context.api, context.event.repository, sha):
            with context.workflow.group(f"{check.name} on {sha[:7]}"):
                outcomes.append(_collect_check(context, check))
    if not outcomes:
        return Outcome(code=ExitCode.PASS, state="finished", summary="no open check")
    return min(outcomes, key=lambda outcome: WORST_FIRST.index(outcome.code))


def candidate_commits(
    api: GitHubApi, event: WorkflowEvent, *, log: Callable[[str], None] = lambda _message: None
) -> Iterator[str]:
    """Yield the commits that may have open checks: the requested one, or those of pull requests and of recent work.

    Args:
        api: GitHub.
        event: may request one commit.
        log: receives a message if some commits cannot be listed.

    Raises:
        UsageError: the requested commit is malformed.
        GitHubError: commits cannot be listed.
    """
    requested = event.payload.get("sha")
    if isinstance(requested, str) and requested:
        if not re.fullmatch(r"[0-9a-f]{40}", requested):
            msg = f"the dispatch requests an invalid commit: '{requested[:60]}'"
            raise UsageError(msg, hint="`sha` must be a complete commit ID: 40 hex digits")
        yield requested
        return
    if event.kind is EventKind.CHECK_RUN and event.head_sha:
        yield event.head_sha
        return
    pulls = api.paginate(f"/repos/{event.repository}/pulls", state="open", sort="updated", direction="desc")
    yield from (str(pull["head"]["sha"]) for pull in islice(pulls, PULLS))
    commits = api.paginate(f"/repos/{event.repository}/commits", per_page=COMMITS)
    yield from (str(commit["sha"]) for commit in islice(commits, COMMITS))
    try:
        runs = api.get(f"/repos/{event.repository}/actions/runs", per_page=RUNS)["workflow_runs"]
    except PermissionRefusedError:
        log("commits of other branches are not searched: the token lacks `actions: read`")
        return
    yield from (str(run["head_sha"]) for run in runs)


def _open_checks(api: GitHubApi, repository: str, sha: str) -> list[OpenCheck]:
    """Return the open checks that name an invocation; one that does not belongs to a run that is still starting."""
    try:
        checks = find_open(api, repository, sha)
    except MissingError:
        return []
    return [check for check in checks if re.fullmatch(r"[0-9a-f]{16}:[0-9a-f]{32}", check.external_id)]


def _collect_check(context: ActionContext, check: OpenCheck) -> Outcome:
    """Process one check; report its errors there and continue with the next."""
    invocation = check.external_id.partition(":")[0]
    event = replace(context.event, head_sha=check.head_sha, pull_request=None, base_ref=None, base_sha=None)
    run_dir = context.temp_dir / "collected" / invocation
    try:
        facts = read_snapshot(check.external_id, check.text, run_dir, base_dir=Path.cwd())
        event = _original_event(context, facts, check)
        folder = _policy_folder(context, facts, event)
        return _conclude_if_settled(context, check, facts, event, run_dir, folder)
    except NelActionError as error:
        if isinstance(error, ResultsError):
            context.publisher(event, name=check.name, check_id=check.id).report_error(error)
        else:
            # NOTE: the cause may be temporary, so the check stays open for the next call.
            context.workflow.annotate(Level.WARNING, str(error), title=f"{check.name}: the jobs could not be observed")
            return Outcome(code=ExitCode.RUNNING, invocation=invocation, state="running", summary=str(error))
        return Outcome(code=int(error.exit_code), invocation=invocation, summary=error.problems[0].message)


def _original_event(context: ActionContext, facts: dict[str, Any], check: OpenCheck) -> WorkflowEvent:
    """Return the event that submitted the invocation, with the server and the commit of the check."""
    original = facts.get("event") or {}
    number, base_ref, base_sha = (original.get(name) for name in ("pull_request", "base_ref", "base_sha"))
    return replace(
        context.event,
        kind=EventKind(original.get("kind", "other")),
        head_sha=check.head_sha,
        pull_request=number if isinstance(number, int) else None,
        base_ref=base_ref if isinstance(base_ref, str) else None,
        base_sha=base_sha if isinstance(base_sha, str) else None,
        fork=False,
    )


def _policy_folder(context: ActionContext, facts: dict[str, Any], event: WorkflowEvent) -> Path:
    """Return the spec's directory at the base commit, for a policy that names files."""
    folder = Path(str(facts.get("spec") or ".")).parent
    sha = event.base_sha or event.head_sha
    if sha is None:
        return context.root / folder
    return context.base_files().fetch(sha, [str(folder)], context.temp_dir / "base" / sha) / folder


def _conclude_if_settled(
    context: ActionContext, check: OpenCheck, facts: dict[str, Any], event: WorkflowEvent, run_dir: Path, folder: Path
) -> Outcome:
    """Poll an invocation once; publish its verdict, or its progress while jobs are active.

    Args:
        context: the call of the action.
        check: the open check.
        facts: the facts in its snapshot.
        event: the event that submitted the invocation.
        run_dir: the run directory made from the snapshot.
        folder: directory that relative paths in the policy start from.
    """
    publisher = context.publisher(event, name=check.name, check_id=check.id)
    locations = {name: (str(file), int(line)) for name, (file, line) in facts["places"].items()}
    rules = parse_rules(facts["rules"], folder)
    publication = GatePublication(context, publisher, rules=rules, locations=locations, event=event)
    environ = dict(context.environ) | {"NEL_ACTION_COMMIT": check.head_sha}
    outcome = Outcome()
    with open_session(str(run_dir), home=context.home, environ=environ) as session:
        around = publication.surroundings(environ, session.invocation.plan.spec, may_submit=False, once=True)
        views: Sequence[JobView] = ()
        for driver_event in follow(session, around):
            match driver_event:
                case Polled(observed):
                    views = observed
                case Reported(report):
                    outcome = publication.publish(report, session, views)
                case Exported():
                    log_export(context, driver_event)
                case Left():
                    outcome = _still_running(context, publisher, check, session, views)
                case _:
                    pass
    return outcome


def _still_running(
    context: ActionContext, publisher: Publisher, check: OpenCheck, session: Session, views: Sequence[JobView]
) -> Outcome:
    publisher.keep_state(check.text)
    publisher.show_progress(job_rows(views))
    message = f"invocation {session.invocation.id} is still running"
    context.workflow.log(message)
    return Outcome(code=ExitCode.RUNNING, invocation=session.invocation.id, state="running", summary=message)
