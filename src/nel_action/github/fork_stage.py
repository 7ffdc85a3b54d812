"""`mode: collect` on `workflow_run`: judge the results that a fork's own run measured, as an unconfirmed claim."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

from nel_action.driver.events import Exported, Reported
from nel_action.driver.judging import judge
from nel_action.driver.surroundings import Surroundings
from nel_action.errors import ExitCode, NelActionError, UsageError
from nel_action.gating.verdict import Verdict
from nel_action.github.check import Conclusion
from nel_action.github.context import ActionContext
from nel_action.github.finalize import log_export
from nel_action.github.fork_results import derive_pull_request, fetch_fork_results
from nel_action.github.outcome import Outcome, finished_outcome
from nel_action.github.policy_source import load_spec_from_inputs, resolve_rules
from nel_action.github.publish import Publisher, redact_report
from nel_action.model.results import Results
from nel_action.report.model import Link, Report

__all__ = ["judge_fork"]

_CLAIM: Final = "measured by the fork's own code, without secrets: a maintainer should confirm a pass"


def judge_fork(context: ActionContext) -> Outcome:
    """Judge the results of stage one by the rules of the base, and publish the verdict on the pull request.

    Raises:
        UsageError: there is no token.
        NelActionError: the pull request cannot be derived; nothing is published then.
    """
    api = context.api
    if api is None:
        msg = "the second stage has no token"
        raise UsageError(msg, hint="set the input `github-token`, with checks: write and pull-requests: write")
    if not context.event.fork:
        # NOTE: stage one was skipped, which also triggers `workflow_run`; the pull request has a gate of its own.
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
            report.metadata, pull_request=event.pull_request, links=(link,), executor="the fork's own workflow"
        )
        return redact_report(replace(report, metadata=metadata), context.redact)

    rules = resolve_rules(context, load_spec_from_inputs(context))
    around = Surroundings(
        home=context.home,
        environ=context.environ,
        rules=replace(rules, notes=(_CLAIM, *rules.notes)),
        branches=context.branch_baselines(),
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


def _publish(context: ActionContext, publisher: Publisher, report: Report, root: Path) -> Outcome:
    passed = report.gate.verdict is Verdict.PASS
    publisher.conclude(
        report,
        ExitCode(report.gate.exit_code),
        locate=lambda _task: None,
        conclusion=Conclusion.ACTION_REQUIRED if passed else Conclusion.FAILURE,
    )
    context.state.update(run_dir=str(root))
    return finished_outcome(report, root)
