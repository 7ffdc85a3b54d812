"""Mode `collect`: find checks that are still open, look once, conclude those whose jobs have ended.

Needs no disk of an earlier run and no checkout of the change: what was run stands in the check, and where it runs
is found by its keys. It submits nothing: not even the second runs that a policy's `confirm` asks for, since what a
check says is no order to run anything.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

from nel_action.errors import ExitCode, NelActionError, ResultsError, UsageError
from nel_action.github.api import GitHubApi
from nel_action.github.check import OpenCheck, find_open
from nel_action.github.context import ActionContext
from nel_action.github.errors import MissingError, PermissionRefusedError
from nel_action.github.event import EventKind, WorkflowEvent
from nel_action.github.finalize import finalize
from nel_action.github.outcome import Outcome
from nel_action.github.policy_source import parse_rules
from nel_action.github.snapshot import read_snapshot
from nel_action.github.workflow import Level
from nel_action.lifecycle.session import Session, open_session
from nel_action.lifecycle.waiting import finished, refresh
from nel_action.planning.jobs import Job
from nel_action.report.progress import job_rows

__all__ = ["candidate_commits", "collect"]

PULLS: Final = 150
"""Open pull requests that are looked at, the latest updated first."""
COMMITS: Final = 30
"""Newest commits of the default branch whose checks are looked at."""
RUNS: Final = 100
"""Newest workflow runs whose commits are looked at: they know branches without a pull request, and merge queues."""
WORST_FIRST: Final = (2, 1, 3, 130, 5, 4, 0)


def collect(context: ActionContext) -> Outcome:
    """Look at every open check of ours; return the outcome that matters most.

    Raises:
        UsageError: there is no token to look with.
        GitHubError: open checks cannot be listed.
    """
    if context.api is None:
        msg = "`mode: collect` has no token"
        raise UsageError(msg, hint="set the input `github-token`, with checks: write")
    outcomes = []
    for sha in dict.fromkeys(candidate_commits(context.api, context.event, say=context.workflow.log)):
        for check in _open_checks(context.api, context.event.repository, sha):
            with context.workflow.group(f"{check.name} on {sha[:7]}"):
                outcomes.append(_one(context, check))
    if not outcomes:
        return Outcome(code=ExitCode.PASS, state="finished", summary="no check of ours is open")
    return min(outcomes, key=lambda outcome: WORST_FIRST.index(outcome.code))


def candidate_commits(
    api: GitHubApi, event: WorkflowEvent, *, say: Callable[[str], None] = lambda _said: None
) -> Iterator[str]:
    """Name the commits whose checks could be open: one that was asked for, or of pull requests and of recent work.

    Args:
        api: whom to ask.
        event: may ask for one commit.
        say: is told what could not be looked at.
    """
    asked = event.payload.get("sha")
    if isinstance(asked, str) and asked:
        if not re.fullmatch(r"[0-9a-f]{40}", asked):
            msg = f"the dispatch asks for the commit '{asked[:60]}'"
            raise UsageError(msg, hint="`sha` is a whole commit id: 40 hex digits")
        yield asked
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
        say("commits of other branches are not looked at: the token lacks `actions: read`")
        return
    yield from (str(run["head_sha"]) for run in runs)


def _open_checks(api: GitHubApi, repository: str, sha: str) -> list[OpenCheck]:
    """Return those that know their invocation; one that has only begun belongs to a run that is still there."""
    try:
        found = find_open(api, repository, sha)
    except MissingError:
        return []
    return [check for check in found if re.fullmatch(r"[0-9a-f]{16}:[0-9a-f]{32}", check.external_id)]


def _one(context: ActionContext, check: OpenCheck) -> Outcome:
    """Look at one; trouble with it is told in it, and keeps nobody from the next."""
    invocation = check.external_id.partition(":")[0]
    event = replace(context.event, head_sha=check.head_sha, pull_request=None, base_ref=None, base_sha=None)
    into = context.temp_dir / "collected" / invocation
    try:
        facts = read_snapshot(check.external_id, check.text, into, base_dir=Path.cwd())
        event = _event(context, facts, check)
        folder = _folder(context, facts, event)
        return _look(context, check, facts, event, into, folder)
    except NelActionError as error:
        if isinstance(error, ResultsError):
            context.publisher(event, name=check.name, check_id=check.id).report_error(error)
        else:
            # NOTE: what does not answer now may answer next time; the check stays open.
            context.workflow.annotate(Level.WARNING, str(error), title=f"{check.name}: nothing could be seen")
            return Outcome(code=ExitCode.RUNNING, invocation=invocation, state="running", summary=str(error))
        return Outcome(code=int(error.exit_code), invocation=invocation, summary=error.problems[0].message)


def _event(context: ActionContext, facts: dict[str, Any], check: OpenCheck) -> WorkflowEvent:
    """Return the event that submitted, on this server and about this check's commit."""
    then = facts.get("event") or {}
    number, base = then.get("pull_request"), (then.get("base_ref"), then.get("base_sha"))
    return replace(
        context.event,
        kind=EventKind(then.get("kind", "other")),
        head_sha=check.head_sha,
        pull_request=number if isinstance(number, int) else None,
        base_ref=base[0] if isinstance(base[0], str) else None,
        base_sha=base[1] if isinstance(base[1], str) else None,
        fork=False,
    )


