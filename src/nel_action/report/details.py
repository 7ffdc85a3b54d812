"""The folded parts of the Markdown report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final
from urllib.parse import urlsplit

from nel_action.formatting import duration
from nel_action.model.results import TaskResult
from nel_action.report import escape
from nel_action.report.anchors import item_anchor
from nel_action.report.model import Report
from nel_action.report.rows import Row

__all__ = ["how_it_was_run", "reasons_in_full", "what_got_worse"]

_ITEMS: Final = 10
"""Items that are named for each task; the full report has them all."""


def how_it_was_run(report: Report, rows: Sequence[Row]) -> str:
    """Fold images, versions, parameters, durations, tokens and the history of resumes."""
    results = [row.result for row in rows if row.result]
    head = "| task | harness | image or environment | items | parameters | time | tokens | cost |"
    table = [head, "|---|---|---|---|---|---|---|---|", *(_how(result) for result in results)] if results else []
    lines = ["<details><summary>How this was run</summary>", "", *_metadata(report), "", *table, "", "</details>"]
    return "\n".join(lines)


def reasons_in_full(report: Report, rows: Sequence[Row]) -> str:
    """Fold every reason of every task, and what the figures mean."""
    told = [f"- **{escape.text(row.task)}**: {escape.text(said)}" for row in rows for said in row.reasons]
    meaning = (
        f"`±` is one standard error; intervals are two-sided and hold {report.gate.confidence:.0%} on each side; "
        f"tests are corrected by {escape.text(report.gate.correction)}."
    )
    return "\n".join(["<details><summary>Reasons and method</summary>", "", *told, "", meaning, "", "</details>"])


def what_got_worse(report: Report, rows: Sequence[Row]) -> str:
    """Fold the items that went from right to wrong; where the full report has an address, each leads to itself."""
    lines = [line for row in rows if row.comparison and row.comparison.worse for line in [_worse(report, row)]]
    return (
        "\n".join(["<details><summary>Items that got worse</summary>", "", *lines, "", "</details>"]) if lines else ""
    )


def _worse(report: Report, row: Row) -> str:
    assert row.comparison is not None  # noqa: S101 - the caller chose rows by it
    page = next((one.url for one in report.metadata.links if urlsplit(one.url).path.endswith(".html")), None)
    named = []
    for flip in row.comparison.worse[:_ITEMS]:
        url = f"{page}#{item_anchor(row.task, row.model, flip.id)}" if page else ""
        named.append(escape.link(flip.id, url) or escape.text(flip.id, limit=80))
    more = row.comparison.n_worse - len(named)
    rest = f" and {more:,} more" if more > 0 else ""
    return f"- **{escape.text(row.task, limit=120)}**: {', '.join(named)}{rest}"


def _metadata(report: Report) -> Iterator[str]:
    metadata, results = report.metadata, report.results
    named = {
        "invocation": results.invocation,
        "commit": results.commit,
        "spec": metadata.spec_path,
        "spec digest": results.spec_digest,
        "where": metadata.executor,
        "wall time": duration(metadata.seconds) if metadata.seconds is not None else None,
        "nel-action": results.tool_version,
    }
    yield from (f"- {name}: {escape.text(value)}" for name, value in named.items() if value)
    yield from (f"- {escape.text(event.when)}: {escape.text(event.text)}" for event in metadata.history)


def _how(result: TaskResult) -> str:
    tokens = sum(result.usage.get(name, 0) for name in ("prompt_tokens", "completion_tokens"))
    cost = result.usage.get("cost_usd")
    cells = (
        escape.text(result.task, limit=120),
        escape.text(" ".join(part for part in (result.harness, result.harness_version) if part)),
        escape.text(result.image or result.environment or ""),
        "" if result.n_items is None else f"{result.n_items:,}",
        escape.text(", ".join(f"{name}={value}" for name, value in sorted(result.params.items()))),
        duration(result.seconds) + (f", attempt {result.attempts}" if result.attempts > 1 else ""),
        f"{tokens:,.0f}" if tokens else "",
        f"{cost:,.2f} USD" if cost is not None else "",
    )
    return f"| {' | '.join(cells)} |"
