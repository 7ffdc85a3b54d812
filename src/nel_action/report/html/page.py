"""The HTML page: sections in order, inline style and script, and a policy that allows nothing else."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib.resources import files

from nel_action.formatting import cost, count, duration
from nel_action.gating.messages import baseline_summary
from nel_action.report.html.element import Safe, el, join, mark
from nel_action.report.html.metadata import metadata_section
from nel_action.report.html.samples import samples_section
from nel_action.report.html.table import table_section
from nel_action.report.html.trend import trend_section
from nel_action.report.markdown import VERDICT_TITLES
from nel_action.report.model import Report
from nel_action.report.rows import Row, rows_of

__all__ = ["render_html"]


def render_html(report: Report) -> bytes:
    """Render the page; samples are read from `metadata.run_dir` and `metadata.baseline_dir`.

    Missing or damaged samples are reported on the page and never fail the rendering.
    """
    rows = rows_of(report)
    style, script = _asset("report.css"), _asset("report.js")
    verdict = "scores for information" if report.metadata.informative else VERDICT_TITLES[report.gate.verdict]
    title = f"{report.metadata.title}: {verdict}"
    head = join(
        Safe('<meta charset="utf-8">'),
        el("meta", http_equiv="Content-Security-Policy", content=_policy(style, script)),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="referrer", content="no-referrer"),
        el("meta", name="color-scheme", content="light dark"),
        el("title", f"{title} · {report.results.invocation}"),
        el("style", Safe(style)),
    )
    main = el(
        "main",
        _header(report, rows, title),
        table_section(report, rows),
        trend_section(report, rows),
        samples_section(report, rows),
        metadata_section(report),
        id="main",
    )
    skip = el("a", "Skip to the scores", href="#scores", class_="skip")
    body = el("body", skip, main, el("script", Safe(script)))
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>{body}</html>\n'.encode()


def _header(report: Report, rows: Sequence[Row], title: str) -> Safe:
    gate, results, metadata = report.gate, report.results, report.metadata
    origin = [
        f"compared with {baseline_summary(gate.baseline, gate.baseline_facts)}" if gate.baseline else "no baseline",
        results.repository,
        f"commit {results.commit[:12]}" if results.commit else None,
        f"pull request {metadata.pull_request}" if metadata.pull_request else None,
        f"invocation {results.invocation}",
        results.created,
    ]
    links = [
        el("li", el("a", link.label, href=link.url, rel="noreferrer"))
        for link in metadata.links
        if link.url.startswith(("https://", "http://"))
    ]
    return el(
        "header",
        el("h1", mark(gate.verdict.value), title),
        el("p", " · ".join(part for part in origin if part), class_="quiet"),
        _summary(report, rows),
        el("ul", *(el("li", reason) for reason in gate.reasons), class_="reasons") if gate.reasons else None,
        *(el("p", note, class_="note") for note in gate.notes),
        el("ul", *links, class_="links") if links else None,
    )


def _summary(report: Report, rows: Sequence[Row]) -> Safe | None:
    """Render the totals of the run as tiles."""
    tiles = [el("div", el("dt", name), el("dd", value)) for name, value in _totals(report, rows)]
    return el("dl", *tiles, class_="summary") if tiles else None


def _totals(report: Report, rows: Sequence[Row]) -> Iterator[tuple[str, Safe | str]]:
    verdicts = Counter((row.style, row.verdict_text) for row in rows)
    if verdicts:
        parts = [
            el("span", mark(style), f"{number} {text}", class_="count") for (style, text), number in verdicts.items()
        ]
        yield "tasks", join(*parts)
    worse = sum(row.comparison.n_worse for row in rows if row.comparison)
    better = sum(row.comparison.n_better for row in rows if row.comparison)
    if worse or better:
        yield "items that changed", f"{count(worse)} worse, {count(better)} better"
    if items := sum(task.n_items or 0 for task in report.results.tasks):
        yield "items", count(items)
    if report.metadata.seconds is not None:
        yield "wall time", duration(report.metadata.seconds)
    if tokens := _total_usage(report, "prompt_tokens", "completion_tokens"):
        yield "tokens", count(tokens)
    if usd := _total_usage(report, "cost_usd"):
        yield "cost", cost(usd)


def _total_usage(report: Report, *names: str) -> float:
    return sum(task.usage.get(name, 0.0) for task in report.results.tasks for name in names)


def _policy(style: str, script: str) -> str:
    """Return a content security policy that allows this script and this style by their digests, and nothing else."""
    allowed = f"script-src '{_digest(script)}'; style-src '{_digest(style)}'"
    return f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"


def _digest(text: str) -> str:
    return f"sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _asset(name: str) -> str:
    return files("nel_action.report.html").joinpath("assets", name).read_text(encoding="utf-8")
