"""`mode: collect` on `workflow_run`: the second stage for pull requests from forks.

The first stage runs the fork's code without secrets and uploads the results. The second stage has write access, so it
trusts none of that data: the pull request is looked up through the API, the results are validated by size and schema,
the policy is that of the base, and the head is never checked out. Results measured by the fork's own code can be
forged; they can fail the gate, but a pass must be confirmed by a maintainer.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from nel_action.driver.events import Exported, Reported
from nel_action.driver.judging import judge
from nel_action.driver.surroundings import Rules, Surroundings
from nel_action.errors import ExitCode, NelActionError, NotFoundError, ResultsError, UsageError
from nel_action.formatting import file_size
from nel_action.gating.verdict import Verdict
from nel_action.github.api import GitHubApi
from nel_action.github.artifacts import Artifact, download_results, list_artifacts
from nel_action.github.check import Conclusion
from nel_action.github.context import ActionContext
from nel_action.github.event import WorkflowEvent, parse_pull_request
from nel_action.github.finalize import log_export
from nel_action.github.outcome import Outcome, finished_outcome
from nel_action.github.policy_source import combine, load_spec_from_inputs, resolve_rules
from nel_action.github.publish import Publisher, redact_report
from nel_action.model.results import Results, read_results
from nel_action.model.run_files import RunFiles
from nel_action.planning.fingerprint import IMAGE_DIGEST, matches, task_fingerprint
from nel_action.report.model import Link, Report
from nel_action.spec.model import Spec

__all__ = ["benchmark_differences", "derive_pull_request", "fetch_fork_results", "judge_fork"]

CLAIM: Final = "measured by the fork's own code, without secrets: a maintainer should confirm a pass"
"""Note in every verdict about a fork's results."""
RESULTS_LIMIT: Final = 5 * 1024 * 1024
"""Bytes of `results.json`."""
TASKS_LIMIT: Final = 500

logger = logging.getLogger(__name__)


def judge_fork(context: ActionContext) -> Outcome:
    """Judge the results of the first stage by the rules of the base, and publish the verdict on the pull request.

    Raises:
        UsageError: there is no token.
        NelActionError: the pull request cannot be derived; nothing is published then.
    """
    api = context.api
    if api is None:
        msg = "the second stage has no token"
        raise UsageError(msg, hint="set the input `github-token`, with checks: write and pull-requests: write")
    if not context.event.fork:
        # NOTE: the first stage was skipped, which also triggers `workflow_run`; the pull request has a gate of its own.
        return Outcome(code=ExitCode.PASS, state="finished", summary="not from a fork: nothing to judge here")
    event = derive_pull_request(api, context.event)
    context = replace(context, event=event)
    publisher = context.publisher(event)
    publisher.open(external_id=f"fork:{event.event_run_id}", url=event.run_url, summary="Judging a fork's results.")
    try:
        root, results = fetch_fork_results(api, event, context.artifact_name, context.temp_dir / "fork")
        return _judge(context, publisher, results, root)
    except NelActionError as error:
        publisher.report_error(error)
        return Outcome(code=int(error.exit_code), summary=error.problems[0].message)


def _judge(context: ActionContext, publisher: Publisher, results: Results, root: Path) -> Outcome:
    """Judge, publish and export; the spec in this checkout is that of the base."""
    event = context.event
    link = Link("the fork's run", f"{event.server_url}/{event.repository}/actions/runs/{event.event_run_id}")

    def complete(report: Report) -> Report:
        metadata = replace(
            report.metadata,
            title=publisher.title,
            blocks=True,
            claimed_by="the fork",
            pull_request=event.pull_request,
            links=(link,),
            executor="the fork's own workflow",
        )
        return redact_report(replace(report, metadata=metadata), context.redact)

    loaded = load_spec_from_inputs(context)
    rules = resolve_rules(context, loaded)
    changes = list(benchmark_differences(results, loaded.spec, loaded.base_dir))
    branches = context.branch_baselines()
    around = Surroundings(
        home=context.home,
        environ=context.job_environ,
        rules=combine([_for_fork(each, changes) for each in rules.all]),
        branches=branches,
        artifacts=branches,
        complete=complete,
        exports=tuple(context.inputs.exporters or ()),
    )
    outcome = Outcome()
    for driver_event in judge(results, root, around):
        match driver_event:
            case Reported(report):
                outcome = _publish(context, publisher, report, root)
            case Exported():
                log_export(context, driver_event)
            case _:
                pass
    return outcome


def _for_fork(rules: Rules, changes: Sequence[tuple[str, str]]) -> Rules:
    """Return rules by which a benchmark that is not that of the base is unmeasurable, unless the policy allows it."""
    allowed = rules.policy.allow if rules.policy else ()
    blocked = [
        (task, f"the fork measured another benchmark: {path} differs from that of the base")
        for task, path in changes
        if not matches(path.partition(":")[0], allowed)
    ]
    return replace(rules, notes=(CLAIM, *rules.notes), blocked=(*rules.blocked, *blocked))


def benchmark_differences(results: Results, spec: Spec, base_dir: Path) -> Iterator[tuple[str, str]]:
    """Yield task and key of everything in which a fork's benchmarks differ from those of the base.

    Args:
        results: the results of the fork, which state the fingerprint of what was measured.
        spec: the spec of the base.
        base_dir: directory that its paths start from.
    """
    indexes = {task.name: index for index, task in reversed(list(enumerate(spec.evaluation.tasks)))}
    for result in results.tasks:
        if result.task not in indexes:
            continue
        expected = task_fingerprint(spec, indexes[result.task], base_dir)
        stated = result.fingerprint or {}
        # NOTE: the digest of an image is known only where it was run.
        names = {name for name in {*expected, *stated} if expected.get(name) != stated.get(name)} - {IMAGE_DIGEST}
        for name in sorted(names) if stated else ["its fingerprint"]:
            yield result.task, name.replace("evaluation.tasks.*", f"evaluation.tasks.{result.task}", 1)


