"""Publication of a gate: from the driver's events to check, comment, history, issue and log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nel_action.driver.events import Exported
from nel_action.driver.surroundings import Rules, Surroundings
from nel_action.errors import ExitCode, Location, NelActionError
from nel_action.gating.trend import TrendVerdict
from nel_action.gating.verdict import Verdict
from nel_action.github.baseline import BranchBaselines
from nel_action.github.check import Conclusion, conclusion_of
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
from nel_action.model.job import JobState
from nel_action.model.run_files import JobFiles
from nel_action.report import escape
from nel_action.report.markdown import render_markdown
from nel_action.report.model import Link, Report

if TYPE_CHECKING:
    from nel_action.spec.compose import LoadedSpec
    from nel_action.spec.model import Spec

__all__ = ["GatePublication", "PolicyLocations", "export_destinations", "log_export", "policy_locations"]

PolicyLocations = Mapping[str, tuple[str, int]]
"""Task → file and line of its policy."""

_LOG_LINES: Final = 200
"""Lines from the end of a failed job's log that are printed."""
_ISSUE_LIMIT: Final = 50_000
"""Characters of the report in an issue."""


def policy_locations(context: ActionContext, loaded: LoadedSpec) -> dict[str, tuple[str, int]]:
    """Return the source position of each task's policy, for annotations in this process and in later ones."""
    locations = {}
    gate = loaded.spec.gate
    for index, task in enumerate(loaded.spec.evaluation.tasks):
        short = task.name.rsplit(".", maxsplit=1)[-1]
        name = next((name for name in (task.name, short) if gate and name in gate.tasks), None)
        location = loaded.locate(("gate", "tasks", name) if name else ("evaluation", "tasks", index, "name"))
        locations[task.name] = (str(context.repository_path(location.file)), location.line or 1)
    return locations


def export_destinations(context: ActionContext, spec: Spec) -> tuple[str, ...]:
    """Return the destinations of the results: those of the input `exporters`, else all that the spec configures."""
    if context.inputs.exporters is not None:
        return tuple(context.inputs.exporters)
    auto_export = spec.execution.auto_export
    return tuple(dict.fromkeys((*(auto_export.destinations if auto_export else ()), *spec.export.names())))


class GatePublication:
    """Publishes the results of one invocation."""

    def __init__(
        self,
        context: ActionContext,
        publisher: Publisher,
        *,
        rules: Rules,
        locations: PolicyLocations,
        event: WorkflowEvent | None = None,
    ) -> None:
        self._context = context
        self._publisher = publisher
        self._rules = rules
        self._locations = locations
        self._event = event or context.event
        self._branches: BranchBaselines | None = context.branch_baselines(self._event)
        self._runs: list[ScheduledRun] = []
        """The history of scheduled runs, this one included."""

    def surroundings(self, environ: Mapping[str, str], spec: Spec, **changes: Any) -> Surroundings:  # noqa: ANN401
        """Return the surroundings of this gate's evaluation.

        Args:
            environ: variables of this process.
            spec: names the destinations of exports.
            changes: other fields of `Surroundings`.
        """
        return Surroundings(
            home=self._context.home,
            environ=environ,
            rules=self._rules,
            branches=self._branches,
            artifacts=self._branches,
            complete=self._complete,
            exports=export_destinations(self._context, spec),
            **changes,
        )

    def _complete(self, report: Report) -> Report:
        """Add the run to the history, and history, pull request and workflow run to the report; remove secrets."""
        for note in dict.fromkeys(self._branches.notes if self._branches else ()):
            self._context.workflow.annotate(Level.WARNING, note)
        self._runs = _add_to_history(self._context, report, self._event, self._rules)
        trend = trend_points(self._runs or _read_history(self._context, self._event)) or report.metadata.trend
        links = (*report.metadata.links, Link("workflow run and artifacts", self._event.run_url))
        code = ExitCode(report.gate.exit_code)
        conclusion = _stricter_conclusion(self._context, code, report) or conclusion_of(code)
        metadata = replace(
            report.metadata,
            title=self._publisher.title,
            blocks=conclusion is not Conclusion.SUCCESS,
            informative=self._context.command is not None,
            pull_request=self._event.pull_request,
            links=links,
            trend=trend,
        )
        return redact_report(replace(report, metadata=metadata), self._context.redact)

    def publish(self, report: Report, session: Session, views: Sequence[JobView]) -> Outcome:
        """Publish a verdict; a channel that fails becomes a warning and never changes it.

        Args:
            report: results and verdict; on disk already.
            session: the invocation.
            views: its jobs, as last observed.
        """
        context, run_dir = self._context, session.invocation.run_dir
        outcome = finished_outcome(report, run_dir)
        if context.command:
            outcome = replace(outcome, verdict="none", summary=f"scores for information: {context.command}")
        context.state.update(outcome=outcome, run_dir=str(run_dir))
        _print_failed_logs(context, session, views)
        code = ExitCode(report.gate.exit_code)
        self._publisher.conclude(
            report,
            code,
            locate=self._locate,
            appendix=render_trend(report.metadata.trend, units=trend_units(report)),
            conclusion=_stricter_conclusion(context, code, report),
        )
        self._update_issue(report)
        return outcome

    def _locate(self, task: str) -> Location | None:
        if task not in self._locations:
            return None
        file, line = self._locations[task]
        return Location(Path(file), line)

    def _update_issue(self, report: Report) -> None:
        """Open, update or close the issue of a scheduled gate."""
        context, event = self._context, self._event
        if not self._runs or not context.api:
            return
        policy = self._rules.policy
        author = token_login(context.api, event.graphql_url)
        issue = StickyIssue(context.api, event.repository, key=context.inputs.check_name, author=author)
        regressions = confirmed_regressions(self._runs, confidence=policy.confidence if policy else 0.95)
        try:
            if regressions:
                names = ", ".join(dict.fromkeys(regression.task for regression in regressions))
                lines = "\n".join(map(_regression_line, regressions))
                trend = render_trend(report.metadata.trend, units=trend_units(report), max_charts=3)
                body = render_markdown(report, limit=_ISSUE_LIMIT) + "\n" + trend
                issue.write(f"{context.inputs.check_name}: {names} regressed", f"{lines}\n\n{body}")
            elif report.gate.verdict is Verdict.PASS:
                issue.close(f"Recovered with {event.head_short}: [this run]({event.run_url}).")
        except NelActionError as error:
            context.workflow.annotate(
                Level.WARNING, describe_write_error(error), title="The issue could not be written"
            )


