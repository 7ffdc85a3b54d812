"""Scores of earlier runs on this machine, for the trend in a report.

The ledger knows the runs, and their directories contain the scores. Only comparable scores are used: of the same
repository, task, model, metric, harness and parameters, with the same prompts. An evaluation that several runs reused
is one point.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from nel_action.errors import ResultsError
from nel_action.gating.verdict import GateReport, Verdict
from nel_action.ledger import Ledger
from nel_action.model.results import Results, TaskResult, read_results
from nel_action.model.run_files import RunFiles
from nel_action.report.model import Report, TrendPoint
from nel_action.report.rows import Row, rows_of

__all__ = ["earlier_scores"]

_RUNS: Final = 200
"""Latest runs that are searched."""
_POINTS: Final = 60
"""Points of one task at most."""
_EQUAL_FIELDS: Final = ("task", "model", "harness", "params", "n_shot", "chat_template")
_EQUAL_IF_KNOWN: Final = ("task_hash", "task_version")


def earlier_scores(report: Report, ledger: Ledger) -> tuple[TrendPoint, ...]:
    """Return comparable scores of earlier runs, followed by those of the report; oldest first.

    Args:
        report: the present report.
        ledger: the runs of this machine; those whose directory has been deleted or is damaged are skipped.
    """
    rows = [row for row in rows_of(report) if row.result and row.metric]
    seen = {_evaluation(row.result) for row in rows if row.result}
    points = list(_points(report.results, _verdicts(report.gate), rows))
    for results, verdicts in _runs(report.results, ledger):
        new = [task for task in results.tasks if _evaluation(task) not in seen]
        seen |= {_evaluation(task) for task in new}
        points += _points(results.model_copy(update={"tasks": tuple(new)}), verdicts, rows)
    kept = [point for row in rows for point in [point for point in points if _belongs_to(point, row)][:_POINTS]]
    return tuple(sorted(kept, key=lambda point: point.when))


def _runs(present: Results, ledger: Ledger) -> Iterator[tuple[Results, Mapping[tuple[str, str], Verdict]]]:
    """Yield results and verdicts of the other runs of the same repository, newest first."""
    for invocation in ledger.invocations()[:_RUNS]:
        files = RunFiles(invocation.run_dir)
        if invocation.id != present.invocation and files.results.is_file():
            try:
                results = read_results(files.results)
            except ResultsError:
                continue  # NOTE: a damaged run has no score to show; its own report states the problem.
            if results.repository == present.repository:
                yield results, _read_verdicts(files.gate)


def _read_verdicts(path: Path) -> Mapping[tuple[str, str], Verdict]:
    # NOTE: without the model, which would construct every changed item of each run.
    try:
        tasks = json.loads(path.read_bytes())["tasks"]
        return {(task["task"], task["model"]): Verdict(task["verdict"]) for task in tasks}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _verdicts(gate: GateReport) -> dict[tuple[str, str], Verdict]:
    return {(task.task, task.model): task.verdict for task in gate.tasks}


def _points(results: Results, verdicts: Mapping[tuple[str, str], Verdict], rows: list[Row]) -> Iterator[TrendPoint]:
    """Yield the scores of a run that are comparable with a row of the report."""
    for row in rows:
        for task in results.tasks:
            score = task.score(row.metric) if row.metric and row.result and _comparable(task, row.result) else None
            if score:
                yield TrendPoint(
                    task=task.task,
                    model=task.model,
                    metric=score.metric,
                    when=results.created,
                    value=score.value,
                    stderr=score.stderr,
                    commit=results.commit,
                    verdict=verdicts.get((task.task, task.model)),
                )


def _comparable(result: TaskResult, other: TaskResult) -> bool:
    """Return whether two results are of the same questions, asked in the same way."""
    if any(getattr(result, field) != getattr(other, field) for field in _EQUAL_FIELDS):
        return False
    pairs = [(getattr(result, field), getattr(other, field)) for field in _EQUAL_IF_KNOWN]
    return all(None in pair or pair[0] == pair[1] for pair in pairs)


def _evaluation(task: TaskResult) -> tuple[Any, ...]:
    """Return what identifies an evaluation, whichever runs reuse it."""
    return task.key, task.attempts, task.started


def _belongs_to(point: TrendPoint, row: Row) -> bool:
    return (point.task, point.model, point.metric) == (row.task, row.model, row.metric)
