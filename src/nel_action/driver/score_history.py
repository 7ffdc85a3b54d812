"""What earlier runs on this machine scored, so that a report can show where a score comes from.

The ledger knows the runs and their directories hold the scores. A point is taken only from a score that says the
same: of the same repository, task, model, metric, harness and parameters, asked in the same way. One evaluation that
several runs took over is one point.
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
from nel_action.report.model import Report, TrendPoint
from nel_action.report.rows import Row, rows_of

__all__ = ["earlier_scores"]

LOOKED_AT: Final = 200
"""Newest runs among which scores are looked for."""
KEPT: Final = 60
"""Points of one task."""

_JUDGED: Final = "gate.json"


def earlier_scores(report: Report, ledger: Ledger) -> tuple[TrendPoint, ...]:
    """Return the scores that led to this report's own, which come last; oldest first.

    Args:
        report: what was just judged.
        ledger: where this machine's runs are entered; one whose directory is gone or damaged is passed over.
    """
    rows = [row for row in rows_of(report) if row.result and row.metric]
    seen = {_evaluation(row.result) for row in rows if row.result}
    points = list(_points(report.results, _verdicts(report.gate), rows))
    for results, verdicts in _runs(report.results, ledger):
        fresh = [task for task in results.tasks if _evaluation(task) not in seen]
        seen |= {_evaluation(task) for task in fresh}
        points += _points(results.model_copy(update={"tasks": tuple(fresh)}), verdicts, rows)
    kept = [point for row in rows for point in [one for one in points if _is_of(one, row)][:KEPT]]
    return tuple(sorted(kept, key=lambda point: point.when))


def _runs(present: Results, ledger: Ledger) -> Iterator[tuple[Results, Mapping[tuple[str, str], Verdict]]]:
    """Read this repository's other runs, newest first."""
    for invocation in ledger.invocations()[:LOOKED_AT]:
        if invocation.id != present.invocation and (invocation.run_dir / "results.json").is_file():
            try:
                results = read_results(invocation.run_dir / "results.json")
            except ResultsError:
                continue  # NOTE: a run that cannot be read has no point to give; its own report says why.
            if results.repository == present.repository:
                yield results, _read_verdicts(invocation.run_dir / _JUDGED)


def _read_verdicts(path: Path) -> Mapping[tuple[str, str], Verdict]:
    # NOTE: not through the model, which would build every item that flipped in each of the runs.
    try:
        tasks = json.loads(path.read_bytes())["tasks"]
        return {(task["task"], task["model"]): Verdict(task["verdict"]) for task in tasks}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _verdicts(gate: GateReport) -> dict[tuple[str, str], Verdict]:
    return {(task.task, task.model): task.verdict for task in gate.tasks}


def _points(results: Results, verdicts: Mapping[tuple[str, str], Verdict], rows: list[Row]) -> Iterator[TrendPoint]:
    for row in rows:
        for task in results.tasks:
            score = task.score(row.metric) if row.metric and row.result and _same(task, row.result) else None
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


def _same(one: TaskResult, other: TaskResult) -> bool:
    """Tell whether two results asked the same questions in the same way."""
    named = (one.task, one.model, one.harness, one.params, one.n_shot, one.chat_template)
    told = ((one.task_hash, other.task_hash), (one.task_version, other.task_version))
    return all(None in pair or pair[0] == pair[1] for pair in told) and named == (
        other.task,
        other.model,
        other.harness,
        other.params,
        other.n_shot,
        other.chat_template,
    )


def _evaluation(task: TaskResult) -> tuple[Any, ...]:
    return task.key, task.attempts, task.started


def _is_of(point: TrendPoint, row: Row) -> bool:
    return (point.task, point.model, point.metric) == (row.task, row.model, row.metric)