def _publish(context: ActionContext, publisher: Publisher, report: Report, root: Path) -> Outcome:
    passed = report.gate.verdict is Verdict.PASS
    publisher.conclude(
        report,
        ExitCode(report.gate.exit_code),
        locate=lambda _task: None,
        conclusion=Conclusion.ACTION_REQUIRED if passed else Conclusion.FAILURE,
    )
    context.state.update(run_dir=str(root))
    outcome = finished_outcome(report, root)
    if not passed:
        return outcome
    # NOTE: the results of a fork are unconfirmed, so no output calls them a pass.
    summary = "a pass is claimed by the fork; a maintainer should confirm it"
    return replace(outcome, code=int(ExitCode.UNMEASURABLE), verdict=Verdict.UNMEASURABLE.value, summary=summary)


def derive_pull_request(api: GitHubApi, event: WorkflowEvent) -> WorkflowEvent:
    """Return the event with the open pull request whose head is the commit of the completed run.

    Args:
        api: client.
        event: a `workflow_run` event.

    Raises:
        NotFoundError: there is no such pull request, or several.
        GitHubError: pull requests cannot be listed.
    """
    if not event.head_repository or not event.head_ref or not event.head_sha:
        msg = "the completed run has no head repository; the fork may have been deleted"
        raise NotFoundError(msg)
    owner = event.head_repository.partition("/")[0]
    listing = api.paginate(f"/repos/{event.repository}/pulls", state="open", head=f"{owner}:{event.head_ref}")
    pulls = [fields for pull in listing if (fields := _match_head(pull, event))]
    _require_no_own_pull_request(api, event)
    if len(pulls) != 1:
        subject = f"{len(pulls)} open pull requests have" if pulls else "no open pull request has"
        msg = f"{subject} the head {event.head_sha[:7]} of {event.head_repository}"
        hint = None if pulls else "it may have moved on; its latest commit has a run of its own"
        raise NotFoundError(msg, hint=hint)
    logger.info("pull request %s has the head %s", pulls[0]["pull_request"], event.head_sha)
    return replace(event, **pulls[0])


def _require_no_own_pull_request(api: GitHubApi, event: WorkflowEvent) -> None:
    """Return unless the commit is also the head of a pull request from this repository, which has a gate of its own.

    Anybody can push a commit of this repository to a fork, and claim any results for it.

    Raises:
        NotFoundError: it is.
        GitHubError: pull requests cannot be listed.
    """
    for pull in api.paginate(f"/repos/{event.repository}/pulls", state="open"):
        fields = parse_pull_request(pull, event.repository)
        if fields["head_sha"] == event.head_sha and not fields["fork"]:
            msg = f"commit {event.head_short} is also the head of pull request {fields['pull_request']}, which decides"
            raise NotFoundError(msg)


def _match_head(pull: dict[str, Any], event: WorkflowEvent) -> dict[str, Any] | None:
    """Return the fields of a pull request if it has the head of the completed run."""
    fields = parse_pull_request(pull, event.repository)
    same = fields["head_sha"] == event.head_sha and fields["head_repository"] == event.head_repository
    return fields if same else None


def fetch_fork_results(api: GitHubApi, event: WorkflowEvent, name: str, into: Path) -> tuple[Path, Results]:
    """Download the results of the first stage and validate them.

    Args:
        api: client.
        event: a `workflow_run` event.
        name: of the artifact.
        into: directory that receives the files.

    Returns:
        The directory, and the results: well formed and about this commit, but otherwise untrusted.

    Raises:
        UsageError: the event names no completed run.
        NotFoundError: the first stage uploaded no artifact of this name.
        ResultsError: the results are too large, malformed or about another commit.
    """
    if event.event_run_id is None:
        msg = "this event names no completed run"
        raise UsageError(msg, hint="trigger the second stage by `workflow_run`; see workflows/fork-gate.yml")
    artifact = _latest_artifact(api, event, name, event.event_run_id)
    folder = download_results(api, event.repository, artifact, into)
    path = RunFiles(folder).results
    size = path.stat().st_size
    if size > RESULTS_LIMIT:
        msg = f"the fork's results.json is too large: {file_size(size)}, more than {file_size(RESULTS_LIMIT)}"
        raise ResultsError(msg)
    results = read_results(path)
    if len(results.tasks) > TASKS_LIMIT:
        msg = f"the fork's results have too many tasks: {len(results.tasks)} tasks, more than {TASKS_LIMIT}"
        raise ResultsError(msg)
    if results.commit != event.head_sha:
        commit = results.commit[:7] if results.commit else "no commit"
        msg = f"the fork's results are about {commit}, not {(event.head_sha or '')[:7]}"
        raise ResultsError(msg)
    return folder, results


def _latest_artifact(api: GitHubApi, event: WorkflowEvent, name: str, run_id: int) -> Artifact:
    artifacts = list(list_artifacts(api, event.repository, name, run_id=run_id))
    if not artifacts:
        msg = f"run {run_id} has no artifact named {name}"
        raise NotFoundError(msg, hint="the first stage uploads it; set the same `check-name` in both workflows")
    return max(artifacts, key=lambda artifact: artifact.id)
