"""One row for each task and model, bad news first: what every rendering's table is made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from nel_action.formatting import Unit
from nel_action.gating.verdict import Comparison, TaskVerdict, Verdict
from nel_action.model.results import JobOutcome, TaskResult
from nel_action.report.model import Report
from nel_action.spec.policy import Tier

__all__ = ["Row", "models_of", "rows_of", "unchanged"]

_RANK: Final = {Verdict.FAIL: 0, Verdict.UNMEASURABLE: 1, Verdict.INCONCLUSIVE: 2, Verdict.PASS: 5}
_UNJUDGED_BROKEN: Final = 3
_ADVISORY: Final = 4
_UNJUDGED: Final = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A task on a model: its score, what it was held against, and what came out."""

    task: str
    model: str
    metric: str | None = None
    score: float | None = None
    stderr: float | None = None
    n: int | None = None
    comparison: Comparison | None = None
    verdict: Verdict | None = None
    """None where the gate has no word on it."""
    advisory: bool = False
    """Shown, and deciding nothing."""
    reasons: tuple[str, ...] = ()
    broken: bool = False
    """The job gave no result."""
    unit: Unit = Unit.PLAIN
    """Unit of the score and of every figure derived from it."""
    judged: TaskVerdict | None = None
    result: TaskResult | None = None

    @property
    def bad(self) -> bool:
        """Whether a reader must see it."""
        return self.broken or self.verdict not in {None, Verdict.PASS}

    @property
    def kind(self) -> str:
        """The verdict's name, as signs and colours go by it; `none` where there is none."""
        return self.verdict.value if self.verdict else "unmeasurable" if self.broken else "none"

    @property
    def word(self) -> str:
        """The verdict in a word."""
        if self.verdict is None:
            return "no result" if self.broken else "not gated"
        return f"{self.verdict.value} (advisory)" if self.advisory and self.bad else self.verdict.value

    @property
    def reason(self) -> str:
        """The first reason, or nothing."""
        return self.reasons[0] if self.reasons else ""


def rows_of(report: Report) -> tuple[Row, ...]:
    """Join verdicts and results, and sort them: what failed, what could not be judged, then the rest."""
    results = {(result.task, result.model): result for result in report.results.tasks}
    rows = [_judged(verdict, results.get((verdict.task, verdict.model))) for verdict in report.gate.tasks]
    seen = {(row.task, row.model) for row in rows}
    rows += [_unjudged(result) for place, result in results.items() if place not in seen]
    return tuple(sorted(rows, key=_rank))


def models_of(rows: Sequence[Row]) -> tuple[str, ...]:
    """Name the models, in the order of their first row's name."""
    return tuple(dict.fromkeys(row.model for row in sorted(rows, key=lambda row: row.model)))


def unchanged(report: Report, rows: Sequence[Row]) -> bool:
    """Tell whether everything passed, was compared, and no difference can be told from nothing."""
    return report.gate.verdict is Verdict.PASS and bool(rows) and all(_level(row) for row in rows)


def _level(row: Row) -> bool:
    compared = row.comparison
    if row.bad or compared is None:
        return False
    if compared.interval is None:
        return compared.difference == 0
    return compared.interval.low <= 0 <= compared.interval.high


def _rank(row: Row) -> tuple[int, bool]:
    if row.verdict is None:
        return (_UNJUDGED_BROKEN if row.broken else _UNJUDGED), False
    if row.advisory and row.bad:
        return _ADVISORY, False
    return _RANK[row.verdict], row.judged is not None and row.judged.tier is not Tier.CRITICAL


def _judged(verdict: TaskVerdict, result: TaskResult | None) -> Row:
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
        broken=result is not None and result.outcome is not JobOutcome.SUCCEEDED,
        unit=_unit(verdict),
        judged=verdict,
        result=result,
    )


def _unjudged(result: TaskResult) -> Row:
    found = result.score(result.primary_metric) if result.primary_metric else None
    broken = result.outcome is not JobOutcome.SUCCEEDED or result.reason is not None
    why = ": ".join(part for part in (result.reason or result.outcome.value, result.detail) if part)
    return Row(
        task=result.task,
        model=result.model,
        metric=result.primary_metric,
        score=found.value if found else None,
        stderr=found.stderr if found else None,
        n=found.n if found else result.n_items,
        reasons=(why,) if broken else (),
        broken=broken,
        unit=Unit.of(found.value if found else None, higher_is_better=found.higher_is_better if found else None),
        result=result,
    )


def _unit(verdict: TaskVerdict) -> Unit:
    baseline = verdict.comparison.baseline if verdict.comparison else None
    return Unit.of(verdict.score, verdict.floor, baseline, higher_is_better=verdict.higher_is_better)
