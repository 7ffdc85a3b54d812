from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from cmarkgfm import github_flavored_markdown_to_html
from tests.report.test_terminal import with_health
from tests.support import reports
from tests.support.snapshots import assert_snapshot

from nel_action.gating.verdict import Verdict
from nel_action.report.markdown import render_markdown
from nel_action.report.model import Link

pytestmark = pytest.mark.slow

ALLOWED = frozenset(
    "h3 blockquote p table thead tbody tr th td strong a details summary ul li code".split()  # noqa: SIM905 - reads best
)
SNAPSHOTS = Path(__file__).parent / "snapshots"


@pytest.mark.parametrize("name", ["passed", "failed", "hostile"])
def test_markdown_matches_the_snapshot(name: str) -> None:
    assert_snapshot(render_markdown(getattr(reports, name)()), SNAPSHOTS / f"{name}.md")


def test_rows_with_problems_come_first() -> None:
    lines = [line for line in render_markdown(reports.failed()).splitlines() if line.startswith("| ")][1:6]
    assert [line.split()[2].strip("*") for line in lines] == ["gsm8k", "mmlu", "ifeval", "style", "arc"]


def test_no_measurable_change_is_one_line_with_folded_scores() -> None:
    text = render_markdown(reports.passed())
    assert text.startswith("✓ **Benchmark gate: passed.** No measurable change on 2 tasks against main a1b2c3d.\n")
    assert "| ✓ gsm8k" in text.split("<details><summary>Scores", maxsplit=1)[1]


def test_outside_text_is_inert() -> None:
    text = render_markdown(reports.hostile())
    for live in ("<img", "<!--", "@octocat", "](javascript", "![", "\x1b", "#1", "](https://e.example"):
        assert live not in text
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in table} <= {7, 9}


def test_outside_text_is_inert_in_the_renderer_of_github() -> None:
    html = github_flavored_markdown_to_html(render_markdown(reports.hostile()))
    assert set(re.findall(r"<([a-z0-9]+)", html)) <= ALLOWED
    assert re.findall(r'href="([^"]*)"', html) == ["https://x.example/a%20b%29%7C"]
    rows = [len(re.findall("<td", row)) for row in re.findall(r"<tr>(.*?)</tr>", html, re.DOTALL)]
    assert set(rows) == {0, 6, 8}


def test_items_that_got_worse_link_to_the_hosted_report() -> None:
    report = reports.failed()
    assert "**gsm8k**: w0, w1, w2, w3, w4, w5, w6, w7, w8, w9 and 19 more" in render_markdown(report)
    links = (Link("Full report", "https://ci.example/4f1c/report.html"),)
    hosted = replace(report, metadata=replace(report.metadata, links=links))
    html = github_flavored_markdown_to_html(render_markdown(hosted))
    assert '<a href="https://ci.example/4f1c/report.html#task=gsm8k&amp;model=acme-7b&amp;item=w3"' in html


def test_a_long_report_loses_details_first_and_problems_last() -> None:
    report = reports.failed()
    full = render_markdown(report)
    shorter = render_markdown(report, limit=len(full.encode()) - 1)
    assert "How this was run" in shorter
    assert "Reasons and method" not in shorter
    tight = render_markdown(report, limit=len(full.split("<details>")[0].encode()) - 5)
    assert "1 more task without problems" in tight
    assert all(task in tight for task in ("gsm8k", "mmlu", "ifeval", "style"))


@pytest.mark.parametrize("limit", [65_536, 5_000, 400, 40])
@pytest.mark.parametrize("kind", [Verdict.FAIL, Verdict.PASS])
def test_markdown_never_exceeds_the_limit(limit: int, kind: Verdict) -> None:
    assert len(render_markdown(reports.many(2_000, kind), limit=limit).encode()) <= limit


@pytest.mark.parametrize("limit", [65_536, 1024 * 1024])
def test_the_limit_counts_bytes_of_utf_8(limit: int) -> None:
    report = reports.many(3_000, Verdict.FAIL)
    tasks = tuple(task.model_copy(update={"reasons": ("测" * 150 + "😀" * 40,)}) for task in report.gate.tasks)
    text = render_markdown(replace(report, gate=report.gate.model_copy(update={"tasks": tasks})), limit=limit)
    assert limit / 2 < len(text.encode()) <= limit
    assert len(text) < limit


def test_all_failed_tasks_are_named_if_their_names_fit() -> None:
    text = render_markdown(reports.many(600, Verdict.FAIL))
    assert all(f"task-{n:05}" in text for n in range(600))


def test_failed_tasks_are_counted_if_their_names_do_not_fit() -> None:
    text = render_markdown(reports.many(2_000, Verdict.FAIL), limit=1_000)
    named = text.count("task-")
    assert f"and {2_000 - named} more" in text


@pytest.mark.parametrize(
    ("kind", "blocks", "expected"),
    [
        (Verdict.INCONCLUSIVE, False, "### ? Nightly \\| A: inconclusive, does not block: "),
        (Verdict.INCONCLUSIVE, True, "### ? Nightly \\| A: inconclusive, blocks: "),
        (Verdict.UNMEASURABLE, True, "### ! Nightly \\| A: could not be measured, blocks: "),
        (Verdict.FAIL, True, "### ✗ Nightly \\| A: failed: "),
        (Verdict.FAIL, False, "### ✗ Nightly \\| A: failed, does not block: "),
        (Verdict.FAIL, None, "### ✗ Nightly \\| A: failed: "),
    ],
)
def test_heading_names_the_gate_its_verdict_and_whether_it_blocks(
    kind: Verdict, *, blocks: bool | None, expected: str
) -> None:
    report = reports.many(1, kind)
    report = replace(report, metadata=replace(report.metadata, title="Nightly | A", blocks=blocks))
    heading = render_markdown(report).splitlines()[0]
    assert heading.startswith(expected), heading


def test_worst_reason_is_stated_once() -> None:
    report = reports.failed()
    first = report.gate.reasons[0].partition(": ")[2] or report.gate.reasons[0]
    assert render_markdown(report).count(first) == 1


def test_columns_without_content_are_left_out() -> None:
    report = reports.many(3, Verdict.FAIL)
    tasks = tuple(task.model_copy(update={"comparison": None}) for task in report.gate.tasks)
    plain = replace(report, gate=report.gate.model_copy(update={"tasks": tasks, "baseline": None}))
    header = next(line for line in render_markdown(plain).splitlines() if line.startswith("| "))
    assert "baseline" not in header
    assert "difference" not in header
    assert "verdict" in header


def test_pass_claimed_by_a_fork_is_no_pass() -> None:
    report = reports.passed()
    text = render_markdown(replace(report, metadata=replace(report.metadata, claimed_by="the fork", blocks=True)))
    assert "passed, as claimed by the fork, blocks" in text.splitlines()[0]


def test_every_share_of_answers_that_is_not_zero_is_in_one_line() -> None:
    report = with_health(reports.failed(), unanswered=3, cut=1)
    name = report.results.tasks[0].task
    assert f"\n\nAnswers: {name} 1.5 % unanswered, 0.5 % cut.\n" in render_markdown(report)
    assert "Answers:" not in render_markdown(reports.failed())
