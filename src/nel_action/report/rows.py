"""Rows of the score table: one per task and model, failures first, for every output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from nel_action.formatting import VERDICT_SYMBOLS, Unit
from nel_action.gating.verdict import Comparison, TaskVerdict, Verdict
from nel_action.model.results import JobOutcome, TaskResult
from nel_action.report.model import Report
from nel_action.spec.policy import Tier

__all__ = ["Row", "has_no_measurable_change", "models_of", "rows_of"]

_RANK: Final = {Verdict.FAIL: 0, Verdict.UNMEASURABLE: 1, Verdict.INCONCLUSIVE: 2, Verdict.PASS: 5}
_NOT_GATED_NO_RESULT: Final = 3
_ADVISORY: Final = 4
_NOT_GATED: Final = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One task on one model: its score, its comparison and its verdict."""

    task: str
    model: str
    """Empty if no model has a result for the task."""
    metric: str | None = None
    score: float | None = None
    stderr: float | None = None
    n: int | None = None
    comparison: Comparison | None = None
    verdict: Verdict | None = None
    """None if the gate did not judge the task."""
    advisory: bool = False
    """The verdict does not affect the gate."""
    reasons: tuple[str, ...] = ()
    no_result: bool = False
    """The job gave no readable result."""
    unit: Unit = Unit.PLAIN
    """Unit of the score and of every figure derived from it."""
    task_verdict: TaskVerdict | None = None
    result: TaskResult | None = None

    @property
    def has_problem(self) -> bool:
        """Whether the row is anything but a pass or an ungated score."""
        return self.no_result or self.verdict not in {None, Verdict.PASS}

    @property
    def style(self) -> str:
        """Name of the verdict for symbols and colours; `none` without a verdict."""
        return self.verdict.value if self.verdict else "unmeasurable" if self.no_result else "none"

    @property
    def symbol(self) -> str:
        """Symbol of the verdict; a dot without a verdict."""
        return VERDICT_SYMBOLS.get(self.style, "·")

    @property
    def verdict_text(self) -> str:
        """The verdict in words."""
        if self.verdict is None:
            return "no result" if self.no_result else "not gated"
        return f"{self.verdict.value} (advisory)" if self.advisory and self.has_problem else self.verdict.value

    @property
    def reason(self) -> str:
        """The first reason; empty without reasons."""
        return self.reasons[0] if self.reasons else ""


def rows_of(report: Report) -> tuple[Row, ...]:
    """Join verdicts and results into rows; failures first, then what could not be judged, then the rest."""
    results = {(result.task, result.model): result for result in report.results.tasks}
    rows = [_gated(verdict, results.get((verdict.task, verdict.model))) for verdict in report.gate.tasks]
    gated = {(row.task, row.model) for row in rows}
    rows += [_not_gated(result) for key, result in results.items() if key not in gated]
    return tuple(sorted(rows, key=_rank))


def models_of(rows: Sequence[Row]) -> tuple[str, ...]:
    """Return the names of the models in alphabetical order."""
    return tuple(sorted({row.model for row in rows if row.model}))


def has_no_measurable_change(report: Report, rows: Sequence[Row]) -> bool:
    """Return whether every task passed and was compared, and every interval of a difference contains zero."""
    return report.gate.verdict is Verdict.PASS and bool(rows) and all(_unchanged(row) for row in rows)


def _unchanged(row: Row) -> bool:
    comparison = row.comparison
    if row.has_problem or comparison is None:
        return False
    if comparison.interval is None:
        return comparison.difference == 0
    return comparison.interval.low <= 0 <= comparison.interval.high


def _rank(row: Row) -> tuple[int, bool]:
    if row.verdict is None:
        return (_NOT_GATED_NO_RESULT if row.no_result else _NOT_GATED), False
    if row.advisory and row.has_problem:
        return _ADVISORY, False
    return _RANK[row.verdict], row.task_verdict is not None and row.task_verdict.tier is not Tier.CRITICAL


def _gated(verdict: TaskVerdict, result: TaskResult | None) -> Row:
    baseline = verdict.comparison.baseline if verdict.comparison else None
    return Row(
        task=verdict.task,
        model=verdict.model,
        metric=verdict.metric,
        score=verdict.score,
        stderr=verdict.stderr,
        n=verdict.n,
        comparison=verdict.comparison,
        verdict=verdict.verdict,
        advisory=verdict.tier is Tier.ADVISORY,
        reasons=verdict.reasons,
        no_result=result is not None and result.outcome is not JobOutcome.SUCCEEDED,
        unit=Unit.of(verdict.score, verdict.floor, baseline, higher_is_better=verdict.higher_is_better),
        task_verdict=verdict,
        result=result,
    )


def _not_gated(result: TaskResult) -> Row:
    score = result.score(result.primary_metric) if result.primary_metric else None
    no_result = result.outcome is not JobOutcome.SUCCEEDED or result.reason is not None
    reason = ": ".join(part for part in (result.reason or result.outcome.value, result.detail) if part)
    return Row(
        task=result.task,
        model=result.model,
        metric=result.primary_metric,
        score=score.value if score else None,
        stderr=score.stderr if score else None,
        n=score.n if score else result.n_items,
        reasons=(reason,) if no_result else (),
        no_result=no_result,
        unit=Unit.of(score.value, higher_is_better=score.higher_is_better) if score else Unit.PLAIN,
        result=result,
    )
