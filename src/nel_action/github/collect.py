"""Mode `collect`: poll the invocations of open checks once, and conclude those whose jobs have finished.

Needs neither the disk of an earlier run nor a checkout of the change: the check contains what was run, and the jobs are
found by their keys. Nothing is submitted, not even confirmation runs, because the text of a check is untrusted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, Final

from nel_action.driver.evaluation import follow
from nel_action.driver.events import Exported, Left, Polled, Reported
from nel_action.driver.surroundings import Rules
from nel_action.errors import ExitCode, NelActionError, ResultsError, UsageError
from nel_action.github.api import GitHubApi
from nel_action.github.bases import find_bases
from nel_action.github.check import OpenCheck, find_open
from nel_action.github.context import ActionContext
from nel_action.github.errors import MissingError, PermissionRefusedError
from nel_action.github.event import EventKind, WorkflowEvent
from nel_action.github.finalize import GatePublication, PolicyLocations, log_export
from nel_action.github.outcome import Outcome
from nel_action.github.policy_source import combine, new_bases, parse_rules, with_baseline_files
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
        rules, locations = _parse_facts(context, facts, event)
        return _conclude_if_settled(context, check, rules, locations, event, run_dir)
    except NelActionError as error:
        if isinstance(error, ResultsError):
            _publisher(context, event, check).report_error(error)
        else:
            # NOTE: the cause may be temporary, so the check stays open for the next call.
            context.workflow.annotate(Level.WARNING, str(error), title=f"{check.name}: the jobs could not be observed")
            return Outcome(code=ExitCode.RUNNING, invocation=invocation, state="running", summary=str(error))
        return Outcome(code=int(error.exit_code), invocation=invocation, summary=error.problems[0].message)


def _original_event(context: ActionContext, facts: dict[str, Any], check: OpenCheck) -> WorkflowEvent:
    """Return the event that submitted the invocation, with the server and the commit of the check."""
    original = facts.get("event") or {}
    names = ("pull_request", "base_ref", "base_sha", "ref")
    number, base_ref, base_sha, ref = (original.get(name) for name in names)
    kind = original.get("kind")
    return replace(
        context.event,
        kind=EventKind(kind) if kind in set(EventKind) else EventKind.OTHER,
        head_sha=check.head_sha,
        pull_request=number if isinstance(number, int) else None,
        base_ref=base_ref if isinstance(base_ref, str) else None,
        base_sha=base_sha if isinstance(base_sha, str) else None,
        ref=ref if isinstance(ref, str) else None,
        fork=False,
    )


def _parse_facts(
    context: ActionContext, facts: dict[str, Any], event: WorkflowEvent
) -> tuple[Rules, dict[str, tuple[str, int]]]:
    """Return the rules, with the files of each base that they name, and the source positions of the tasks.

    Raises:
        ResultsError: the state was written by another version, or is malformed.
        NelActionError: the tree of a base cannot be read.
    """
    spec = PurePosixPath(str(facts.get("spec") or "."))

    def folder(rules: Rules) -> Path:
        return context.temp_dir / "base" / str(rules.base_sha or event.head_sha) / spec.parent

    try:
        rules = parse_rules(facts["rules"], folder)
        locations = {str(name): (str(file), int(line)) for name, (file, line) in facts["places"].items()}
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        msg = f"the check's state was written by another version of nel-action, or is malformed: {error}"
        raise ResultsError(msg, hint="run the workflow again; it finds the submitted jobs by their keys") from error
    return combine([_with_files(context, each, event) for each in rules.all]), locations


def _with_files(context: ActionContext, rules: Rules, event: WorkflowEvent) -> Rules:
    sha = rules.base_sha or event.head_sha
    if sha is None or rules.policy is None or rules.policy.baseline is None:
        return rules
    tree = context.base_files().open(sha)
    return with_baseline_files(rules, tree, context.temp_dir / "base" / sha, context.root)


def _update_rules(context: ActionContext, event: WorkflowEvent, rules: Rules) -> Rules:
    """Return the rules, unmeasurable if the commit has a base that the submission did not know."""
    bases = find_bases(context.api, event, context.base_files())
    problems = [bases.problem] if bases.problem else []
    problems += [
        f"since the jobs were submitted, the commit has become the head of a pull request into {base.name}; run the "
        "gate again, it reuses the results"
        for base in new_bases(bases, rules)
    ]
    blocked = [replace(rules, policy=None, unmeasurable=problem) for problem in problems]
    return combine([*rules.all, *blocked])


def _conclude_if_settled(
    context: ActionContext,
    check: OpenCheck,
    rules: Rules,
    locations: PolicyLocations,
    event: WorkflowEvent,
    run_dir: Path,
) -> Outcome:
    """Poll an invocation once; publish its verdict, or its progress while jobs are active.

    Args:
        context: the call of the action.
        check: the open check.
        rules: those at submission.
        locations: source positions of the tasks.
        event: the event that submitted the invocation.
        run_dir: the run directory made from the snapshot.
    """
    publisher = _publisher(context, event, check)
    publication = GatePublication(context, publisher, rules=rules, locations=locations, event=event)
    environ = context.job_environ | {"NEL_ACTION_COMMIT": check.head_sha}
    outcome = Outcome()
    with open_session(str(run_dir), home=context.home, environ=environ) as session:
        around = publication.surroundings(
            environ,
            session.invocation.plan.spec,
            may_submit=False,
            once=True,
            update_rules=partial(_update_rules, context, event),
        )
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


def _publisher(context: ActionContext, event: WorkflowEvent, check: OpenCheck) -> Publisher:
    return context.publisher(event, name=check.name, check_id=check.id, identity=check.identity)


def _still_running(
    context: ActionContext, publisher: Publisher, check: OpenCheck, session: Session, views: Sequence[JobView]
) -> Outcome:
    publisher.keep_state(check.text)
    publisher.show_progress(job_rows(views))
    message = f"invocation {session.invocation.id} is still running"
    context.workflow.log(message)
    return Outcome(code=ExitCode.RUNNING, invocation=session.invocation.id, state="running", summary=message)
