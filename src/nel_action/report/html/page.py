"""The whole page: parts in order, style and script inside, and a policy that lets nothing else run or load."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Sequence
from importlib.resources import files

from nel_action.gating.verdict import Verdict
from nel_action.report.html.element import Safe, el, join
from nel_action.report.html.metadata import metadata_section
from nel_action.report.html.samples import samples_section
from nel_action.report.html.summary import glance, mark
from nel_action.report.html.table import table_section
from nel_action.report.html.trend import trend_section
from nel_action.report.model import Report
from nel_action.report.rows import Row, rows_of

__all__ = ["render_html"]

_TITLES = {
    Verdict.PASS: "passed",
    Verdict.FAIL: "failed",
    Verdict.INCONCLUSIVE: "not settled",
    Verdict.UNMEASURABLE: "could not be measured",
}


def render_html(report: Report) -> bytes:
    """Render the report; samples are read from `metadata.run_dir` and `metadata.baseline_dir`.

    Samples that are missing or broken are said to be so on the page: a report never fails for want of them.
    """
    rows = rows_of(report)
    style, script = _asset("report.css"), _asset("report.js")
    title = f"Benchmark gate: {_TITLES[report.gate.verdict]}"
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
        _verdict(report, rows, title),
        table_section(report, rows),
        trend_section(report, rows),
        samples_section(report, rows),
        metadata_section(report),
        id="main",
    )
    skip = el("a", "Skip to the scores", href="#scores", class_="skip")
    body = el("body", skip, main, el("script", Safe(script)))
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>{body}</html>\n'.encode()


def _verdict(report: Report, rows: Sequence[Row], title: str) -> Safe:
    gate, results, metadata = report.gate, report.results, report.metadata
    told = [
        f"compared with {gate.baseline}" if gate.baseline else "compared with nothing",
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
        el("p", " · ".join(part for part in told if part), class_="quiet"),
        glance(report, rows),
        el("ul", *(el("li", reason) for reason in gate.reasons), class_="reasons") if gate.reasons else None,
        *(el("p", note, class_="note") for note in gate.notes),
        el("ul", *links, class_="links") if links else None,
    )


def _policy(style: str, script: str) -> str:
    """Allow this very script and style by their digests, pictures made of them, and nothing from anywhere."""
    allowed = f"script-src '{_digest(script)}'; style-src '{_digest(style)}'"
    return f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"


def _digest(text: str) -> str:
    return f"sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _asset(name: str) -> str:
    return files("nel_action.report.html").joinpath("assets", name).read_text(encoding="utf-8")
