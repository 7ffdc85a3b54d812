"""`mode: collect` on `workflow_run`: judge what a fork's own run measured, and say that it is the fork's word."""

from __future__ import annotations

from dataclasses import replace

from nel_action.driver.judging import find_baseline
from nel_action.errors import ExitCode, NelActionError, UsageError
from nel_action.files import write_atomically
from nel_action.gating.judge import judge
from nel_action.gating.verdict import GateReport, Verdict
from nel_action.github.check import Conclusion
from nel_action.github.context import ActionContext
from nel_action.github.fork_results import derive_pull_request, fetch_fork_results
from nel_action.github.outcome import Outcome, finished_outcome
from nel_action.github.policy_source import load_spec_from_inputs, resolve_rules
from nel_action.report.model import Link, Metadata, Report
from nel_action.report.write import write_reports

__all__ = ["judge_fork"]

CLAIM = "measured by the fork's own code, without secrets: a maintainer should confirm a pass"


def judge_fork(context: ActionContext) -> Outcome:
    """Judge the results that stage one left, by the rules of the base, and tell the pull request.

    Raises:
        NelActionError: the pull request cannot be derived; then nobody is told anything.
    """
    if context.api is None:
        msg = "the second stage has no token"
        raise UsageError(msg, hint="set the input `github-token`, with checks: write and pull-requests: write")
    if not context.event.fork:
        # NOTE: stage one skipped it, and a skipped run ends like any other; its own gate has the word.
        return Outcome(code=ExitCode.PASS, state="finished", summary="not from a fork: nothing to judge here")
    event = derive_pull_request(context.api, context.event)
    context = replace(context, event=event)
    publisher = context.publisher(event)
    publisher.open(external_id=f"fork:{event.event_run_id}", url=event.run_url, summary="Judging a fork's results.")
    try:
        report = _judged(context)
    except NelActionError as error:
        publisher.report_error(error)
        return Outcome(code=int(error.exit_code), summary=error.problems[0].message)
    passed = report.gate.verdict is Verdict.PASS
    publisher.conclude(
        report,
        ExitCode(report.gate.exit_code),
        locate=lambda _task: None,
        conclusion=Conclusion.ACTION_REQUIRED if passed else Conclusion.FAILURE,
    )
    outcome = finished_outcome(report, context.temp_dir / "fork")
    context.state.update(run_dir=str(context.temp_dir / "fork"))
    return outcome


def _judged(context: ActionContext) -> Report:
    """Judge by what the base says; the spec of this checkout is the base's own."""
    assert context.api is not None  # noqa: S101 - judge_fork saw to it
    event = context.event
    folder, results = fetch_fork_results(context.api, event, context.artifact_name, context.temp_dir / "fork")
    loaded = load_spec_from_inputs(context)
    rules = resolve_rules(context, loaded)
    ruled = loaded.spec.model_copy(update={"gate": rules.policy})
    baseline = find_baseline(ruled, folder=rules.folder, home=context.home, branch=context.branch_baselines())
    gate: GateReport = judge(results, policy=rules.policy, baseline=baseline, root=folder, expected=rules.expected)
    gate = gate.model_copy(update={"notes": (CLAIM, *gate.notes)})
    write_atomically(folder / "gate.json", (gate.model_dump_json(indent=2) + "\n").encode())
    links = (Link("the fork's run", f"{event.server_url}/{event.repository}/actions/runs/{event.event_run_id}"),)
    metadata = Metadata(run_dir=folder, pull_request=event.pull_request, links=links, executor="somebody else's")
    report = Report(results=results, gate=gate, metadata=metadata)
    write_reports(report, folder)
    return report