def _folder(context: ActionContext, facts: dict[str, Any], event: WorkflowEvent) -> Path:
    """Return the spec's folder as the base has it, for a policy that names files."""
    home = Path(str(facts.get("spec") or ".")).parent
    sha = event.base_sha or event.head_sha
    if sha is None:
        return context.root / home
    copy = context.base_files().fetch(sha, [str(home)], context.temp_dir / "base" / sha)
    return copy / home


def _look(
    context: ActionContext, check: OpenCheck, facts: dict[str, Any], event: WorkflowEvent, run_dir: Path, folder: Path
) -> Outcome:
    publisher = context.publisher(event, name=check.name, check_id=check.id)
    environ = dict(context.environ) | {"NEL_ACTION_COMMIT": check.head_sha}
    with open_session(str(run_dir), home=context.home, environ=environ) as opened:
        _must_be_submitted(opened)
        session = _without_unplaced(opened)
        views = refresh(session)
        if finished(views):
            rules = parse_rules(facts["rules"], folder)
            places = {name: (str(file), int(line)) for name, (file, line) in facts["places"].items()}
            return finalize(context, publisher, session, views, rules=rules, places=places, event=event)
    publisher.keep_state(check.text)
    publisher.show_progress(job_rows(views))
    context.workflow.log(f"invocation {session.invocation.id} still runs")
    name = session.invocation.id
    return Outcome(code=ExitCode.RUNNING, invocation=name, state="running", summary=f"invocation {name} still runs")


def _without_unplaced(session: Session) -> Session:
    """Leave out second runs that nobody submitted; without them, the first runs decide."""
    plan = session.invocation.plan
    jobs = tuple(job for job in plan.jobs if job.repeats is None or _placed(session, job))
    return replace(session, invocation=replace(session.invocation, plan=replace(plan, jobs=jobs)))


def _placed(session: Session, job: Job) -> bool:
    row = session.attempts().get(job.index)
    return row is not None and row.backend_id is not None


def _must_be_submitted(session: Session) -> None:
    """Tell of jobs that nobody submitted: who came here did so only to look."""
    jobs = [job for job in session.invocation.plan.jobs if job.repeats is None]
    missing = [job.name for job in jobs if not _placed(session, job)]
    if missing:
        msg = f"{', '.join(missing)}: never submitted, or nobody was told"
        raise ResultsError(msg, hint="run the workflow again: what was submitted is found by its key")
