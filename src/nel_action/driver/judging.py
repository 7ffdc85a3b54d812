"""From finished jobs to the exports: collect, judge, report, export; each step on disk before the next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final

from nel_action.driver.baselines import open_pinned, pin_baselines
from nel_action.driver.events import Events, Exported, Judged, Reported
from nel_action.driver.score_history import earlier_scores
from nel_action.driver.surroundings import Rules, Surroundings
from nel_action.errors import ExitCode, NelActionError, ResultsError
from nel_action.exporters.service import export_run
from nel_action.files import write_atomically
from nel_action.gating.confirmation import ConfirmationRun, confirmation_notes
from nel_action.gating.judge import judge as judge_results
from nel_action.gating.result_set import ResultSet
from nel_action.gating.verdict import GateReport, Verdict
from nel_action.ledger import AttemptRow
from nel_action.lifecycle.collect import collect
from nel_action.lifecycle.invocation import write_plan
from nel_action.lifecycle.session import JobView, Session
from nel_action.model.baseline import PinnedBaseline
from nel_action.model.job import JobState
from nel_action.model.results import Results
from nel_action.model.run_files import RunFiles
from nel_action.report.model import Event as HistoryEvent
from nel_action.report.model import Metadata, Report
from nel_action.report.write import write_reports

__all__ = ["Measurement", "conclude", "judge", "measure", "pin_new_baselines"]


_WORST_FIRST: Final = (ExitCode.FAIL, ExitCode.UNMEASURABLE, ExitCode.INCONCLUSIVE, ExitCode.PASS)


@dataclass(frozen=True, slots=True)
class Measurement:
    """The results of an invocation and how they compare."""

    results: Results
    baseline: ResultSet | None
    gate: GateReport
    rules: Rules
    """The rules that decided."""


def pin_new_baselines(session: Session, around: Surroundings) -> tuple[Session, Rules]:
    """Return the rules that apply now, and the invocation with a baseline for each of them.

    The baselines were resolved at submission. Only rules that apply since then, and plans of older versions, add some;
    `plan.json` is rewritten in that case.

    Args:
        session: the invocation.
        around: rules and baselines.

    Raises:
        NotFoundError: a new baseline does not exist.
        ResultsError: a new baseline is incomplete.
    """
    invocation = session.invocation
    plan = invocation.plan
    rules = around.update_rules(around.rules or Rules.of_spec(plan.spec, invocation.base_dir))
    pins = pin_baselines(rules, around, commit=plan.context.commit, pinned=plan.baselines or ())
    if pins != (plan.baselines or ()):
        invocation = replace(invocation, plan=replace(plan, baselines=pins))
        write_plan(invocation)
        session = replace(session, invocation=invocation)
    return session, rules


def measure(session: Session, views: Sequence[JobView], around: Surroundings, rules: Rules) -> Measurement:
    """Collect the results of an invocation whose jobs are final and judge them; `results.json` is written.

    Args:
        session: the invocation.
        views: its jobs, as last observed.
        around: where baselines are found.
        rules: the rules to judge by; their baselines are pinned in the plan.
    """
    results = collect(session, list(views))
    pins = session.invocation.plan.baselines or ()
    return _measure(results, session.invocation.run_dir, rules, around, pins)


def _measure(
    results: Results, root: Path, rules: Rules, around: Surroundings, pins: tuple[PinnedBaseline, ...]
) -> Measurement:
    """Judge by each of the rules; return the worst verdict, with a note on each base if there are several.

    Args:
        results: the results.
        root: their directory.
        rules: the rules of all bases.
        around: where baselines are found.
        pins: the baselines, as resolved at submission.
    """
    measurements = [_measure_by(results, root, each, around, pins) for each in rules.all]
    worst = min(measurements, key=lambda each: _severity(each.gate))
    if len(measurements) == 1:
        return worst
    notes = [f"{each.rules.base or 'this spec'}: {each.gate.verdict.value}" for each in measurements]
    note = f"judged by the rules of {len(notes)} bases, of which the worst verdict applies ({'; '.join(notes)})"
    return replace(worst, gate=worst.gate.model_copy(update={"notes": (note, *worst.gate.notes)}))


def _severity(gate: GateReport) -> int:
    """Return the rank of a verdict, the worst first; unknown codes are as bad as a failure."""
    return _WORST_FIRST.index(gate.exit_code) if gate.exit_code in _WORST_FIRST else 0


def _measure_by(
    results: Results, root: Path, rules: Rules, around: Surroundings, pins: tuple[PinnedBaseline, ...]
) -> Measurement:
    """Judge by the rules of one base; a baseline that is not that of the submission makes everything unmeasurable.

    Args:
        results: the results.
        root: their directory.
        rules: the rules.
        around: where baselines are found.
        pins: the baselines, as resolved at submission.
    """
    if rules.unmeasurable is not None:
        gate = GateReport(
            verdict=Verdict.UNMEASURABLE, exit_code=int(ExitCode.UNMEASURABLE), reasons=(rules.unmeasurable,)
        )
        return Measurement(results, None, gate, rules)
    baseline, blocked = None, rules.blocked
    try:
        baseline = open_pinned(rules, around, pins)
    except ResultsError as error:
        blocked = (*blocked, ("", str(error)))
    reference = rules.policy.baseline if rules.policy else None
    resolved = next((pin.resolved for pin in pins if pin.belongs_to(reference or "", rules.base)), None)
    report = judge_results(
        results,
        policy=rules.policy,
        baseline=baseline,
        root=root,
        expected=rules.expected,
        blocked=blocked,
        compared=resolved,
    )
    return Measurement(results, baseline, report, rules)


def conclude(session: Session, views: Sequence[JobView], measurement: Measurement, around: Surroundings) -> Events:
    """Write the verdict and the report of an invocation, then export its results.

    Args:
        session: the invocation.
        views: its jobs, as last observed; all of them final.
        measurement: their results.
        around: rules, completion of the report, destinations.

    Yields:
        Judged, Reported, and Exported for each destination.
    """
    rules = measurement.rules
    confirm = rules.policy.confirm if rules.policy else None
    results, report = measurement.results, measurement.gate
    notes = (*report.notes, *rules.notes, *confirmation_notes(confirm, report, results, _confirmation_runs(views)))
    measurement = replace(measurement, gate=report.model_copy(update={"notes": notes}))
    metadata = _metadata(session, views, measurement.baseline)
    trend = earlier_scores(Report(results=results, gate=measurement.gate, metadata=metadata), session.ledger)
    auto_export = session.invocation.plan.spec.execution.auto_export
    destinations = auto_export.destinations if auto_export else ()
    root = session.invocation.run_dir
    yield from _publish(measurement, replace(metadata, trend=trend), root, around, destinations)


def judge(results: Results, root: Path, around: Surroundings) -> Events:
    """Judge results that another machine measured, and report them.

    Args:
        results: the results.
        root: directory of their `results.json` and samples; verdict and report are written there.
        around: rules, baselines, completion of the report, destinations of exports (none by default).

    Yields:
        Judged, Reported, and Exported for each destination.

    Raises:
        NotFoundError: the baseline does not exist.
        ResultsError: the baseline is incomplete.
    """
    expected = tuple(dict.fromkeys(task.task for task in results.tasks))
    rules = around.rules or Rules(policy=None, expected=expected, folder=root)
    rules = around.update_rules(rules)
    pins = pin_baselines(rules, around, commit=results.commit)
    measurement = _measure(results, root, rules, around, pins)
    notes = (*measurement.rules.notes, *measurement.gate.notes)
    measurement = replace(measurement, gate=measurement.gate.model_copy(update={"notes": notes}))
    yield from _publish(measurement, Metadata(run_dir=root), root, around, ())


def _publish(
    measurement: Measurement, metadata: Metadata, root: Path, around: Surroundings, destinations: Sequence[str]
) -> Events:
    """Write verdict and report, then export; yield an event after each.

    Args:
        measurement: results and verdict.
        metadata: what the driver knows about the run.
        root: the run directory.
        around: completion of the report, destinations.
        destinations: where to export to unless `around` names destinations.
    """
    data = measurement.gate.model_dump_json(indent=2) + "\n"
    with _writing(root, "the verdict"):
        write_atomically(RunFiles(root).gate, data.encode())
    yield Judged(measurement.results, measurement.gate)
    report = around.complete(Report(results=measurement.results, gate=measurement.gate, metadata=metadata))
    with _writing(root, "the report"):
        write_reports(report, root)
    yield Reported(report)
    if around.may_export:
        for destination in destinations if around.exports is None else around.exports:
            yield _export(root, destination, around)


@contextmanager
def _writing(root: Path, subject: str) -> Iterator[None]:
    """Turn an operating system error into a message.

    Raises:
        NelActionError: nothing could be written.
    """
    try:
        yield
    except OSError as error:
        msg = f"cannot write {subject}: {error.filename or root}: {error.strerror or error}"
        hint = f"free space or correct the permissions, then run: nel-action wait {root}"
        raise NelActionError(msg, hint=hint) from error


def _export(root: Path, destination: str, around: Surroundings) -> Exported:
    try:
        return Exported(destination, export_run(root, destination, around.environ))
    except NelActionError as error:
        return Exported(destination, None, error)


def _confirmation_runs(views: Sequence[JobView]) -> list[ConfirmationRun]:
    return [
        ConfirmationRun(view.job.task.display, view.job.model, view.job.task.params.seed, _failure(view))
        for view in views
        if view.job.repeats is not None
    ]


def _failure(view: JobView) -> str | None:
    """Describe why a confirmation run has no result; None if it succeeded."""
    if view.state is JobState.SUCCEEDED:
        return None
    if view.submitted is None:
        return "could not be submitted"
    return f"{view.state.value}" + (f" ({view.submitted.reason})" if view.submitted.reason else "")


def _metadata(session: Session, views: Sequence[JobView], baseline: ResultSet | None) -> Metadata:
    invocation = session.invocation
    end_times = [view.attempt.ended for view in views if view.attempt and view.attempt.ended]
    ended = max(end_times) if end_times else None
    return Metadata(
        spec_path=invocation.source,
        run_dir=invocation.run_dir,
        baseline_dir=baseline.root if baseline else None,
        executor=invocation.executor,
        started=invocation.created,
        ended=ended,
        seconds=_seconds_between(invocation.created, ended) if ended else None,
        history=_history(session.ledger.attempts(invocation.id)),
    )


def _seconds_between(start: str, end: str) -> float | None:
    """Return the duration; None if all jobs were reused and finished before the invocation began."""
    seconds = (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
    return seconds if seconds >= 0 else None


def _history(rows: Sequence[AttemptRow]) -> tuple[HistoryEvent, ...]:
    """Return the attempts after the first of each job, and the reused ones, oldest first."""
    events = []
    for row in rows:
        if row.reused:
            text = f"{row.name}: attempt {row.number} of an earlier invocation was reused"
            events.append(HistoryEvent(row.intended, text))
        elif row.number > 1:
            events.append(HistoryEvent(row.intended, f"{row.name}: attempt {row.number}"))
    return tuple(sorted(events, key=lambda event: event.when))