def log_export(context: ActionContext, event: Exported) -> None:
    """Print what was sent to a destination; a failure is an annotation and never changes the verdict."""
    destination = event.destination
    with context.workflow.group(f"export to {destination}"):
        if event.outcome is None:
            context.workflow.annotate(Level.ERROR, str(event.error), title=f"Export to {destination} failed")
            return
        for item in event.outcome.items:
            context.workflow.log(f"{item.what}: {item.change.value} {item.where or ''} {item.problem or ''}")
        if not event.outcome.complete:
            context.workflow.annotate(Level.ERROR, "see the log", title=f"Export to {destination} is incomplete")


def _stricter_conclusion(context: ActionContext, code: ExitCode, report: Report) -> Conclusion | None:
    """Return a conclusion that differs from that of the code.

    Without rules for the gate, a maintainer has to act; if the workflow fails on a verdict that the policy tolerates,
    the check fails.
    """
    verdict = report.gate.verdict
    if verdict is Verdict.UNMEASURABLE and not report.gate.tasks and report.results.tasks:
        return Conclusion.ACTION_REQUIRED
    tolerated = code in {ExitCode.PASS, ExitCode.INCONCLUSIVE}
    return Conclusion.FAILURE if tolerated and context.inputs.should_fail(code, verdict) else None


def _print_failed_logs(context: ActionContext, session: Session, views: Sequence[JobView]) -> None:
    """Print the end of the log of each failed job in a collapsed group, as untrusted text."""
    for view in views:
        logs = JobFiles(session.invocation.job_dir(view.job)).logs
        if view.state is not JobState.FAILED or not logs.is_dir():
            continue
        # NOTE: the gateway's state is stored next to the logs.
        files = [path for path in logs.iterdir() if path.is_file() and path.suffix != ".json"]
        if not files:
            continue
        largest = max(files, key=lambda path: path.stat().st_size)
        lines = largest.read_text(errors="replace").splitlines()[-_LOG_LINES:]
        redact = context.redactor()
        with context.workflow.group(f"the end of the log of {view.job.name}"):
            context.workflow.print_untrusted(redact(line) for line in lines)


def _add_to_history(context: ActionContext, report: Report, event: WorkflowEvent, rules: Rules) -> list[ScheduledRun]:
    """Add this run to the history of scheduled runs and return it; empty unless it is about the default branch."""
    branch = context.inputs.history_branch
    if not branch or not context.api or not context.can_write or event.pull_request is not None:
        return []
    if not event.on_default_branch or any(each.base for each in rules.all):
        context.workflow.log(f"not recorded in the history: {event.ref or event.kind} is not the default branch")
        return []
    history = History(DataBranch(context.api, event.repository, branch), context.artifact_name)
    try:
        reference = rules.policy.baseline if rules.policy else None
        fixed = bool(reference) and (rules.folder / str(reference)).exists()
        return history.add(scheduled_run(report.results, report.gate, rules.policy, fixed=fixed))
    except NelActionError as error:
        context.workflow.annotate(Level.WARNING, describe_write_error(error), title="The history could not be written")
        return []


def _read_history(context: ActionContext, event: WorkflowEvent) -> list[ScheduledRun]:
    """Return the scheduled runs that the trend of a pull request shows; empty for other events and on failure."""
    branch = context.inputs.history_branch
    if not branch or not context.api or event.pull_request is None:
        return []
    try:
        return History(DataBranch(context.api, event.repository, branch), context.artifact_name).read()
    except NelActionError as error:
        context.workflow.annotate(Level.WARNING, error.problems[0].message, title="The history could not be read")
        return []


def _regression_line(regression: TrendVerdict) -> str:
    """Describe a regression that the anytime-valid test of all scheduled runs has confirmed."""
    runs = f"{regression.runs} runs judged together"
    return f"- **{escape.text(regression.task)}**, {runs}: {escape.text(regression.reason)}"
