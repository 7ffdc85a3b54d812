"""The whole run at a glance: how many tasks came out how, what changed, and what it took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from nel_action.formatting import VERDICT_SYMBOLS, duration
from nel_action.report.html.element import Safe, el, join
from nel_action.report.model import Report
from nel_action.report.rows import Row

__all__ = ["glance", "mark"]


def glance(report: Report, rows: Sequence[Row]) -> Safe | None:
    """Render a row of figures; None where there is none to show."""
    tiles = [el("div", el("dt", name), el("dd", told)) for name, told in _tiles(report, rows)]
    return el("dl", *tiles, class_="glance") if tiles else None


def mark(kind: str) -> Safe:
    """Render a verdict's sign, which no screen reader needs: the word stands beside it."""
    return el("span", VERDICT_SYMBOLS.get(kind, "·"), aria_hidden="true", class_=f"mark {kind}")


def _tiles(report: Report, rows: Sequence[Row]) -> Iterator[tuple[str, Safe | str]]:
    counts = Counter((row.kind, row.word) for row in rows)
    if counts:
        parts = [el("span", mark(kind), f"{count} {word}", class_="count") for (kind, word), count in counts.items()]
        yield "tasks", join(*parts)
    worse = sum(row.comparison.n_worse for row in rows if row.comparison)
    better = sum(row.comparison.n_better for row in rows if row.comparison)
    if worse or better:
        yield "items that changed", f"{worse:,} worse, {better:,} better"
    items = sum(task.n_items or 0 for task in report.results.tasks)
    if items:
        yield "items", f"{items:,}"
    if report.metadata.seconds is not None:
        yield "wall time", duration(report.metadata.seconds)
    yield from _spent(report)


def _spent(report: Report) -> Iterator[tuple[str, str]]:
    def whole(*names: str) -> float:
        return sum(task.usage.get(name, 0.0) for task in report.results.tasks for name in names)

    if tokens := whole("prompt_tokens", "completion_tokens"):
        yield "tokens", f"{tokens:,.0f}"
    if cost := whole("cost_usd"):
        yield "cost", f"{cost:,.2f} USD"
