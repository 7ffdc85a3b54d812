"""The report as Markdown: the pull request's comment, the job's summary, `report.md`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from nel_action.formatting import VERDICT_SYMBOLS
from nel_action.gating.verdict import Verdict
from nel_action.report import escape
from nel_action.report.details import how_it_was_run, reasons_in_full, what_got_worse
from nel_action.report.model import Report
from nel_action.report.rows import Row, models_of, rows_of, unchanged

__all__ = ["COMMENT_LIMIT", "render_markdown"]

COMMENT_LIMIT: Final = 65_536
"""Characters of a comment's body, as GitHub refuses more. Held in bytes, which are never fewer, however a
character is counted."""

_WORDS: Final = {
    Verdict.PASS: "passed",
    Verdict.FAIL: "failed",
    Verdict.INCONCLUSIVE: "not settled",
    Verdict.UNMEASURABLE: "could not be measured",
}
_FULL: Final = 300
_SHORT: Final = 60
_BARE: Final = 24


def render_markdown(report: Report, *, limit: int = COMMENT_LIMIT) -> str:
    """Render the report in at most `limit` bytes of UTF-8.

    What is dropped where there is no room, in this order: folded details, rows of tasks that passed, the ends
    of long reasons. A row with bad news goes last, and its number is told where even names do not fit.
    """
    rows = rows_of(report)
    fitting = (page for page in _pages(report, rows) if _size(page) <= limit)
    return next(fitting, None) or _names_only(report, rows, limit)


def _pages(report: Report, rows: Sequence[Row]) -> Iterator[str]:
    """Render ever shorter pages, each only when it is asked for."""
    bad = [row for row in rows if row.bad]
    details = [what_got_worse, how_it_was_run, reasons_in_full]
    for kept in (details, details[:2], details[:1], []):
        yield _page(report, rows, [part(report, rows) for part in kept])
    for width in (_FULL, _SHORT, _BARE):
        yield _page(report, bad, [], left_out=len(rows) - len(bad), width=width)


def _page(report: Report, rows: Sequence[Row], details: Sequence[str], *, left_out: int = 0, width: int = _FULL) -> str:
    quiet = not left_out and unchanged(report, rows)
    table = _table(report, rows, width) if rows else ""
    if quiet:
        table = f"<details><summary>Scores</summary>\n\n{table}\n\n</details>"
    more = f"{left_out} more {_tasks(left_out)} without bad news; see the full report." if left_out else ""
    parts = [_heading(report, rows, quiet=quiet, width=width), _notes(report, width), table, more, _tail(report, rows)]
    return "\n\n".join(part for part in (*parts, *details) if part) + "\n"


def _heading(report: Report, rows: Sequence[Row], *, quiet: bool, width: int) -> str:
    gate = report.gate
    sign = VERDICT_SYMBOLS[gate.verdict]
    if quiet:
        base = f" against {escape.text(gate.baseline)}" if gate.baseline else ""
        return f"{sign} **Benchmark gate: passed.** No measurable change on {len(rows)} {_tasks(len(rows))}{base}."
    if not gate.reasons or gate.verdict is Verdict.PASS:
        return f"### {sign} Benchmark gate: {_WORDS[gate.verdict]}"
    others = f" (and {len(gate.reasons) - 1} more)" if len(gate.reasons) > 1 else ""
    return f"### {sign} Benchmark gate: {escape.text(gate.reasons[0], limit=width)}{others}"


def _notes(report: Report, width: int) -> str:
    # NOTE: in one quote; each is a line of its own, so that one note cannot run into the next.
    return "\n>\n".join(f"> {escape.text(note, limit=width)}" for note in report.gate.notes)


def _table(report: Report, rows: Sequence[Row], width: int) -> str:
    base = escape.text(report.gate.baseline, limit=80) if report.gate.baseline else "baseline"
    several = len(models_of(rows)) > 1
    head = f"| | metric | this change | {base} | difference | verdict |\n|---|---|---|---|---|---|"
    return "\n".join([head, *(_row(row, several=several, width=width) for row in rows)])


def _row(row: Row, *, several: bool, width: int) -> str:
    name = escape.text(row.task, limit=min(width, 120))
    name = f"**{name}**" if row.bad else name
    model = f" · {escape.text(row.model, limit=min(width, 120))}" if several else ""
    sign = VERDICT_SYMBOLS[row.verdict] if row.verdict else "!" if row.broken else "·"
    said = escape.text(row.reason or row.word, limit=width)
    cells = [
        f"{sign} {name}{model}",
        escape.text(row.metric or "", limit=min(width, 120)),
        row.unit.score(row.score, row.stderr),
        row.unit.score(row.comparison.baseline) if row.comparison else "",
        _change(row),
        f"{said} (advisory)" if row.advisory and row.bad else said,
    ]
    return f"| {' | '.join(cells)} |"


def _change(row: Row) -> str:
    if row.comparison is None:
        return ""
    moved = row.unit.difference(row.comparison.difference)
    moved = f"**{moved}**" if row.verdict is Verdict.FAIL else moved
    return f"{moved} {row.unit.interval(row.comparison.interval)}".strip()


def _tail(report: Report, rows: Sequence[Row]) -> str:
    worse = sum(row.comparison.n_worse for row in rows if row.comparison)
    better = sum(row.comparison.n_better for row in rows if row.comparison)
    flips = f"{worse:,} {'item' if worse == 1 else 'items'} got worse, {better:,} got better." if worse + better else ""
    links = [found for one in report.metadata.links if (found := escape.link(one.label, one.url))]
    again = f"run again with `nel-action resume {escape.text(report.results.invocation, limit=16)}`"
    followed = [*links, again] if any(row.broken for row in rows) else links
    return " ".join(part for part in (flips, " · ".join(followed)) if part)


def _names_only(report: Report, rows: Sequence[Row], limit: int) -> str:
    head = _heading(report, rows, quiet=False, width=_SHORT)
    names = [escape.text(row.task, limit=_BARE) for row in rows if row.bad]
    for kept in range(len(names), -1, -1):
        rest = f" and {len(names) - kept} more" if kept < len(names) else ""
        page = f"{head}\n\nBad news on {', '.join(names[:kept])}{rest}; see the full report.\n"
        if _size(page) <= limit:
            return page
    return report.gate.verdict.value[:limit]


def _size(text: str) -> int:
    return len(text.encode())


def _tasks(count: int) -> str:
    return "task" if count == 1 else "tasks"
