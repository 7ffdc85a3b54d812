"""From finished jobs to an answer: judge, remember, tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from nel_action.driver.judging import Rules, conclude
from nel_action.errors import ExitCode, Location, NelActionError
from nel_action.gating.trend import TrendVerdict
from nel_action.gating.verdict import Verdict
from nel_action.github.check import Conclusion
from nel_action.github.context import ActionContext
from nel_action.github.errors import describe_write_error
from nel_action.github.event import WorkflowEvent
from nel_action.github.history import (
    DataBranch,
    History,
    ScheduledRun,
    confirmed_regressions,
    scheduled_run,
    trend_points,
)
from nel_action.github.outcome import Outcome, finished_outcome
from nel_action.github.publish import Publisher, redact_report
from nel_action.github.rendering import render_trend, trend_units
from nel_action.github.sticky import StickyIssue, token_login
from nel_action.github.workflow import Level
from nel_action.lifecycle.session import JobView, Session
from nel_action.report import escape
from nel_action.report.markdown import render_markdown
from nel_action.report.model import Link, Report
from nel_action.report.write import write_reports

if TYPE_CHECKING:
    from nel_action.spec.compose import LoadedSpec

__all__ = ["PolicyLocations", "finalize", "policy_locations"]

PolicyLocations = Mapping[str, tuple[str, int]]
"""Task → file and line of its policy."""


def policy_locations(context: ActionContext, loaded: LoadedSpec) -> dict[str, tuple[str, int]]:
    """Find the line of each task's policy, for annotations here and in a later process."""
    places = {}
    gate = loaded.spec.gate
    for index, task in enumerate(loaded.spec.evaluation.tasks):
        short = task.name.rsplit(".", maxsplit=1)[-1]
        named = next((name for name in (task.name, short) if gate and name in gate.tasks), None)
        found = loaded.locate(("gate", "tasks", named) if named else ("evaluation", "tasks", index, "name"))
        places[task.name] = (str(context.repository_path(found.file)), found.line or 1)
    return places


def finalize(
    context: ActionContext,
    publisher: Publisher,
    session: Session,
    views: list[JobView],
    *,
    rules: Rules,
    places: PolicyLocations,
    event: WorkflowEvent | None = None,
) -> Outcome:
    """Judge an invocation whose jobs have ended, and tell everybody.

    The verdict is on disk before anybody is told; nobody who cannot be told changes it.
    """
    event = event or context.event
    branches = context.branch_baselines(event)
    report = conclude(session, views, branch=branches, rules=rules)
    for note in branches.notes if branches else ():
        context.workflow.annotate(Level.WARNING, note)
    nights = _remember(context, report, event, rules)
    shown = nights or _nights_before(context, event)
    report = redact_report(_with_facts(report, event, shown), context.redact)
    write_reports(report, session.invocation.run_dir)
    outcome = finished_outcome(report, session.invocation.run_dir)
    context.state.update(outcome=outcome, run_dir=str(session.invocation.run_dir))
    _log_failures(context, session, views)
    code = ExitCode(report.gate.exit_code)
    publisher.conclude(
        report,
        code,
        locate=lambda task: Location(Path(places[task][0]), places[task][1]) if task in places else None,
        appendix=render_trend(report.metadata.trend, units=trend_units(report)),
        conclusion=_stricter(context, code, report.gate.verdict),
    )
    _keep_issue(context, report, nights, event, rules)
    return outcome


def _stricter(context: ActionContext, code: ExitCode, verdict: Verdict) -> Conclusion | None:
    """Return a failure where the workflow asks for one although the policy does not."""
    lenient = code in {ExitCode.PASS, ExitCode.INCONCLUSIVE}
    return Conclusion.FAILURE if lenient and context.inputs.should_fail(code, verdict) else None


def _with_facts(report: Report, event: WorkflowEvent, nights: list[ScheduledRun]) -> Report:
    links = (*report.metadata.links, Link("workflow run and artifacts", event.run_url))
    trend = trend_points(nights) or report.metadata.trend
    metadata = replace(report.metadata, pull_request=event.pull_request, links=links, trend=trend)
    return replace(report, metadata=metadata)


def _log_failures(context: ActionContext, session: Session, views: list[JobView]) -> None:
    """Show the end of the log of each job that failed, folded; nothing in it is a command."""
    for view in views:
        logs = session.invocation.job_dir(view.job) / "logs"
        if view.state.value != "failed" or not logs.is_dir():
            continue
        newest = max(
            (path for path in logs.iterdir() if path.is_file()), key=lambda path: path.stat().st_size, default=None
        )
        if newest is None:
            continue
        lines = newest.read_text(errors="replace").splitlines()[-200:]
        redact = context.redactor()
        with context.workflow.group(f"the end of the log of {view.job.name}"):
            context.workflow.print_untrusted(redact(line) for line in lines)


def _remember(context: ActionContext, report: Report, event: WorkflowEvent, rules: Rules) -> list[ScheduledRun]:
    """Add this run to the history; a pull request is no night."""
    branch = context.inputs.history_branch
    if not branch or not context.api or not context.can_write or event.pull_request is not None:
        return []
    history = History(DataBranch(context.api, event.repository, branch), context.artifact_name)
    try:
        reference = rules.policy.baseline if rules.policy else None
        fixed = bool(reference) and (rules.folder / str(reference)).exists()
        return history.add(scheduled_run(report.results, report.gate, rules.policy, fixed=fixed))
    except NelActionError as error:
        context.workflow.annotate(Level.WARNING, describe_write_error(error), title="The history could not be written")
        return []


def _nights_before(context: ActionContext, event: WorkflowEvent) -> list[ScheduledRun]:
    """Read the nights that a pull request's scores stand beside; without them its report has no trend, that is all."""
    branch = context.inputs.history_branch
    if not branch or not context.api or event.pull_request is None:
        return []
    try:
        return History(DataBranch(context.api, event.repository, branch), context.artifact_name).read()
    except NelActionError as error:
        context.workflow.annotate(Level.WARNING, error.problems[0].message, title="The history could not be read")
        return []


def _keep_issue(
    context: ActionContext, report: Report, nights: list[ScheduledRun], event: WorkflowEvent, rules: Rules
) -> None:
    """Open, update or close the one issue of a nightly gate."""
    if not nights or not context.api:
        return
    author = token_login(context.api, event.graphql_url)
    issue = StickyIssue(context.api, event.repository, key=context.inputs.check_name, author=author)
    fallen = confirmed_regressions(nights, confidence=rules.policy.confidence if rules.policy else 0.95)
    try:
        if fallen:
            title = f"{context.inputs.check_name}: {', '.join(dict.fromkeys(one.task for one in fallen))} fell"
            said = "\n".join(_trend_line(one) for one in fallen)
            trend = render_trend(report.metadata.trend, units=trend_units(report), max_charts=3)
            body = render_markdown(report, limit=50_000) + "\n" + trend
            issue.write(title, f"{said}\n\n{body}")
        elif report.gate.verdict is Verdict.PASS:
            issue.close(f"Recovered with {event.head_short}: [this run]({event.run_url}).")
    except NelActionError as error:
        context.workflow.annotate(Level.WARNING, describe_write_error(error), title="The issue could not be written")


def _trend_line(one: TrendVerdict) -> str:
    """Say why an issue is open, by all nights: by a test that stays valid however often one looks."""
    return f"- **{escape.text(one.task)}**, {one.runs} runs judged together: {escape.text(one.reason)}"
