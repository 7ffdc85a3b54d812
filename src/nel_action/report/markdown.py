"""The report as Markdown: the comment on the pull request, the job summary and `report.md`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit

from nel_action.formatting import VERDICT_SYMBOLS, cost, count, duration, percentage, plural
from nel_action.gating import messages
from nel_action.gating.verdict import Verdict
from nel_action.model.results import TaskResult
from nel_action.report import escape
from nel_action.report.anchors import item_anchor
from nel_action.report.answers import answer_lines
from nel_action.report.columns import Output, ScoreColumn, columns_for
from nel_action.report.model import Report
from nel_action.report.rows import Row, has_no_measurable_change, models_of, rows_of

__all__ = ["COMMENT_LIMIT", "VERDICT_TITLES", "headline", "render_markdown"]

COMMENT_LIMIT: Final = 65_536
"""Characters that GitHub accepts in a comment. Applied to bytes, of which there are never fewer."""

VERDICT_TITLES: Final = {
    Verdict.PASS: "passed",
    Verdict.FAIL: "failed",
    Verdict.INCONCLUSIVE: "inconclusive",
    Verdict.UNMEASURABLE: "could not be measured",
}
"""Verdicts as predicates of a heading."""

MAX_NOTES: Final = 12
"""Notes that are shown unfolded."""
MAX_ANSWERS: Final = 20
"""Tasks whose missing answers are named; the terminal and results.json have them all."""
_MAX_NAME: Final = 120
_MAX_REASON: Final = 300
_SHORT_REASON: Final = 60
_SHORTEST_REASON: Final = 24
_MAX_ITEMS: Final = 10
"""Items that are named per task; the full report has them all."""


def render_markdown(report: Report, *, limit: int = COMMENT_LIMIT) -> str:
    """Render the report in at most `limit` bytes of UTF-8.

    A report that is too long loses, in this order: the folded details, the rows of tasks that passed, the ends of
    long reasons. Rows with problems are dropped last, and counted if not even their names fit.

    Args:
        report: the report.
        limit: bytes of UTF-8 at most.
    """
    rows = rows_of(report)
    fitting = (page for page in _pages(report, rows) if _size(page) <= limit)
    return next(fitting, None) or _names_only(report, rows, limit)


def _pages(report: Report, rows: Sequence[Row]) -> Iterator[str]:
    """Yield shorter and shorter pages, each one rendered only when it is requested."""
    details = [_items_that_got_worse, _how_this_was_run, _reasons_and_method]
    for kept in (details, details[:2], details[:1], []):
        yield _page(report, rows, [render(report, rows) for render in kept])
    problems = [row for row in rows if row.has_problem]
    for width in (_MAX_REASON, _SHORT_REASON, _SHORTEST_REASON):
        yield _page(report, problems, [], left_out=len(rows) - len(problems), width=width)


def _page(
    report: Report, rows: Sequence[Row], details: Sequence[str], *, left_out: int = 0, width: int = _MAX_REASON
) -> str:
    unchanged = not left_out and has_no_measurable_change(report, rows)
    table = _table(report, rows, width) if rows else ""
    if unchanged:
        table = _folded("Scores", table)
    more = f"{plural(left_out, 'more task')} without problems; see the full report." if left_out else ""
    heading = _heading(report, rows, unchanged=unchanged, width=width)
    parts = [heading, _notes(report, width), table, more, _answers(rows), _footer(report, rows)]
    return "\n\n".join(part for part in (*parts, *details) if part) + "\n"


def _heading(report: Report, rows: Sequence[Row], *, unchanged: bool, width: int) -> str:
    gate = report.gate
    symbol = "·" if report.metadata.informative else VERDICT_SYMBOLS[gate.verdict]
    if unchanged:
        baseline = f" against {escape.text(gate.baseline)}" if gate.baseline else ""
        return f"{symbol} **{headline(report)}.** No measurable change on {plural(len(rows), 'task')}{baseline}."
    if not gate.reasons or gate.verdict is Verdict.PASS:
        return f"### {symbol} {headline(report)}"
    others = f" (and {len(gate.reasons) - 1} more)" if len(gate.reasons) > 1 else ""
    return f"### {symbol} {headline(report)}: {escape.text(gate.reasons[0], limit=width)}{others}"


def headline(report: Report) -> str:
    """Return the gate, its verdict and whether it blocks, as Markdown."""
    metadata, verdict = report.metadata, VERDICT_TITLES[report.gate.verdict]
    if metadata.informative:
        return f"{escape.text(metadata.title, limit=_MAX_NAME)}: scores for information"
    if metadata.claimed_by:
        verdict = f"{verdict}, as claimed by {metadata.claimed_by}"
    # NOTE: a failure that blocks and a pass that does not are what everybody expects.
    unexpected = {(Verdict.PASS, True), (Verdict.FAIL, False)}
    if report.gate.verdict in {Verdict.INCONCLUSIVE, Verdict.UNMEASURABLE} or (
        (report.gate.verdict, metadata.blocks) in unexpected
    ):
        verdict += {True: ", blocks", False: ", does not block", None: ""}[metadata.blocks]
    return f"{escape.text(metadata.title, limit=_MAX_NAME)}: {escape.text(verdict)}"


def _notes(report: Report, width: int) -> str:
    # NOTE: one quote with a line per note, so that the notes stay separate.
    lines = [f"> {escape.text(note, limit=width)}" for note in report.gate.notes]
    if len(lines) <= MAX_NOTES:
        return "\n>\n".join(lines)
    folded = "\n".join(f"- {line.removeprefix('> ')}" for line in lines[MAX_NOTES:])
    summary = f"<details><summary>{len(lines) - MAX_NOTES} more notes</summary>"
    return "\n>\n".join(lines[:MAX_NOTES]) + f"\n\n{summary}\n\n{folded}\n\n</details>"


def _answers(rows: Sequence[Row]) -> str:
    """Render the shares of answers that are none, in one line for all tasks."""
    several = len(models_of(rows)) > 1
    tasks = []
    for row, shares in answer_lines(rows):
        model = f" · {escape.text(row.model, limit=_SHORT_REASON)}" if several else ""
        tasks.append(f"{escape.text(row.task, limit=_SHORT_REASON)}{model} {shares}")
    more = f"; and {plural(len(tasks) - MAX_ANSWERS, 'more task')}" if len(tasks) > MAX_ANSWERS else ""
    return f"Answers: {'; '.join(tasks[:MAX_ANSWERS])}{more}." if tasks else ""


def _table(report: Report, rows: Sequence[Row], width: int) -> str:
    columns = [column for column in columns_for(Output.MARKDOWN) if any(map(column.cell, rows))]
    if report.metadata.informative and not any(row.has_problem for row in rows):
        columns = [column for column in columns if column.key != "verdict"]
    titles = [escape.text(column.title(report, Output.MARKDOWN), limit=80) for column in columns]
    rules = ["---:" if column.right else "---" for column in columns]
    several = len(models_of(rows)) > 1
    shown = [_without_headline_reason(row, report) for row in rows]
    body = [_line(_cell(column, row, several, width) for column in columns) for row in shown]
    return "\n".join([_line(titles), f"|{'|'.join(rules)}|", *body])


def _without_headline_reason(row: Row, report: Report) -> Row:
    """Return the row without its first reason if the heading states it."""
    if report.gate.verdict is Verdict.PASS or not report.gate.reasons or not row.reasons:
        return row
    stated = report.gate.reasons[0] in {row.reasons[0], messages.of_task(row.task, row.reasons[0])}
    return replace(row, reasons=()) if stated else row


def _line(cells: Iterator[str] | Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(column: ScoreColumn, row: Row, several: bool, width: int) -> str:  # noqa: FBT001 - as the decorations take it
    decorate = _DECORATIONS.get(column.key)
    return decorate(row, several, width) if decorate else escape.text(column.cell(row), limit=min(width, _MAX_NAME))


def _task_cell(row: Row, several: bool, width: int) -> str:  # noqa: FBT001
    name = escape.text(row.task, limit=min(width, _MAX_NAME))
    name = f"**{name}**" if row.has_problem else name
    model = f" · {escape.text(row.model, limit=min(width, _MAX_NAME))}" if several else ""
    return f"{row.symbol} {name}{model}"


def _difference_cell(row: Row, _several: bool, _width: int) -> str:  # noqa: FBT001
    if row.comparison is None:
        return ""
    difference = row.unit.difference(row.comparison.difference)
    difference = f"**{difference}**" if row.verdict is Verdict.FAIL else difference
    return f"{difference} {row.unit.interval(row.comparison.interval)}".strip()


def _verdict_cell(row: Row, _several: bool, width: int) -> str:  # noqa: FBT001
    text = escape.text(row.reason or row.verdict_text, limit=width)
    return f"{text} (advisory)" if row.advisory and row.has_problem else text


_DECORATIONS: Final[Mapping[str, Callable[[Row, bool, int], str]]] = {
    "task": _task_cell,
    "difference": _difference_cell,
    "verdict": _verdict_cell,
}
"""Cells with more than text, by the key of their column: row, whether there are several models, longest text."""


def _footer(report: Report, rows: Sequence[Row]) -> str:
    worse = sum(row.comparison.n_worse for row in rows if row.comparison)
    better = sum(row.comparison.n_better for row in rows if row.comparison)
    changed = f"{plural(worse, 'item')} got worse, {count(better)} got better." if worse + better else ""
    links = [link for target in report.metadata.links if (link := escape.link(target.label, target.url))]
    resume = f"run again with `nel-action resume {escape.text(report.results.invocation, limit=16)}`"
    actions = [*links, resume] if any(row.no_result for row in rows) else links
    return " ".join(part for part in (changed, _baseline(report), " · ".join(actions)) if part)


def _baseline(report: Report) -> str:
    gate = report.gate
    if gate.baseline is None or gate.baseline_facts is None:
        return ""
    return f"Compared with {escape.text(messages.baseline_summary(gate.baseline, gate.baseline_facts))}."


def _names_only(report: Report, rows: Sequence[Row], limit: int) -> str:
    head = _heading(report, rows, unchanged=False, width=_SHORT_REASON)
    names = [escape.text(row.task, limit=_SHORTEST_REASON) for row in rows if row.has_problem]
    for kept in range(len(names), -1, -1):
        more = f" and {len(names) - kept} more" if kept < len(names) else ""
        page = f"{head}\n\nProblems with {', '.join(names[:kept])}{more}; see the full report.\n"
        if _size(page) <= limit:
            return page
    return report.gate.verdict.value[:limit]


def _how_this_was_run(report: Report, rows: Sequence[Row]) -> str:
    """Render metadata, history, and one table row per job with image, parameters, duration, tokens and cost."""
    results = [row.result for row in rows if row.result]
    titles = ("task", "harness", "image or environment", "items", "parameters", "time", "tokens", "cost")
    table = [_line(titles), f"|{'---|' * len(titles)}", *(_job_line(result) for result in results)] if results else []
    return _folded("How this was run", "\n".join([*_metadata(report), "", *table]))


def _metadata(report: Report) -> Iterator[str]:
    metadata, results = report.metadata, report.results
    fields = {
        "invocation": results.invocation,
        "commit": results.commit,
        "spec": metadata.spec_path,
        "spec digest": results.spec_digest,
        "executor": metadata.executor,
        "baseline digest": facts.digest if (facts := report.gate.baseline_facts) else None,
        "wall time": duration(metadata.seconds) if metadata.seconds is not None else None,
        "nel-action": results.tool_version,
    }
    yield from (f"- {name}: {escape.text(value)}" for name, value in fields.items() if value)
    yield from (f"- {escape.text(event.when)}: {escape.text(event.text)}" for event in metadata.history)


def _job_line(result: TaskResult) -> str:
    tokens = sum(result.usage.get(name, 0) for name in ("prompt_tokens", "completion_tokens"))
    usd = result.usage.get("cost_usd")
    cells = (
        escape.text(result.task, limit=_MAX_NAME),
        escape.text(" ".join(part for part in (result.harness, result.harness_version) if part)),
        escape.text(result.image or result.environment or ""),
        "" if result.n_items is None else count(result.n_items),
        escape.text(", ".join(f"{name}={value}" for name, value in sorted(result.params.items()))),
        duration(result.seconds) + (f", attempt {result.attempts}" if result.attempts > 1 else ""),
        count(tokens) if tokens else "",
        cost(usd) if usd is not None else "",
    )
    return _line(cells)


def _reasons_and_method(report: Report, rows: Sequence[Row]) -> str:
    """Render the reasons that the table does not contain in full, and what the figures mean."""
    reasons = [
        f"- **{escape.text(row.task)}**: {escape.text(reason)}"
        for row in rows
        for index, reason in enumerate(row.reasons)
        if index or len(reason) > _MAX_REASON
    ]
    method = (
        f"`±` is one standard error; intervals consist of two one-sided {percentage(report.gate.confidence)} bounds; "
        f"multiple tests are corrected by the method {escape.text(report.gate.correction)}."
    )
    return _folded("Reasons and method", "\n".join([*reasons, *([""] if reasons else []), method]))


def _items_that_got_worse(report: Report, rows: Sequence[Row]) -> str:
    """Render the items that went from right to wrong, linked to the full report if it has an address."""
    page = next((link.url for link in report.metadata.links if urlsplit(link.url).path.endswith(".html")), None)
    lines = [line for row in rows if (line := _worse_line(row, page))]
    return _folded("Items that got worse", "\n".join(lines)) if lines else ""


def _worse_line(row: Row, page: str | None) -> str:
    if row.comparison is None or not row.comparison.worse:
        return ""
    items = []
    for flip in row.comparison.worse[:_MAX_ITEMS]:
        url = f"{page}#{item_anchor(row.task, row.model, flip.id)}" if page else ""
        items.append(escape.link(flip.id, url) or escape.text(flip.id, limit=80))
    left_out = row.comparison.n_worse - len(items)
    more = f" and {count(left_out)} more" if left_out > 0 else ""
    return f"- **{escape.text(row.task, limit=_MAX_NAME)}**: {', '.join(items)}{more}"


def _folded(summary: str, content: str) -> str:
    return f"<details><summary>{summary}</summary>\n\n{content}\n\n</details>"


def _size(text: str) -> int:
    return len(text.encode())
